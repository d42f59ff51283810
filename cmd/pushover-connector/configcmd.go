package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"
)

func configCommand() command {
	return command{
		name: "config", args: "[-effective | -markdown]",
		summary: "List all environment variables, or show those that are set",
		help: `-effective shows the variables that are set, secrets as REDACTED, points out
those that look misspelt, and exits with 1 if any has a problem. All problems
are reported together, each under the name of its variable.`,
		prepare: func(fs *flag.FlagSet) func(context.Context, streams, []string) error {
			effective := fs.Bool("effective", false, "show what is set, and every problem with it")
			markdown := fs.Bool("markdown", false, "print the tables of the README")
			return func(_ context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				switch {
				case *effective:
					return printEffective(s.out)
				case *markdown:
					printMarkdown(s.out)
				default:
					printVariables(s.out)
				}
				return nil
			}
		},
	}
}

func printVariables(w io.Writer) {
	for i, sec := range new(settings).sections() {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s\n", sec.title)
		for _, v := range sec.variables() {
			fmt.Fprintf(w, "\n  %s (%s%s)\n", v.Name, v.Type, prefixed(", default ", v.Default))
			for _, line := range wrap(sentence(v.Meaning), 74) {
				fmt.Fprintf(w, "      %s\n", line)
			}
		}
	}
}

// printMarkdown prints the tables of the README. Variables that name a file for
// a secret are left to one sentence there.
func printMarkdown(w io.Writer) {
	for i, sec := range new(settings).sections() {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "**%s**\n\n| variable | type | default | meaning |\n|---|---|---|---|\n", sec.title)
		for _, v := range sec.variables() {
			if v.fileOf != "" {
				continue
			}
			def := v.Default
			if def != "" {
				def = "`" + def + "`"
			}
			fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", v.Name, v.Type, def, sentence(v.Meaning))
		}
	}
}

const redacted = "REDACTED"

// userInfo is what precedes the host in a URL, or in each of a list of
// them. Such a URL is refused later, and its password must not be shown before.
var userInfo = regexp.MustCompile(`(://)[^/\s,]*@`)

// printEffective shows what is set now, before the settings are read: reading
// tidies the environment.
func printEffective(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	set := 0
	for _, sec := range new(settings).sections() {
		for _, v := range sec.variables() {
			value := os.Getenv(v.Name)
			if value == "" {
				continue
			}
			if v.Secret {
				value = redacted
			}
			value = userInfo.ReplaceAllString(value, "${1}"+redacted+"@")
			fmt.Fprintf(table, "%s\t%s\n", v.Name, value)
			set++
		}
	}
	if set == 0 {
		fmt.Fprintln(table, "no variable is set; every default applies")
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, v := range unknownVariables(os.Environ()) {
		fmt.Fprintf(w, "warning: %s\n", v)
	}
	_, err := loadSettings()
	return err
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// sentence starts with a capital and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

// wrap breaks a text into lines of at most width columns.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/pushover-connector/pushover-connector/connector"
)

func completionCommand() command {
	return command{
		name: "completion", args: "bash|zsh|fish",
		summary: "Print a shell's completion script",
		help: `bash: source <(pushover-connector completion bash)
zsh:  source <(pushover-connector completion zsh)
fish: pushover-connector completion fish | source`,
		prepare: func(*flag.FlagSet) func(context.Context, streams, []string) error {
			return func(_ context.Context, s streams, args []string) error {
				if len(args) != 1 {
					return usageError("completion takes one shell: bash, zsh or fish")
				}
				switch args[0] {
				case "bash":
					bashCompletion(s.out)
				case "zsh":
					fmt.Fprintln(s.out, "autoload -U +X bashcompinit && bashcompinit")
					bashCompletion(s.out)
				case "fish":
					fishCompletion(s.out)
				default:
					return usageError("no completion for %q; want bash, zsh or fish", args[0])
				}
				return nil
			}
		},
	}
}

// arguments are the fixed words that a command takes.
func (c command) arguments() []string {
	switch c.name {
	case "schema":
		return append(connector.SchemaNames(), "asyncapi")
	case "completion":
		return []string{"bash", "zsh", "fish"}
	}
	return nil
}

// flags calls f for each of the command's flags. takes says whether a value
// follows it, and values which ones are known.
func (c command) flags(f func(name, usage string, takes bool, values []string)) {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.prepare(fs)
	fs.VisitAll(func(g *flag.Flag) {
		sw, ok := g.Value.(interface{ IsBoolFlag() bool })
		var values []string
		switch g.Name {
		case "output":
			values = []string{"file", "kubernetes"}
		case "priority":
			values = priorities()
		}
		f(g.Name, g.Usage, !ok || !sw.IsBoolFlag(), values)
	})
}

func commandNames() []string {
	names := make([]string, 0, len(commands())+1)
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return append(names, "help")
}

// bashCompletion offers after a flag that takes a value only such values, which
// may be none.
func bashCompletion(w io.Writer) {
	fmt.Fprint(w, `_pushover_connector() {
  local word=${COMP_WORDS[COMP_CWORD]} words=
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="`+strings.Join(commandNames(), " ")+`"
  else
    case "${COMP_WORDS[1]} ${COMP_WORDS[COMP_CWORD-1]}" in
`)
	for _, c := range commands() {
		words := c.arguments()
		c.flags(func(name, _ string, takes bool, values []string) {
			words = append(words, "-"+name)
			if takes {
				fmt.Fprintf(w, "      \"%[1]s -%[2]s\" | \"%[1]s --%[2]s\") words=\"%[3]s\" ;;\n", c.name, name, strings.Join(values, " "))
			}
		})
		if len(words) > 0 {
			fmt.Fprintf(w, "      \"%s \"*) words=\"%s\" ;;\n", c.name, strings.Join(words, " "))
		}
	}
	fmt.Fprintf(w, `      "help help") words="%s" ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -F _pushover_connector pushover-connector
`, strings.Join(commandNames(), " "))
}

func fishCompletion(w io.Writer) {
	fmt.Fprintln(w, "complete -c pushover-connector -f")
	for _, c := range commands() {
		fmt.Fprintf(w, "complete -c pushover-connector -n __fish_use_subcommand -a %s -d '%s'\n", c.name, quoteFish(c.summary))
		seen := "complete -c pushover-connector -n '__fish_seen_subcommand_from " + c.name + "'"
		if words := c.arguments(); len(words) > 0 {
			fmt.Fprintf(w, "%s -a '%s'\n", seen, strings.Join(words, " "))
		}
		c.flags(func(name, usage string, takes bool, values []string) {
			value := ""
			if takes {
				value = " -x -a '" + strings.Join(values, " ") + "'"
			}
			fmt.Fprintf(w, "%s -o %s%s -d '%s'\n", seen, name, value, quoteFish(usage))
		})
	}
}

// quoteFish escapes a text for single quotes, without the back quotes with which
// a flag names its value.
func quoteFish(s string) string {
	return strings.NewReplacer("`", "", `\`, `\\`, `'`, `\'`).Replace(s)
}

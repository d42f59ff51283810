package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
)

func manCommand() command {
	return command{
		name: "man", summary: "Print the manual page",
		help: `To read it: pushover-connector man | man -l -`,
		prepare: func(*flag.FlagSet) func(context.Context, streams, []string) error {
			return func(_ context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				printManual(s.out)
				return nil
			}
		},
	}
}

// printManual prints the help of every command and the table of variables as a
// page for man(1). Without a date, so that one version always prints one text.
func printManual(w io.Writer) {
	fmt.Fprintf(w, `.TH PUSHOVER-CONNECTOR 1 "" "pushover-connector %s"
.SH NAME
pushover-connector \- carry Pushover messages to NATS JetStream or Apache Kafka
.SH SYNOPSIS
.B pushover-connector
[command] [flags]
.SH COMMANDS
`, roff(version))
	for _, c := range commands() {
		fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
		c.prepare(fs)
		var help strings.Builder
		printHelp(&help, c, fs)
		fmt.Fprintf(w, ".SS %s\n.nf\n%s\n.fi\n", roff(c.name), roff(strings.TrimSpace(help.String())))
	}
	fmt.Fprintln(w, ".SH ENVIRONMENT")
	for _, sec := range new(settings).sections() {
		fmt.Fprintf(w, ".SS %s\n", roff(sec.title))
		for _, v := range sec.variables() {
			fmt.Fprintf(w, ".TP\n.BR %s \" (%s%s)\"\n%s\n", roff(v.Name), roff(v.Type), roff(prefixed(", default ", v.Default)), roff(sentence(v.Meaning)))
		}
	}
}

// roff escapes a text. A line that begins with a full stop or a single quote
// would be a request.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n.", "\n\\&.", "\n'", "\n\\&'").Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

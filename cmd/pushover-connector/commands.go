package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// A command is one entry of the command line's table.
type command struct {
	name    string
	args    string // as shown in usage
	summary string // one line
	help    string // further paragraphs, may be empty

	usageCode int // exit code for wrong flags; 0 means [exitUsage]

	// prepare declares the command's flags and returns what runs once they are
	// parsed. args are what is left.
	prepare func(fs *flag.FlagSet) func(ctx context.Context, io streams, args []string) error
}

// commands is the whole command line. run is what happens without a command.
func commands() []command {
	return []command{
		runCommand(), loginCommand(), checkCommand(), statusCommand(), tailCommand(), emergenciesCommand(),
		ackCommand(), traceCommand(), syncCommand(), resumeCommand(), healthcheckCommand(), configCommand(),
		schemaCommand(), completionCommand(), manCommand(), versionCommand(),
	}
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, s streams) int {
	name := "run"
	switch {
	case len(args) == 0:
	case isHelp(args[0]):
		name = "help"
	case args[0] == "-version" || args[0] == "--version":
		name, args = "version", args[1:]
	case !strings.HasPrefix(args[0], "-"):
		name, args = args[0], args[1:]
	}
	if name == "help" {
		return help(s, args)
	}
	c, err := find(name)
	if err != nil {
		return report(s.err, err)
	}
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	run := c.prepare(fs)
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		printHelp(s.out, c, fs)
		return 0
	case err != nil:
		err = usageError("%s: %w; see 'pushover-connector help %s'", c.name, err, c.name)
		if c.usageCode != 0 {
			err = &exitError{c.usageCode, err}
		}
		return report(s.err, err)
	}
	return report(s.err, run(ctx, s, fs.Args()))
}

// find returns the command of that name. The error is one of usage.
func find(name string) (command, error) {
	for _, c := range commands() {
		if c.name == name {
			return c, nil
		}
	}
	meant := ""
	if near := nearest(name, commandNames()); near != "" {
		meant = fmt.Sprintf("; did you mean %q?", near)
	}
	return command{}, usageError("there is no command %q%s; 'pushover-connector help' lists them", name, meant)
}

func isHelp(arg string) bool {
	return arg == "-h" || arg == "-help" || arg == "--help"
}

// noArguments refuses what is left on a command line that takes nothing more.
func noArguments(args []string) error {
	if len(args) > 0 {
		return usageError("unexpected argument %q", args[0])
	}
	return nil
}

func help(s streams, args []string) int {
	if len(args) > 0 && !isHelp(args[0]) {
		c, err := find(args[0])
		if err != nil {
			return report(s.err, err)
		}
		fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
		c.prepare(fs)
		printHelp(s.out, c, fs)
		return 0
	}
	fmt.Fprint(s.out, `pushover-connector carries Pushover messages to NATS JetStream or Apache Kafka,
and acknowledgements of emergencies back.

Usage: pushover-connector [command] [flags]

Commands:
`)
	for _, c := range commands() {
		fmt.Fprintf(s.out, "  %-12s %s\n", c.name, c.summary)
	}
	fmt.Fprint(s.out, `
'pushover-connector help COMMAND' says more. Everything is configured by
environment variables: 'pushover-connector config' lists them.

This is an unofficial client; it is not made or supported by Pushover, LLC.
`)
	return 0
}

func printHelp(w io.Writer, c command, fs *flag.FlagSet) {
	usage := wrap("pushover-connector "+c.name+" "+c.args, 72)
	fmt.Fprintf(w, "Usage: %s\n\n%s.\n", strings.Join(usage, "\n         "), c.summary)
	if c.help != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(c.help))
	}
	flags := 0
	fs.VisitAll(func(*flag.Flag) { flags++ })
	if flags > 0 {
		fmt.Fprint(w, "\nFlags:\n")
		fs.SetOutput(w)
		fs.PrintDefaults()
	}
}

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

// words returns what may follow a command: its flags, and fixed arguments.
func (c command) words() []string {
	var words []string
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.prepare(fs)
	fs.VisitAll(func(f *flag.Flag) { words = append(words, "-"+f.Name) })
	switch c.name {
	case "schema":
		words = append(append(words, connector.SchemaNames()...), "asyncapi")
	case "completion":
		words = append(words, "bash", "zsh", "fish")
	}
	return words
}

func commandNames() []string {
	names := make([]string, 0, len(commands())+1)
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return append(names, "help")
}

func bashCompletion(w io.Writer) {
	fmt.Fprint(w, `_pushover_connector() {
  local word=${COMP_WORDS[COMP_CWORD]} words=
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="`+strings.Join(commandNames(), " ")+`"
  else
    case ${COMP_WORDS[1]} in
`)
	for _, c := range commands() {
		if words := c.words(); len(words) > 0 {
			fmt.Fprintf(w, "      %s) words=\"%s\" ;;\n", c.name, strings.Join(words, " "))
		}
	}
	fmt.Fprintf(w, `      help) words="%s" ;;
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
		fmt.Fprintf(w, "complete -c pushover-connector -n __fish_use_subcommand -a %s -d '%s'\n", c.name, c.summary)
		if words := c.words(); len(words) > 0 {
			fmt.Fprintf(w, "complete -c pushover-connector -n '__fish_seen_subcommand_from %s' -a '%s'\n",
				c.name, strings.Join(words, " "))
		}
	}
}

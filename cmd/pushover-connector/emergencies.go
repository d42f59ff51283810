package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/pushover-connector/pushover-connector/cmd/internal/eventline"
	"github.com/pushover-connector/pushover-connector/connector"
)

func emergenciesCommand() command {
	return command{
		name: "emergencies", args: "[-json]",
		summary: "List the unexpired emergencies not known to be acknowledged",
		help: `Asks the running connector: over its bus, or where that fails at HTTP_ADDR. Each
line ends with the command that acknowledges the emergency.

Exit codes: 0 it has answered; 2 it cannot be reached.`,
		prepare: func(fs *flag.FlagSet) func(context.Context, streams, []string) error {
			asJSON := fs.Bool("json", false, "print JSON, as in the status document")
			return func(ctx context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				status, err := askStatus(ctx, s, askBudget)
				if err != nil {
					return &exitError{exitNotAsked, err}
				}
				if *asJSON {
					return printJSON(s.out, status.Emergencies)
				}
				return printEmergencies(s.out, status, time.Now())
			}
		},
	}
}

// printEmergencies lists them as the connector does, oldest first.
func printEmergencies(w io.Writer, s connector.Status, now time.Time) error {
	e := s.Emergencies
	switch {
	case e.Known:
	case s.Sink.Name == "stdout":
		fmt.Fprintln(w, "unknown: emergencies from before the start cannot be read back from standard output")
	default:
		fmt.Fprintln(w, "unknown: emergencies from before the start have not been read yet")
	}
	if len(e.Outstanding) == 0 {
		if !e.Known {
			return nil
		}
		_, err := fmt.Fprintln(w, "no emergencies outstanding")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "AGE\tENDS WITHIN\tAPPLICATION\tTO ACKNOWLEDGE")
	for _, o := range e.Outstanding {
		fmt.Fprintf(table, "%s\t%s\t%s\tpushover-connector ack %s\n",
			span(now.Sub(o.Since)), span(o.ExpiresBy.Sub(now)), eventline.Printable(o.App), eventline.Printable(o.Receipt))
	}
	return table.Flush()
}

func printJSON(w io.Writer, v any) error {
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", out)
	return err
}

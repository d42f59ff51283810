package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

func syncCommand() command {
	return leverCommand("sync", "Ask the running connector to download now",
		"The connector downloads by itself whenever there is something to download; use\nthis if you do not want to wait for its next attempt.",
		"a download was requested")
}

func resumeCommand() command {
	return leverCommand("resume", "Start a new session after the cause of a halt is gone",
		"For a session that was taken over, or whose device was disabled. New credentials\nare noticed without it.",
		"a new session is being started; 'pushover-connector status' shows how it goes")
}

// leverCommand is a command that makes the running connector do something now.
func leverCommand(verb, summary, help, done string) command {
	return command{
		name: verb, args: "[-timeout 10s]", summary: summary,
		help: help + `

Exit codes: 0 done; 1 nothing will happen, and why; 2 the connector cannot be
reached.`,
		prepare: func(fs *flag.FlagSet) func(context.Context, streams, []string) error {
			timeout := fs.Duration("timeout", askBudget, "how long to wait for the answer")
			return func(ctx context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				result, err := pull(ctx, s, verb, *timeout)
				switch {
				case err != nil:
					return &exitError{exitNotAsked, err}
				case result.Status != connector.StatusDone:
					return errors.New(result.Reason)
				}
				fmt.Fprintln(s.out, done)
				return nil
			}
		},
	}
}

func pull(ctx context.Context, s streams, verb string, timeout time.Duration) (connector.Result, error) {
	settings, err := loadSettings()
	if err != nil {
		return connector.Result{}, err
	}
	if settings.general.Sink == "stdout" {
		return connector.Result{}, errors.New("SINK=stdout takes no commands; restart the connector instead")
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	b, err := openBusAsClient(ctx, settings, s)
	if err != nil {
		return connector.Result{}, err
	}
	defer func() { _ = b.close(context.WithoutCancel(ctx)) }()
	return b.command(ctx, verb)
}

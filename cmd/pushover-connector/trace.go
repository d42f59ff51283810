package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/pushover-connector/pushover-connector/cmd/internal/eventline"
	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

// traceSpan is how far back a message is looked for: the 21 days for which
// Pushover keeps one.
const traceSpan = 21 * 24 * time.Hour

func traceCommand() command {
	return command{
		name: "trace", args: "ID-or-RECEIPT",
		summary: "Show what happened to one message",
		help: `When it was sent, queued, downloaded and stored, and where; whether it was
deleted on Pushover, as far as the running connector still knows; how often an
emergency was repeated, and who acknowledged it. Reads the last 21 days of the
log.

Exit codes: 0 found; 1 not found; 2 the log cannot be read.`,
		prepare: func(*flag.FlagSet) func(context.Context, streams, []string) error {
			return func(ctx context.Context, s streams, args []string) error {
				if len(args) != 1 {
					return usageError("trace takes one message id or receipt")
				}
				_, notID := pushover.ParseMessageID(args[0])
				_, notReceipt := pushover.ParseReceipt(args[0])
				if notID != nil && notReceipt != nil {
					return usageError("%q is neither a message id (digits) nor a receipt (30 letters and digits)", args[0])
				}
				return trace(ctx, s, args[0])
			}
		},
	}
}

func trace(ctx context.Context, s streams, wanted string) error {
	b, err := openLog(ctx, s)
	if err != nil {
		return &exitError{exitNotAsked, err}
	}
	defer func() { _ = b.close(context.WithoutCancel(ctx)) }()
	found, err := findEvents(ctx, b, wanted)
	switch {
	case err != nil:
		return &exitError{exitNotAsked, err}
	case len(found) == 0:
		return fmt.Errorf("%s is not in the last 21 days of the log", wanted)
	}
	asking, cancel := context.WithTimeout(ctx, askBudget/2)
	defer cancel()
	status, asked := b.status(asking)
	printTrace(s.out, found, status, asked, time.Now())
	return nil
}

// findEvents returns the events of a message, and if it is an emergency all that
// belong to the emergency, oldest first.
func findEvents(ctx context.Context, b *bus, wanted string) ([]connector.Stored, error) {
	q := connector.Query{Since: time.Now().Add(-traceSpan)}
	var found []connector.Stored
	receipt := ""
	collect := func(e connector.Stored) error {
		d := eventline.DataOf(e)
		if d.ID == wanted || d.Receipt != "" && (d.Receipt == wanted || d.Receipt == receipt) {
			found = append(found, e)
		}
		return nil
	}
	if err := b.read(ctx, q, collect); err != nil {
		return nil, err
	}
	for _, e := range found {
		receipt = cmp.Or(receipt, eventline.DataOf(e).Receipt)
	}
	if receipt == "" || receipt == wanted {
		return found, nil
	}
	found, q.Priority = nil, pushover.PriorityEmergency.String()
	return found, b.read(ctx, q, collect)
}

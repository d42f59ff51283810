package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

// Exit codes of the ack command, besides 1 for a failure of the command itself.
const (
	exitRejected = 2
	exitNoAnswer = 3
)

func ackCommand() command {
	return command{
		name: "ack", args: "[-timeout 30s] RECEIPT",
		summary: "Publish an acknowledge command on the bus and wait for its result",
		help: `The command is durable: it is carried out even if this program does not wait for
the result, and even if the connector is down now.

Exit codes: 0 acknowledged; 2 rejected; 3 expired, or no result within the
timeout (the command stays on the bus); 1 the bus could not be reached, or wrong
usage.`,
		usageCode: 1, // 2 would say that the command was rejected
		prepare: func(fs *flag.FlagSet) func(context.Context, streams, []string) error {
			timeout := fs.Duration("timeout", 30*time.Second, "how long to wait for the result")
			return func(ctx context.Context, s streams, args []string) error {
				if len(args) != 1 {
					return errors.New("ack takes one receipt")
				}
				if _, err := pushover.ParseReceipt(args[0]); err != nil {
					return &exitError{exitRejected, err}
				}
				return ack(ctx, s, args[0], *timeout)
			}
		},
	}
}

func ack(ctx context.Context, s streams, receipt string, timeout time.Duration) error {
	settings, err := loadSettings()
	if err != nil {
		return err
	}
	b, err := openBusAsClient(ctx, settings, s)
	if err != nil {
		return err
	}
	defer func() { _ = b.close(context.WithoutCancel(ctx)) }()
	body, err := json.Marshal(map[string]string{"command": "ack", "receipt": receipt})
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	result, err := b.sendCommand(wait, body)
	switch {
	case errors.Is(err, connector.ErrNoResult) && ctx.Err() != nil:
		return &exitError{exitNoAnswer, errors.New("interrupted; the command stays on the bus")}
	case errors.Is(err, connector.ErrNoResult):
		return &exitError{exitNoAnswer, fmt.Errorf("no result within %v; the command stays on the bus, its result will be published", timeout)}
	case err != nil:
		return err
	}
	line, err := json.Marshal(result)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s\n", line)
	switch result.Status {
	case connector.StatusAcknowledged:
		return nil
	case connector.StatusRejected:
		return &exitError{exitRejected, fmt.Errorf("rejected: %s", result.Reason)}
	default:
		return &exitError{exitNoAnswer, fmt.Errorf("expired: %s", result.Reason)}
	}
}

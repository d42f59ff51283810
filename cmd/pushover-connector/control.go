package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

// Exit codes of the ack command, beside 1 for trouble of its own.
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
timeout (the command stays on the bus); 1 the bus could not be reached.`,
		prepare: func(fs *flag.FlagSet) func(context.Context, streams, []string) error {
			timeout := fs.Duration("timeout", 30*time.Second, "how long to wait for the result")
			return func(ctx context.Context, s streams, args []string) error {
				if len(args) != 1 {
					return usageError("ack takes one receipt")
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
	b, err := openBusAsClient(ctx, s)
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
	case errors.Is(err, connector.ErrNoResult) && ctx.Err() == nil:
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

// openBusAsClient opens the configured bus to talk to a running connector: it
// creates nothing and takes nothing over.
func openBusAsClient(ctx context.Context, s streams) (*bus, error) {
	settings, err := loadSettings()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkBudget)
	defer cancel()
	return openBus(ctx, settings, busOptions{
		device: settings.pushover.DeviceName, attach: true, out: io.Discard,
		log: newLogger(generalSettings{LogLevel: slog.LevelError}, s.err),
	})
}

func emergenciesCommand() command {
	return command{
		name: "emergencies", args: "[-json]",
		summary: "List the emergencies that nobody is known to have acknowledged",
		help: `Asks the running connector: over NATS, or with another sink at HTTP_ADDR. It
knows the emergencies it has seen since it started.`,
		prepare: func(fs *flag.FlagSet) func(context.Context, streams, []string) error {
			asJSON := fs.Bool("json", false, "print JSON")
			return func(ctx context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(ctx, checkBudget)
				defer cancel()
				status, err := askStatus(ctx, s)
				if err != nil {
					return err
				}
				if *asJSON {
					out, err := json.MarshalIndent(status.Emergencies, "", "  ")
					if err != nil {
						return err
					}
					_, err = fmt.Fprintf(s.out, "%s\n", out)
					return err
				}
				return printEmergencies(s.out, status.Emergencies)
			}
		},
	}
}

func printEmergencies(w io.Writer, all []connector.Emergency) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "no emergencies outstanding")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "RECEIPT\tSINCE\tEXPIRES BY\tAPPLICATION")
	for _, e := range all {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", e.Receipt,
			e.Since.Format(time.RFC3339), e.ExpiresBy.Format(time.RFC3339), printable(e.App))
	}
	return table.Flush()
}

// printable keeps what strangers have written from steering a terminal.
func printable(s string) string {
	quoted := fmt.Sprintf("%+q", s)
	return quoted[1 : len(quoted)-1]
}

// askStatus asks the running connector for its status.
func askStatus(ctx context.Context, s streams) (connector.Status, error) {
	var status connector.Status
	if sink := os.Getenv("SINK"); sink == "" || sink == "nats" {
		b, err := openBusAsClient(ctx, s)
		if err != nil {
			return status, err
		}
		defer func() { _ = b.close(context.WithoutCancel(ctx)) }()
		answer, err := b.request(ctx, "status", nil)
		if err != nil {
			return status, err
		}
		return status, json.Unmarshal(answer, &status)
	}
	settings, err := loadSettings()
	if err != nil {
		return status, err
	}
	response, err := getLocal(ctx, settings.general.HTTPAddr, "/status.json")
	if err != nil {
		return status, err
	}
	defer response.Body.Close()
	return status, json.NewDecoder(response.Body).Decode(&status)
}

func healthcheckCommand() command {
	return command{
		name:    "healthcheck",
		summary: "Ask the connector on this machine whether it is ready",
		help:    "Prints the checks and exits with 0 if all pass: a health check for a container\nwithout a shell.",
		prepare: func(*flag.FlagSet) func(context.Context, streams, []string) error {
			return func(ctx context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				general := &generalSettings{}
				if problems := (section{"General", "", general}).read(); len(problems) > 0 {
					return errors.Join(problems...)
				}
				ctx, cancel := context.WithTimeout(ctx, checkBudget)
				defer cancel()
				response, err := getLocal(ctx, general.HTTPAddr, "/readyz")
				if err != nil {
					return err
				}
				defer response.Body.Close()
				if _, err := io.Copy(s.out, io.LimitReader(response.Body, 64<<10)); err != nil {
					return err
				}
				if response.StatusCode != http.StatusOK {
					return &exitError{code: 1}
				}
				return nil
			}
		},
	}
}

// getLocal asks the daemon's HTTP server, which listens on addr.
func getLocal(ctx context.Context, addr, path string) (*http.Response, error) {
	if addr == "" {
		return nil, errors.New("HTTP_ADDR is empty, so the connector cannot be asked")
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("HTTP_ADDR: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return nil, fmt.Errorf("HTTP_ADDR: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the connector at HTTP_ADDR: %w", err)
	}
	return response, nil
}

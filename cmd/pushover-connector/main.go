// Command pushover-connector carries Pushover messages to NATS JetStream or
// Apache Kafka, and acknowledgements of emergencies back.
//
// It is configured by environment variables; "pushover-connector config" lists
// them. "pushover-connector help" lists the commands. What it guarantees is
// written down in the documentation of package connector.
//
// Output follows one rule: what was asked for goes to standard output,
// everything else to standard error. Exit codes are 0 for success, 1 for
// failure and 2 for wrong usage. A command that gives them another meaning says
// so in its help: for status, sync, resume, emergencies and trace 2 also means
// that the answer could not be had, and ack, for which 2 means rejected, answers
// wrong usage with 1.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(realMain()) }

func realMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once: whoever sends it has waited long enough.
	context.AfterFunc(ctx, stop)
	return execute(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
}

// streams are the process's standard streams.
type streams struct {
	in  *os.File
	out io.Writer
	err io.Writer
}

// An exitError ends the program with its code. Without a cause it prints
// nothing: what there was to say has been said.
type exitError struct {
	code  int
	cause error
}

func (e *exitError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.cause.Error()
}

func (e *exitError) Unwrap() error { return e.cause }

// exitUsage is the exit code for a mistake in the command line.
const exitUsage = 2

// usageError is a mistake in the command line.
func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// report prints an error and returns the exit code for it.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	code := 1
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.cause == nil {
			return code
		}
	}
	fmt.Fprintf(w, "pushover-connector: %v\n", err)
	return code
}

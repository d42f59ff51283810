// Command pushover-demo shows the connector at work in one process, with no
// account, no broker and no network: a simulated Pushover service, an embedded
// NATS server with JetStream, and the connector between them.
//
// It sends messages through the simulator's sending API, shows each as it
// arrives at an ordinary NATS subscriber, acknowledges an emergency from the
// bus, and shows that the server's queue is empty. Then it keeps running and
// says how to send, subscribe and acknowledge by hand. With -once it ends after
// the tour: with 0, or with 1 if any step failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

// tourBudget bounds the whole tour; it takes a second or two.
const tourBudget = time.Minute

func main() { os.Exit(realMain()) }

func realMain() int {
	fs := flag.NewFlagSet("pushover-demo", flag.ContinueOnError)
	once := fs.Bool("once", false, "end after the tour")
	verbose := fs.Bool("verbose", false, "show the connector's log on standard error")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), "Usage: pushover-demo [-once] [-verbose]\n\n"+
			"Shows the connector at work: no account, no broker, no network needed.\n\nFlags:\n")
		fs.PrintDefaults()
	}
	switch err := fs.Parse(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case fs.NArg() > 0:
		fmt.Fprintf(os.Stderr, "pushover-demo: unexpected argument %q\n", fs.Arg(0))
		return 2
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	colour := term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == ""
	logTo := io.Discard
	if *verbose {
		logTo = os.Stderr
	}
	if err := demo(ctx, newScreen(os.Stdout, colour), logTo, *once); err != nil {
		fmt.Fprintf(os.Stderr, "pushover-demo: %v\n", err)
		return 1
	}
	return 0
}

// demo builds the stage, gives the tour, and unless once is set stays until ctx
// ends.
func demo(ctx context.Context, s *screen, logTo io.Writer, once bool) (err error) {
	s.title()
	setUp, cancel := context.WithTimeout(ctx, tourBudget)
	defer cancel()
	st, err := build(setUp, ctx, logTo)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	s.stage(st)
	if err := tour(setUp, s, st); err != nil {
		if ctx.Err() != nil {
			return nil // stopped by the user
		}
		return err
	}
	if once {
		return nil
	}
	s.yourTurn(st)
	select {
	case <-ctx.Done():
		return nil
	case err := <-st.failed:
		return err
	}
}

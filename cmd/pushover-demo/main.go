// Command pushover-demo shows the connector at work in one process, with no
// account, no broker and no network: a simulated Pushover service, an embedded
// NATS server with JetStream, and the connector between them.
//
// It sends messages through the simulator's sending API, shows each as it
// arrives at an ordinary NATS subscriber, acknowledges an emergency from the
// bus, and shows that the server's queue is empty. Then it says how to send, look
// and acknowledge by hand, keeps running, and prints what arrives. With -once it
// ends after the tour: with 0, or with 1 if any step failed or the tour was
// interrupted.
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

	"github.com/pushover-connector/pushover-connector/cmd/internal/eventline"
	"github.com/pushover-connector/pushover-connector/connector"
)

// tourBudget bounds the whole tour; it takes a second or two.
const tourBudget = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run shows the demonstration on stdout and returns the exit code: 2 says that
// the arguments were wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("pushover-demo", flag.ContinueOnError)
	fs.SetOutput(stderr)
	once := fs.Bool("once", false, "end after the tour")
	verbose := fs.Bool("verbose", false, "show the connector's log on standard error")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), "Usage: pushover-demo [-once] [-verbose]\n\n"+
			"Shows the connector at work: no account, no broker, no network needed.\n\nFlags:\n")
		fs.PrintDefaults()
	}
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case fs.NArg() > 0:
		fmt.Fprintf(stderr, "pushover-demo: unexpected argument %q\n", fs.Arg(0))
		return 2
	}
	logTo := io.Discard
	if *verbose {
		logTo = stderr
	}
	if err := demo(ctx, newScreen(stdout, colourful(stdout)), logTo, *once); err != nil {
		fmt.Fprintf(stderr, "pushover-demo: %v\n", err)
		return 1
	}
	return 0
}

// colourful says whether colour is wanted: on a terminal, unless the user says
// no.
func colourful(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
}

// demo builds the stage, gives the tour, and unless once is set stays until ctx
// ends. An end of ctx before that of the tour is an error with once only: whoever
// asked for the tour alone wants to know that it was not completed.
func demo(ctx context.Context, s *screen, logTo io.Writer, once bool) (err error) {
	s.title()
	setUp, cancel := context.WithTimeout(ctx, tourBudget)
	defer cancel()
	unlessStopped := func(err error) error {
		if ctx.Err() != nil && !once {
			return nil
		}
		return err
	}
	st, err := build(setUp, ctx, logTo)
	if err != nil {
		return unlessStopped(err)
	}
	defer func() { err = errors.Join(err, st.close()) }()
	s.stage(st)
	if err := tour(setUp, s, st); err != nil {
		return unlessStopped(err)
	}
	if once {
		return nil
	}
	return watch(ctx, s, st)
}

// watch prints what arrives from now on until ctx ends.
func watch(ctx context.Context, s *screen, st *stage) error {
	st.subscriber.Close() // it was the tour's
	since := time.Now()
	s.yourTurn(st)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-st.failed:
			cancel(err)
		case <-ctx.Done():
		}
	}()
	err := st.bus.Read(ctx, connector.Query{Since: since, Follow: true}, func(e connector.Stored) error {
		s.printf("%s\n", eventline.Of(e))
		return nil
	})
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return errors.Join(cause, err)
	}
	return err
}

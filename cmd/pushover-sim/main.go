// Command pushover-sim is a Pushover service for trying out and testing Open
// Clients and senders. It needs no account and reaches no network. Run it with
// -help for its use, and see package pushovertest for what it simulates.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Command ack-go acknowledges an emergency over NATS and prints the result:
//
//	NATS_URL=nats://127.0.0.1:4222 ack-go RECEIPT
//
// It succeeds only if the emergency is acknowledged. The command is durable: it is
// carried out even if this program does not wait.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: ack-go RECEIPT")
		os.Exit(2)
	}
	status, err := acknowledge(os.Getenv("NATS_URL"), os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "ack-go:", err)
		os.Exit(1)
	}
	fmt.Println(status)
	if status != "acknowledged" {
		os.Exit(1)
	}
}

// acknowledge publishes a command and waits for its result.
func acknowledge(url, receipt string) (status string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	nc, err := nats.Connect(url)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return "", err
	}
	// Listen before speaking. The id is ours and comes back in the result.
	results, err := nc.SubscribeSync("pushover.results.>")
	if err != nil {
		return "", err
	}
	id := nats.NewInbox()
	command, err := json.Marshal(map[string]string{"receipt": receipt, "id": id})
	if err != nil {
		return "", err
	}
	if _, err := js.Publish(ctx, "pushover.control.ack", command); err != nil {
		return "", fmt.Errorf("the command is not on the bus: %w", err)
	}
	for {
		m, err := results.NextMsgWithContext(ctx)
		if err != nil {
			return "", fmt.Errorf("the command is on the bus, but there is no result yet: %w", err)
		}
		var event struct {
			CausationID string
			Data        struct{ Status, Reason string }
		}
		if json.Unmarshal(m.Data, &event) == nil && event.CausationID == id {
			if event.Data.Reason != "" {
				return event.Data.Status + ": " + event.Data.Reason, nil
			}
			return event.Data.Status, nil
		}
	}
}

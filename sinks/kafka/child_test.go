package kafka_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pushover-connector/pushover-connector/sinks/kafka"
)

// childEnv holds, as JSON, what a child process of a test is to do: the test
// binary runs itself to have a publisher that can be killed with SIGKILL.
const childEnv = "KAFKA_TEST_CHILD"

// child publishes the messages 1 to the number in the file Arrived, which
// grows, and writes up to where they are confirmed into the file Cleared, as a
// connector clears them from the service. It ends when Total are confirmed.
type child struct {
	Config  kafka.Config
	Source  string
	Total   int
	Arrived string
	Cleared string
	Opened  string // is created when the bus is open
}

func runChild() int {
	var c child
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := c.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (c child) run(ctx context.Context) error {
	bus, err := c.open(ctx)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.Opened, nil, 0o600); err != nil {
		return err
	}
	cleared, err := readNumber(c.Cleared)
	if err != nil {
		return err
	}
	for size := 1; cleared < c.Total; size = size%23 + 1 {
		arrived, err := readNumber(c.Arrived)
		if err != nil {
			return err
		}
		if arrived == cleared {
			<-time.After(time.Millisecond)
			continue
		}
		pending := messages(c.Source, cleared+1, min(size, arrived-cleared))
		n, err := bus.Publish(ctx, pending)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			<-time.After(5 * time.Millisecond)
		}
		cleared += n
		if err := writeNumber(c.Cleared, cleared); err != nil {
			return err
		}
	}
	return bus.Close(ctx)
}

func (c child) open(ctx context.Context) (*kafka.Bus, error) {
	for deadline := time.Now().Add(wait); ; {
		bus, err := kafka.Open(ctx, c.Config, kafka.Options{Source: c.Source})
		if err == nil || time.Now().After(deadline) {
			return bus, err
		}
		fmt.Fprintln(os.Stderr, err)
		<-time.After(10 * time.Millisecond)
	}
}

func readNumber(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// writeNumber replaces the file, so that a kill leaves the old number or the
// new one.
func writeNumber(file string, n int) error {
	if err := os.WriteFile(file+".new", []byte(strconv.Itoa(n)), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

package kafka_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/sinks/kafka"
)

// logLines keeps the messages of a logger.
type logLines struct {
	mu    sync.Mutex
	lines []string
	attrs []string // "reason" of each line
}

func (l *logLines) logger() *slog.Logger { return slog.New(l) }

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }
func (l *logLines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logLines) WithGroup(string) slog.Handler            { return l }

func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, r.Message)
	reason := ""
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "reason" {
			reason = a.Value.String()
		}
		return true
	})
	l.attrs = append(l.attrs, reason)
	return nil
}

func (l *logLines) count(message string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		if line == message {
			n++
		}
	}
	return n
}

// reasons are the reasons given in lines with a message, in order.
func (l *logLines) reasons(message string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for i, line := range l.lines {
		if line == message {
			out = append(out, l.attrs[i])
		}
	}
	return out
}

// createTopic creates a topic with one partition.
func createTopic(t testing.TB, c kafka.Config, name string, config map[string]*string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(waitContext(t), 1, -1, config, name); err != nil {
		t.Fatal(err)
	}
}

func addPartitions(t testing.TB, c kafka.Config, name string, to int) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).UpdatePartitions(waitContext(t), to, name); err != nil {
		t.Fatal(err)
	}
}

func deleteTopic(t testing.TB, c kafka.Config, name string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).DeleteTopic(waitContext(t), name); err != nil {
		t.Fatal(err)
	}
}

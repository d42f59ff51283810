package kafka_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(runChild())
	}
	code := kafkatest.Main(m)
	// toxiproxy never ends the halves of a link that was cut.
	ours := []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write"),
	}
	if err := goleak.Find(ours...); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// wait bounds every wait in these tests. Nothing depends on its length.
const wait = 60 * time.Second

func waitContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	t.Cleanup(cancel)
	return ctx
}

var names atomic.Int64

// unique makes a name that no other test of this or an earlier run has.
func unique() string {
	return fmt.Sprintf("t%d-%d-%d", os.Getpid(), time.Now().UnixNano()%1e9, names.Add(1))
}

// configFor is a configuration with topics and a group of its own.
func configFor(brokers []string) kafka.Config {
	u := unique()
	return kafka.Config{
		Brokers: brokers, Topic: u + ".messages", ControlTopic: u + ".control", ResultTopic: u + ".results",
		DeadletterTopic: u + ".deadletter", Group: u, CreateTopics: true,
	}
}

// optionsFor are options for a device that no other test has.
func optionsFor(t testing.TB, c kafka.Config) kafka.Options {
	return kafka.Options{Source: "pushover://device/" + strings.TrimSuffix(c.Topic, ".messages"), Logger: testLogger(t)}
}

// testLogger logs to the test.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func open(t testing.TB, c kafka.Config, o kafka.Options) *kafka.Bus {
	t.Helper()
	b, err := kafka.Open(waitContext(t), c, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	return b
}

func closeBus(t testing.TB, b *kafka.Bus) {
	t.Helper()
	if err := b.Close(waitContext(t)); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func messages(source string, first, n int) []connector.Event {
	events := make([]connector.Event, n)
	for i := range events {
		id := first + i
		events[i] = connector.Event{
			ID: fmt.Sprint(id), Source: source, Type: "net.pushover.message.received", Subject: "test",
			Data: json.RawMessage(fmt.Sprintf(`{"id":"%d","message":"message number %d"}`, id, id)), Key: source,
		}
	}
	return events
}

func mustPublish(t testing.TB, b *kafka.Bus, events []connector.Event) {
	t.Helper()
	n, err := b.Publish(waitContext(t), events)
	if n != len(events) || err != nil {
		t.Fatalf("Publish: got %d, %v, want %d", n, err, len(events))
	}
}

// wantIDs checks that a topic holds the events with these ids, in this order and
// no others, as a consumer with either isolation level finds them.
func wantIDs(t testing.TB, brokers []string, topic string, committed bool, want []string) {
	t.Helper()
	if diff := cmp.Diff(ids(readTopic(t, brokers, topic, committed)), want); diff != "" {
		t.Errorf("ids on %s, read committed %v (-got +want):\n%s", topic, committed, diff)
	}
}

// readTopic reads a topic from its start to its end with an independent client.
func readTopic(t testing.TB, brokers []string, topic string, committed bool) []*kgo.Record {
	t.Helper()
	opts := []kgo.Opt{
		kgo.KeepControlRecords(), kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500 * time.Millisecond),
	}
	if committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := waitContext(t)
	left, err := ends(ctx, cl, topic, committed)
	if err != nil {
		t.Fatalf("read %s: %v", topic, err)
	}
	var out []*kgo.Record
	reached := func(p int32, next int64) {
		if next >= left[p] {
			delete(left, p)
		}
	}
	for p := range left {
		reached(p, 0)
	}
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %s: partitions %v are not at their end after %d records", topic, left, len(out))
		}
		fs.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				if !r.Attrs.IsControl() {
					out = append(out, r)
				}
				reached(r.Partition, r.Offset+1)
			}
		})
	}
	return out
}

func ids(records []*kgo.Record) []string {
	var out []string
	for _, r := range records {
		for _, h := range r.Headers {
			if h.Key == "ce_id" || h.Key == "event-id" {
				out = append(out, string(h.Value))
			}
		}
	}
	return out
}

func idsOf(events []connector.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.ID)
	}
	return out
}

func fake(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eachBroker runs a test on kfake and on a real broker.
func eachBroker(t *testing.T, f func(t *testing.T, brokers []string)) {
	t.Run("kfake", func(t *testing.T) { f(t, fake(t).ListenAddrs()) })
	t.Run("kafka", func(t *testing.T) { f(t, kafkatest.Brokers(t)) })
}

package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

func keepContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func keepBus(t *testing.T, c Config, source string) *Bus {
	t.Helper()
	b, err := Open(keepContext(t), c, Options{Source: source})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}

func keepConfig(brokers []string) (Config, string) {
	u := fmt.Sprintf("keep-%d-%d", os.Getpid(), time.Now().UnixNano())
	return Config{
		Brokers: brokers, Topic: u + ".m", ControlTopic: u + ".c", ResultTopic: u + ".r",
		DeadletterTopic: u + ".d", Group: u, CreateTopics: true,
	}, "pushover://device/" + u
}

func keepPublish(t *testing.T, b *Bus, first, n int) {
	t.Helper()
	var events []connector.Event
	for i := range n {
		events = append(events, connector.Event{
			ID: fmt.Sprint(first + i), Source: b.opts.Source, Type: "test", Data: json.RawMessage(`{}`), Key: b.opts.Source,
		})
	}
	if m, err := b.Publish(keepContext(t), events); m != n || err != nil {
		t.Fatalf("Publish: got %d, %v, want %d", m, err, n)
	}
}

// recordsOf counts the records that consumers see.
func recordsOf(t *testing.T, b *Bus) int {
	t.Helper()
	own := 0
	first, end, err := b.bounds(keepContext(t), b.config.Topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	events, err := b.ownEvents(keepContext(t), b.config.Topic, 0, first, end)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range events {
		own++
		if seen[e.id] {
			t.Errorf("event %s stands in the topic twice", e.id)
		}
		seen[e.id] = true
	}
	return own
}

func TestAnIdleProducerRenewsItsClaimUntilAnotherTakesOver(t *testing.T) {
	each := func(t *testing.T, brokers []string) {
		c, source := keepConfig(brokers)
		b := keepBus(t, c, source)
		keepPublish(t, b, 1, 3)
		epoch := b.epoch
		for range 3 {
			if err := b.renew(keepContext(t)); err != nil {
				t.Fatalf("renew: %v", err)
			}
		}
		keepPublish(t, b, 4, 3)
		if b.epoch != epoch {
			t.Errorf("epoch after renewing: got %d, want %d as before", b.epoch, epoch)
		}

		b.ready = false // as after doubt
		keepPublish(t, b, 5, 4)
		if b.epoch != epoch+1 {
			t.Errorf("epoch after doubt: got %d, want %d", b.epoch, epoch+1)
		}
		if got := recordsOf(t, b); got != 8 {
			t.Errorf("records: got %d, want 8", got)
		}

		newer := keepBus(t, c, source)
		if err := b.renew(keepContext(t)); !errors.Is(err, connector.ErrFenced) {
			t.Errorf("renew after another took over: got %v, want ErrFenced", err)
		}
		if _, err := b.Publish(keepContext(t), []connector.Event{{ID: "9", Source: source, Type: "test", Data: json.RawMessage(`{}`), Key: source}}); !errors.Is(err, connector.ErrFenced) {
			t.Errorf("Publish after another took over: got %v, want ErrFenced", err)
		}
		keepPublish(t, newer, 5, 6)
		if got := recordsOf(t, newer); got != 10 {
			t.Errorf("records: got %d, want 10", got)
		}
	}
	t.Run("kfake", func(t *testing.T) {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		each(t, cluster.ListenAddrs())
	})
	t.Run("kafka", func(t *testing.T) { each(t, kafkatest.Brokers(t)) })
}

func TestAProducerThatTheClusterForgotGoesOnWithoutARepeat(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.Start(t, kafkatest.Options{Properties: map[string]string{
		"transactional.id.expiration.ms":                              "500",
		"transaction.remove.expired.transaction.cleanup.interval.ms":  "200",
		"producer.id.expiration.ms":                                   "500",
		"producer.id.expiration.check.interval.ms":                    "200",
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
	}})
	c, source := keepConfig(cluster.Brokers())
	b := keepBus(t, c, source)
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	forgotten := func() {
		t.Helper()
		for ctx := keepContext(t); ; {
			producers, err := adm.DescribeProducers(ctx, kadm.TopicsSet{c.Topic: {0: {}}})
			txns, terr := adm.ListTransactions(ctx, nil, nil)
			if err == nil && terr == nil && len(producers.SortedProducers()) == 0 && len(txns) == 0 {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("the cluster remembers %v, %v (%v, %v)", producers.SortedProducers(), txns, err, terr)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}

	keepPublish(t, b, 1, 5)
	forgotten()
	keepPublish(t, b, 4, 5) // the partition forgot the sequence
	forgotten()
	if err := b.renew(keepContext(t)); err == nil {
		t.Error("renew of a forgotten transactional id: got no error")
	}
	keepPublish(t, b, 7, 5) // the coordinator forgot the producer
	if got := recordsOf(t, b); got != 11 {
		t.Errorf("records: got %d, want 11", got)
	}

	newer := keepBus(t, c, source)
	keepPublish(t, newer, 1, 13)
	if got := recordsOf(t, newer); got != 13 {
		t.Errorf("records after a restart: got %d, want 13", got)
	}
}

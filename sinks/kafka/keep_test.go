package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

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
	b, err := Open(keepContext(t), c, Options{Source: source, Health: connector.NewHealth(nil, nil)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}

// keepReason is why the bus is not well, empty if it is.
func keepReason(b *Bus) connector.Reason {
	for _, p := range connector.New(nil, connector.Options{Health: b.opts.Health}).Status().Parts {
		if p.Part == connector.PartBus {
			return p.Reason
		}
	}
	return connector.ReasonUnexpected
}

func keepConfig(brokers []string) (Config, string) {
	u := fmt.Sprintf("keep-%d-%d", os.Getpid(), time.Now().UnixNano())
	return Config{
		Brokers: brokers, Topic: u + ".m", ControlTopic: u + ".c", ResultTopic: u + ".r",
		DeadletterTopic: u + ".d", Group: u, CreateTopics: true,
	}, "pushover://device/" + u
}

func keepEvents(source string, first, n int) []connector.Event {
	var events []connector.Event
	for i := range n {
		events = append(events, connector.Event{
			ID: fmt.Sprint(first + i), Source: source, Type: "test", Data: json.RawMessage(`{}`), Key: source,
		})
	}
	return events
}

func keepPublish(t *testing.T, b *Bus, first, n int) {
	t.Helper()
	events := keepEvents(b.opts.Source, first, n)
	if m, err := b.Publish(keepContext(t), events); m != n || err != nil {
		t.Fatalf("Publish: got %d, %v, want %d", m, err, n)
	}
}

func keepFake(t *testing.T) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func keepAdmin(t *testing.T, brokers []string) *kadm.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// recordsOf counts the records that consumers see.
func recordsOf(t *testing.T, b *Bus) int {
	t.Helper()
	own := 0
	first, end, err := b.bounds(keepContext(t), b.config.Topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	events, err := b.all()[0].ownEvents(keepContext(t), b.config.Topic, 0, first, end)
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
		epoch := b.all()[0].epoch
		for range 3 {
			if err := b.all()[0].renew(keepContext(t)); err != nil {
				t.Fatalf("renew: %v", err)
			}
		}
		keepPublish(t, b, 4, 3)
		if b.all()[0].epoch != epoch {
			t.Errorf("epoch after renewing: got %d, want %d as before", b.all()[0].epoch, epoch)
		}

		b.all()[0].state = stale // as after an error that leaves the log unknown
		keepPublish(t, b, 5, 4)
		if b.all()[0].epoch != epoch+1 {
			t.Errorf("epoch after taking over again: got %d, want %d", b.all()[0].epoch, epoch+1)
		}
		if got := recordsOf(t, b); got != 8 {
			t.Errorf("records: got %d, want 8", got)
		}

		newer := keepBus(t, c, source)
		if err := b.all()[0].renew(keepContext(t)); !errors.Is(err, connector.ErrFenced) {
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
	t.Run("kfake", func(t *testing.T) { each(t, keepFake(t).ListenAddrs()) })
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
	adm := keepAdmin(t, cluster.Brokers())
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
	if err := b.all()[0].renew(keepContext(t)); err == nil {
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

func TestAClockThatIsAheadRejectsNothing(t *testing.T) {
	c, source := keepConfig(kafkatest.Brokers(t))
	b := keepBus(t, c, source)
	events := keepEvents(source, 1, 1)
	p := b.all()[0].partition(events[0])
	next, err := b.all()[0].encode(p, events, 1)
	if err != nil {
		t.Fatal(err)
	}
	headers, value, err := events[0].Encode(b.opts.Mode, Binding)
	if err != nil {
		t.Fatal(err)
	}
	enc := newBatchEncoder(0)
	enc.add(record{key: events[0].Key, headers: headers, value: value}, 1<<20)
	next.raw = enc.finish(time.Now().Add(2*time.Hour), b.all()[0].id, b.all()[0].epoch, p.sequence)
	if err := b.all()[0].send(keepContext(t), p, next); codeOf(err) != kafkago.InvalidTimestamp || refusesRecord(err) {
		t.Errorf("send two hours ahead: got %v, want a refusal of the time, not of the record", err)
	}
	keepPublish(t, b, 1, 2) // the clock is right again
	if got := recordsOf(t, b); got != 2 {
		t.Errorf("records: got %d, want 2", got)
	}
}

func TestAMessageTopicMadeAnewIsTakenIntoUse(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	adm := keepAdmin(t, brokers)
	for _, tt := range []struct {
		name       string
		partitions int32 // 0 = the bus is to make the topic
	}{{"by the bus", 0}, {"with fewer partitions", 1}, {"with as many", 5}} {
		t.Run(tt.name, func(t *testing.T) {
			c, source := keepConfig(brokers)
			for i := 0; partitionOf(source, 5) == 0; i++ {
				source = fmt.Sprintf("%s-%d", source, i)
			}
			if _, err := adm.CreateTopic(keepContext(t), 5, -1, nil, c.Topic); err != nil {
				t.Fatal(err)
			}
			b := keepBus(t, c, source)
			keepPublish(t, b, 1, 3)
			if _, err := adm.DeleteTopic(keepContext(t), c.Topic); err != nil {
				t.Fatal(err)
			}
			for ctx := keepContext(t); tt.partitions > 0; {
				if _, err := adm.CreateTopic(ctx, tt.partitions, -1, nil, c.Topic); err == nil {
					break
				} else if sleep(ctx, 20*time.Millisecond) != nil {
					t.Fatal(err)
				}
			}
			done := 3
			for ctx := keepContext(t); done < 6; {
				n, err := b.Publish(ctx, keepEvents(source, done+1, 6-done))
				if done += n; err == nil {
					break
				}
				if errors.Is(err, connector.ErrFenced) || sleep(ctx, 50*time.Millisecond) != nil {
					t.Fatalf("Publish to the new topic: %v", err)
				}
			}
			k := b.all()[0].partition(keepEvents(source, 1, 1)[0])
			first, end, err := b.bounds(keepContext(t), k.topic, k.index)
			if err != nil {
				t.Fatal(err)
			}
			own, err := b.all()[0].ownEvents(keepContext(t), k.topic, k.index, first, end)
			if err != nil || len(own) != 3 || own[0].id != "4" {
				t.Errorf("the new topic holds %v, %v; want events 4 to 6", own, err)
			}
		})
	}
}

func TestAConnectorThatWasFencedCommitsNothing(t *testing.T) {
	c, source := keepConfig(keepFake(t).ListenAddrs())
	older := keepBus(t, c, source)
	keepBus(t, c, source)
	if err := older.commands(nil).commit(keepContext(t), 0, 5); err != nil {
		t.Errorf("commit before it knows: %v", err)
	}
	if _, err := older.Publish(keepContext(t), keepEvents(source, 1, 1)); !errors.Is(err, connector.ErrFenced) {
		t.Fatalf("Publish: got %v, want ErrFenced", err)
	}
	if err := older.commands(nil).commit(keepContext(t), 0, 7); !errors.Is(err, connector.ErrFenced) {
		t.Errorf("commit: got %v, want ErrFenced", err)
	}
	if at, _, err := older.fetchOffset(keepContext(t), older.config.Group, 0); at != 5 || err != nil {
		t.Errorf("committed offset: got %d, %v, want 5 as before", at, err)
	}
}

func TestARequestThatRunsIntoItsTimeIsNotRepeatedAtOnce(t *testing.T) {
	cluster := keepFake(t)
	c, source := keepConfig(cluster.ListenAddrs())
	b := keepBus(t, c, source)
	release := make(chan struct{})
	var requests atomic.Int64
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		requests.Add(1)
		cluster.SleepControl(func() { <-release })
		return nil, nil, false
	})
	b.client.Timeout = 50 * time.Millisecond
	if n, err := b.Publish(keepContext(t), keepEvents(source, 1, 2)); n != 0 || reasonOf(err) != connector.ReasonTimeout {
		t.Errorf("Publish: got %d, %v, want a timeout", n, err)
	}
	if got := requests.Load(); got > 1 {
		t.Errorf("produce requests: got %d, want one at most: the caller has the pace of repetition", got)
	}
	close(release)
	b.client.Timeout = requestTimeout
	keepPublish(t, b, 1, 2)
	if got := recordsOf(t, b); got != 2 {
		t.Errorf("records: got %d, want 2", got)
	}
}

// Under new credentials the connector is another device. Whoever is the old one
// then takes nothing from the new one.
func TestADeviceTakenOverAfterItWasLeftEndsNothing(t *testing.T) {
	c, source := keepConfig(keepFake(t).ListenAddrs())
	b := keepBus(t, c, source)
	keepPublish(t, b, 1, 1)
	if n, err := b.Publish(keepContext(t), keepEvents(source+"-new", 2, 1)); n != 1 || err != nil {
		t.Fatalf("Publish under new credentials: got %d, %v", n, err)
	}
	keepBus(t, c, source)
	for _, pr := range b.current() {
		pr.keepClaim(keepContext(t))
	}
	if _, err := b.Publish(keepContext(t), keepEvents(source, 3, 1)); !errors.Is(err, connector.ErrFenced) {
		t.Errorf("Publish for the device that was left: got %v, want ErrFenced", err)
	}
	if b.fenced() {
		t.Error("the commands believe that the new device was taken over")
	}
	if n, err := b.Publish(keepContext(t), keepEvents(source+"-new", 4, 1)); n != 1 || err != nil {
		t.Errorf("Publish after that: got %d, %v, want 1", n, err)
	}
	if reason := keepReason(b); reason != "" {
		t.Errorf("reason of the bus: got %q, want it well", reason)
	}
}

// An older connector may be suspended after it found that its claim to the messages
// stands, and take the results when a newer one has taken over.
func TestAnOlderConnectorThatTakesTheResultsDoesNotEndTheNewer(t *testing.T) {
	c, source := keepConfig(keepFake(t).ListenAddrs())
	results := func(id int) []connector.Event {
		events := keepEvents(source, id, 1)
		events[0].Class = connector.ClassResult
		return events
	}
	older := keepBus(t, c, source)
	newer := keepBus(t, c, source)
	if n, err := newer.Publish(keepContext(t), results(1)); n != 1 || err != nil {
		t.Fatalf("Publish: got %d, %v, want 1", n, err)
	}
	if err := older.producer(c.ResultTopic, source).initProducer(keepContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := older.producer(c.ResultTopic, source).fence(keepContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := newer.Publish(keepContext(t), results(2)); err == nil || errors.Is(err, connector.ErrFenced) {
		t.Errorf("Publish of a result after that: got %v, want a refusal that is not final", err)
	}
	if n, err := newer.Publish(keepContext(t), results(2)); n != 1 || err != nil {
		t.Errorf("Publish of a result again: got %d, %v, want 1", n, err)
	}
	keepPublish(t, newer, 1, 1)
	if _, err := older.Publish(keepContext(t), results(3)); !errors.Is(err, connector.ErrFenced) {
		t.Errorf("a result of the older: got %v, want ErrFenced", err)
	}
	if newer.fenced() {
		t.Error("the newer was ended")
	}
}

// After an outage the last look at the control topic says nothing about when a command
// came.
func TestACommandOfAnOutageIsNotTakenForNew(t *testing.T) {
	c, source := keepConfig(keepFake(t).ListenAddrs())
	b := keepBus(t, c, source)
	s := &server{commandServer: b.commands(nil)}
	st, err := s.begin(keepContext(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan item, 1)
	for _, ago := range []time.Duration{time.Hour, 0} {
		topics, err := b.describe(keepContext(t), []string{c.ControlTopic})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.produceCommand(keepContext(t), topics[c.ControlTopic], []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		st.looked = time.Now().Add(-ago)
		at, err := s.fetchOnce(keepContext(t), st, controlWait, out)
		if err != nil {
			t.Fatal(err)
		}
		st.end = at.end
		if it := <-out; it.arrived.IsZero() != (ago > 0) {
			t.Errorf("last look %s ago: arrived is %v", ago, it.arrived)
		}
	}
}

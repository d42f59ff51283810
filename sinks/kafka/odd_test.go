package kafka_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
)

// handlerOf is a command handler that is always well.
func handlerOf(f func(connector.Command)) connector.CommandHandler {
	return func(_ context.Context, cmd connector.Command) (connector.Result, error) {
		f(cmd)
		return connector.Result{}, nil
	}
}

// An ack must not be lost to a clock: neither the sender's nor ours is the bus's.
func TestCommandOfASenderWithAWrongClockIsAsOldAsItsArrival(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		sender := "CreateTime"
		for _, ours := range []bool{true, false} {
			c := configFor(brokers)
			o := optionsFor(t, c)
			b := open(t, c, o)
			if !ours {
				deleteTopic(t, c, c.ControlTopic)
				createTopic(t, c, c.ControlTopic, map[string]*string{"message.timestamp.type": &sender})
			}
			got := make(chan connector.Command, 10)
			serve(t, b, handlerOf(func(cmd connector.Command) { got <- cmd }))
			sendCommands(t, c, receipt(1)) // so that the topic is being waited at
			<-got
			began := time.Now()
			produceTo(t, c, kgo.NoCompression(), &kgo.Record{Value: []byte(receipt(2)), Timestamp: began.Add(-4 * time.Hour)})
			cmd := <-got
			since := cmd.Time
			if !cmd.Arrived.IsZero() {
				since = cmd.Arrived
			}
			if age := began.Sub(since); age > time.Minute || since.After(time.Now().Add(time.Minute)) {
				t.Errorf("topic of ours %t: the command is %v old at its arrival", ours, age)
			}
		}
	})
}

// Brokers and proxies close the connection on what is too large for them.
func TestBatchThatBrokersHangUpOnIsHalved(t *testing.T) {
	cluster := fake(t)
	c := configFor(cluster.ListenAddrs())
	o := optionsFor(t, c)
	b := open(t, c, o)
	const limit = 16 << 10
	var refused atomic.Int64
	cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		for _, t := range r.(*kmsg.ProduceRequest).Topics {
			for _, p := range t.Partitions {
				if len(p.Records) > limit {
					refused.Add(1)
					return nil, errors.New("too large"), true
				}
			}
		}
		return nil, nil, false
	})
	events := messages(o.Source, 1, 1000)
	for left := events; len(left) > 0; {
		n, _ := b.Publish(waitContext(t), left) // it fails until the batches are small
		if left = left[n:]; refused.Load() > 40 {
			t.Fatalf("%d events are left after %d batches too large", len(left), refused.Load())
		}
	}
	mustPublish(t, b, messages(o.Source, 1001, 1000))
	if n := refused.Load(); n > 40 {
		t.Errorf("%d batches were too large, want fewer", n)
	}
	wantIDs(t, c.Brokers, c.Topic, false, idsOf(messages(o.Source, 1, 2000)))
}

// Accounts with topics of their own share nothing, whatever their devices are called.
func TestAccountsWithTheirOwnTopicsDoNotFenceEachOther(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c, d := configFor(brokers), configFor(brokers)
		o := optionsFor(t, c)
		first, second := open(t, c, o), open(t, d, o)
		for i := range 3 {
			mustPublish(t, first, messages(o.Source, 1+i, 1))
			mustPublish(t, second, messages(o.Source, 1+i, 1))
		}
		wantIDs(t, brokers, c.Topic, false, []string{"1", "2", "3"})
		wantIDs(t, brokers, d.Topic, false, []string{"1", "2", "3"})
	})
}

// With new credentials the connector is another device: what that one's connector
// wrote is recognised, and it is fenced off.
func TestEventsOfAnotherDeviceAreWrittenInItsPlace(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		other := o
		other.Source = o.Source + "-new"
		twin := open(t, c, other)
		mustPublish(t, twin, messages(other.Source, 1, 3))
		b := open(t, c, o)
		mustPublish(t, b, messages(o.Source, 1, 3))
		mustPublish(t, b, messages(other.Source, 1, 5)) // the switch
		if _, err := twin.Publish(waitContext(t), messages(other.Source, 6, 1)); !errors.Is(err, connector.ErrFenced) {
			t.Errorf("the twin: got %v, want ErrFenced", err)
		}
		if n, err := b.Holds(waitContext(t), messages(other.Source, 1, 5)); n != 5 || err != nil {
			t.Errorf("Holds: got %d, %v, want 5", n, err)
		}
		wantIDs(t, brokers, c.Topic, false, []string{"1", "2", "3", "1", "2", "3", "4", "5"})
	})
}

// An older connector that does not know of its successor yet must not take the
// results from it.
func TestOlderTwinDoesNotFenceTheNewerByAResult(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		result := func(id string) []connector.Event {
			return []connector.Event{{ID: id, Source: o.Source, Type: "test", Data: []byte(`{}`), Class: connector.ClassResult, Key: receipt(1)}}
		}
		older, newer := open(t, c, o), open(t, c, o)
		mustPublish(t, newer, result("one"))
		if _, err := older.Publish(waitContext(t), result("two")); !errors.Is(err, connector.ErrFenced) {
			t.Errorf("the older twin: got %v, want ErrFenced", err)
		}
		mustPublish(t, newer, result("three"))
		mustPublish(t, newer, messages(o.Source, 1, 1))
		wantIDs(t, brokers, c.ResultTopic, false, []string{"one", "three"})
	})
}

func TestTopicWithoutALeaderStopsNoMessages(t *testing.T) {
	for _, which := range []string{"dead letters", "results"} {
		cluster := fake(t)
		c := configFor(cluster.ListenAddrs())
		o := optionsFor(t, c)
		closeBus(t, open(t, c, o)) // makes the topics
		topic := c.DeadletterTopic
		if which == "results" {
			topic = c.ResultTopic
		}
		lost := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: topic, Err: kerr.LeaderNotAvailable, Count: -1})
		b := open(t, c, o)
		mustPublish(t, b, messages(o.Source, 1, 3))
		unknown := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: c.Topic, Err: kerr.UnknownProducerID})
		_, _ = b.Publish(waitContext(t), messages(o.Source, 4, 3)) // refused: the log is looked at again
		unknown.Remove()
		mustPublish(t, b, messages(o.Source, 4, 3))
		d, err := b.Durability(waitContext(t))
		if err != nil || !slices.ContainsFunc(d.Warnings, func(w string) bool {
			return strings.Contains(w, topic+", of "+which) && strings.Contains(w, "without a leader")
		}) {
			t.Errorf("%s: got warnings %q, %v, want one of the topic", which, d.Warnings, err)
		}
		lost.Remove()
		wantIDs(t, c.Brokers, c.Topic, false, idsOf(messages(o.Source, 1, 6)))
	}
}

func TestControlTopicIsGraded(t *testing.T) {
	short, compact := "60000", "compact"
	for want, config := range map[string]map[string]*string{
		"of commands, keeps them for only 1m0s": {"retention.ms": &short},
		"of commands, is compacted":             {"cleanup.policy": &compact},
		"":                                      nil,
	} {
		cluster := fake(t)
		c := configFor(cluster.ListenAddrs())
		createTopic(t, c, c.ControlTopic, config)
		d, err := open(t, c, optionsFor(t, c)).Durability(waitContext(t))
		if err != nil {
			t.Fatal(err)
		}
		got := slices.DeleteFunc(d.Warnings, func(w string) bool { return !strings.Contains(w, c.ControlTopic) })
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0], want)) {
			t.Errorf("got warnings %q, want one of %q", got, want)
		}
	}
}

func TestPartitionsAddedUnderTheConnectionAreNoticed(t *testing.T) {
	cluster := fake(t)
	c := configFor(cluster.ListenAddrs())
	b := open(t, c, optionsFor(t, c))
	addPartitions(t, c, c.Topic, 5)
	d, err := b.Durability(waitContext(t))
	if err != nil || !slices.ContainsFunc(d.Warnings, func(w string) bool { return strings.Contains(w, "has 5 partitions now and had 1") }) {
		t.Errorf("got warnings %q, %v, want one of the partitions", d.Warnings, err)
	}
}

func TestAdvertisedAddressIsMappedAndNamed(t *testing.T) {
	cluster := fake(t)
	advertised := cluster.ListenAddrs()[0]
	var through atomic.Int64
	proxy := forward(t, advertised, &through)
	c := configFor([]string{proxy})
	c.AddressMap = []string{advertised + "=" + proxy}
	o := optionsFor(t, c)
	b := open(t, c, o)
	mustPublish(t, b, messages(o.Source, 1, 3))
	if through.Load() < 2 {
		t.Errorf("%d connections through the mapped address, want all", through.Load())
	}
	closeBus(t, b)

	c.AddressMap = []string{advertised + "=127.0.0.1:1"} // where nobody listens
	side := o
	side.ReadOnly = true
	err := failed(open(t, c, side).Checks(waitContext(t)))
	for _, want := range []string{"the cluster tells clients to connect to " + advertised, "advertised.listeners", "KAFKA_ADDRESS_MAP"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("checks: got %v, want %q", err, want)
		}
	}
}

func TestReplacedPasswordIsUsedForTheNextConnection(t *testing.T) {
	cluster := fake(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "u", "right"))
	c := configFor(cluster.ListenAddrs())
	file := filepath.Join(t.TempDir(), "password")
	c.SASLMechanism, c.Username, c.PasswordFile = "PLAIN", "u", file
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong")
	b, err := kafka.Open(waitContext(t), c, optionsFor(t, c))
	if err == nil {
		closeBus(t, b)
	}
	var f *connector.Failure
	if !errors.As(err, &f) || f.Reason != connector.ReasonBusAuth {
		t.Fatalf("with a wrong password: got %v, want a refused login", err)
	}
	write("right")
	o := optionsFor(t, c)
	mustPublish(t, open(t, c, o), messages(o.Source, 1, 1))
}

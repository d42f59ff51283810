package kafka_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/connector"
)

func TestServingWaitsForAControlTopicThatDoesNotExistYet(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		closeBus(t, open(t, c, o))
		c.CreateTopics = false
		c.ControlTopic = unique() + ".later"
		health := watch(&o)
		b := open(t, c, o)
		w := newWorker(b, o.Source)
		serve(t, b, w.handle)
		p := health.await(t, connector.PartCommands, connector.ReasonBusMisconfigured)
		if !strings.Contains(p.Remedy, "kafka-topics.sh") || p.NextAttempt == nil {
			t.Errorf("health without the topic: got %+v, want the line to create it and the next attempt", p)
		}
		if p := health.part(connector.PartBus); !p.OK {
			t.Errorf("health of the bus: got %+v, want ok: the events have their topics", p)
		}
		createTopic(t, c, c.ControlTopic, nil)
		sendCommands(t, c, receipt(1))
		w.await(t, 1)
		health.await(t, connector.PartCommands, ok)
		// While the topic comes into being there may be other reasons, one line each.
		missing := 0
		for _, reason := range health.log.reasons("commands failed, retrying") {
			if reason == string(connector.ReasonBusMisconfigured) {
				missing++
			}
		}
		if missing != 1 {
			t.Errorf("log lines about the missing topic: got %d, want 1", missing)
		}
		if got := health.log.count("commands recovered"); got < 1 {
			t.Error("the log has no line about the recovery")
		}
	})
}

func TestAControlTopicMadeAnewIsServedFromItsFirstCommand(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		health := watch(&o)
		b := open(t, c, o)
		w := newWorker(b, o.Source)
		release := make(chan struct{})
		w.before = func(cmd connector.Command) error {
			if string(cmd.Body) == receipt(3) {
				<-release
			}
			return nil
		}
		serve(t, b, w.handle)
		sendCommands(t, c, receipt(1), receipt(2), receipt(3), receipt(4))
		w.await(t, 3)
		awaitCommitted(t, c, 2)

		deleteTopic(t, c, c.ControlTopic)
		// It goes on saying so, and what to do.
		for ctx := waitContext(t); ; {
			changed, p := health.Changed(), health.part(connector.PartCommands)
			if p.Attempts >= 3 && p.Reason == connector.ReasonBusMisconfigured && strings.Contains(p.Remedy, "kafka-topics.sh") {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				t.Fatalf("health without the topic: got %+v, want the line to create it", p)
			}
		}
		createTopic(t, c, c.ControlTopic, nil)
		fresh := []string{receipt(10), receipt(11), receipt(12), receipt(13), receipt(14), receipt(15)}
		sendCommands(t, c, fresh...)
		got := w.await(t, len(fresh))
		slices.Sort(got)
		if diff := cmp.Diff(got, fresh); diff != "" {
			t.Errorf("commands of the new topic (-got +want):\n%s", diff)
		}
		awaitCommitted(t, c, int64(len(fresh)))
		close(release) // the old topic's last command is not lost either
		if diff := cmp.Diff(w.await(t, 1), []string{receipt(3)}); diff != "" {
			t.Errorf("command of the old topic (-got +want):\n%s", diff)
		}
		sendCommands(t, c, receipt(16))
		w.await(t, 1)
		awaitCommitted(t, c, int64(len(fresh))+1)
		health.await(t, connector.PartCommands, ok)
	})
}

func TestCommandsOfAbortedTransactionsArePassedOver(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		b := open(t, c, o)
		cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(c.Group+"-sender"), kgo.DefaultProduceTopic(c.ControlTopic))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		transaction := func(how kgo.TransactionEndTry, bodies ...string) {
			t.Helper()
			if err := cl.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			for _, body := range bodies {
				if err := cl.ProduceSync(waitContext(t), kgo.StringRecord(body)).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			if err := cl.EndTransaction(waitContext(t), how); err != nil {
				t.Fatal(err)
			}
		}
		transaction(kgo.TryAbort, receipt(90), receipt(91))
		transaction(kgo.TryCommit, receipt(1), receipt(2))
		sendCommands(t, c, receipt(3))
		transaction(kgo.TryAbort, receipt(92))
		sendCommands(t, c, receipt(4))
		w := newWorker(b, o.Source)
		serve(t, b, w.handle)
		got := w.await(t, 4)
		slices.Sort(got)
		if diff := cmp.Diff(got, []string{receipt(1), receipt(2), receipt(3), receipt(4)}); diff != "" {
			t.Errorf("commands carried out (-got +want):\n%s", diff)
		}
		transaction(kgo.TryAbort, receipt(93)) // while it is being served
		transaction(kgo.TryCommit, receipt(5))
		if diff := cmp.Diff(w.await(t, 1), []string{receipt(5)}); diff != "" {
			t.Errorf("commands carried out later (-got +want):\n%s", diff)
		}
	})
}

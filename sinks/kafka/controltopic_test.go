package kafka_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
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
		missing := 0
		for _, reason := range health.log.reasons("commands failed, retrying") {
			if reason == string(connector.ReasonBusMisconfigured) {
				missing++
			}
		}
		if missing != 1 {
			t.Errorf("log lines about the missing topic: got %d, want 1", missing)
		}
		createTopic(t, c, c.ControlTopic, nil)
		sendCommands(t, c, receipt(1))
		w.await(t, 1)
		health.await(t, connector.PartCommands, ok)
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

// Connectors for several devices of an account share the control topic and the group:
// each command is carried out once, and when the one that does it ends, another goes
// on.
func TestConnectorsOfOneGroupShareTheCommands(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		var lines logLines
		first := open(t, c, o)
		o.Source += "-2"
		o.Logger = lines.logger()
		second := open(t, c, o)
		handled := make(chan string, 100)
		by := func(name string) connector.CommandHandler {
			return handlerOf(func(cmd connector.Command) { handled <- name + " " + string(cmd.Body) })
		}
		stop := serve(t, first, by("first"))
		sendCommands(t, c, receipt(1))
		if got := <-handled; got != "first "+receipt(1) {
			t.Fatalf("got %q, want the first connector to carry the command out", got)
		}
		serve(t, second, by("second"))
		awaitLine(t, &lines, "commands are carried out by another connector, standing by")
		sendCommands(t, c, receipt(2), receipt(3))
		for range 2 {
			if got := <-handled; !strings.HasPrefix(got, "first ") {
				t.Errorf("got %q, want the first connector to go on", got)
			}
		}
		awaitCommitted(t, c, 3)
		stop()
		sendCommands(t, c, receipt(4))
		if got := <-handled; got != "second "+receipt(4) {
			t.Errorf("got %q, want the second connector to carry the next one out, and no other", got)
		}
	})
}

func awaitLine(t *testing.T, lines *logLines, message string) {
	t.Helper()
	for ctx := waitContext(t); lines.count(message) == 0; {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("no line %q", message)
		}
	}
}

// The group may keep its offset when the topic is recreated, or after an unclean leader
// election.
func TestCommittedOffsetBeyondTheLogIsNotWaitedFor(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		b := open(t, c, o)
		sendCommands(t, c, receipt(1), receipt(2))
		cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		var beyond kadm.Offsets
		beyond.AddOffset(c.ControlTopic, 0, 100, -1)
		if err := kadm.NewClient(cl).CommitAllOffsets(waitContext(t), c.Group, beyond); err != nil {
			t.Fatal(err)
		}
		w := newWorker(b, o.Source)
		serve(t, b, w.handle)
		w.await(t, 2)
		for ctx := waitContext(t); committed(t, c) == 100; { // a command is carried out before it is committed
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				t.Fatal("the offset stays beyond the log")
			}
		}
		awaitCommitted(t, c, 2)
	})
}

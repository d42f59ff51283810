package kafka_test

import (
	"context"
	"errors"
	"fmt"
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

func TestWhateverTheBrokerAnswersAnEventStandsInTheTopicOnce(t *testing.T) {
	for _, tt := range []struct {
		name     string
		answers  []*kerr.Error
		reread   bool // a new epoch and a look at the log are called for
		fails    bool // the first call must not report success
		rejected bool
	}{
		{name: "appended, but with too few replicas", answers: []*kerr.Error{kerr.NotEnoughReplicasAfterAppend}, fails: true},
		{name: "appended, but not confirmed in time", answers: []*kerr.Error{kerr.RequestTimedOut}, fails: true},
		{name: "appended, then not confirmed three times", answers: []*kerr.Error{kerr.RequestTimedOut, kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend}, fails: true},
		{name: "appended, then the sequence is out of order", answers: []*kerr.Error{kerr.RequestTimedOut, kerr.OutOfOrderSequenceNumber}, fails: true, reread: true},
		{name: "appended, then the producer is forgotten", answers: []*kerr.Error{kerr.RequestTimedOut, kerr.UnknownProducerID}, fails: true, reread: true},
		{name: "appended, then called too large", answers: []*kerr.Error{kerr.RequestTimedOut, kerr.MessageTooLarge}, fails: true, reread: true},
		{name: "too few replicas", answers: []*kerr.Error{kerr.NotEnoughReplicas}, fails: true},
		{name: "not the leader", answers: []*kerr.Error{kerr.NotLeaderForPartition}, fails: true},
		{name: "storage error", answers: []*kerr.Error{kerr.KafkaStorageError}, fails: true},
		{name: "unknown topic for a moment", answers: []*kerr.Error{kerr.UnknownTopicOrPartition}, fails: true, reread: true},
		{name: "appended, then the topic is unknown", answers: []*kerr.Error{kerr.RequestTimedOut, kerr.UnknownTopicOrPartition}, fails: true, reread: true},
		{name: "a time that is refused", answers: []*kerr.Error{kerr.InvalidTimestamp}, fails: true},
		{name: "appended, then a time that is refused", answers: []*kerr.Error{kerr.RequestTimedOut, kerr.InvalidTimestamp}, fails: true, reread: true},
		{name: "a sequence that stands further back", answers: []*kerr.Error{kerr.RequestTimedOut, kerr.DuplicateSequenceNumber}, fails: true},
		{name: "sequence out of order", answers: []*kerr.Error{kerr.OutOfOrderSequenceNumber}, fails: true, reread: true},
		{name: "producer forgotten", answers: []*kerr.Error{kerr.UnknownProducerID}, fails: true, reread: true},
		{name: "producer not mapped", answers: []*kerr.Error{kerr.InvalidProducerIDMapping}, fails: true, reread: true},
		{name: "too large as a batch", answers: []*kerr.Error{kerr.MessageTooLarge, kerr.MessageTooLarge}},
		{name: "an error nobody knows", answers: []*kerr.Error{kerr.UnknownServerError}, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cluster := fake(t)
			c := configFor(cluster.ListenAddrs())
			o := optionsFor(t, c)
			b := open(t, c, o)
			events := messages(o.Source, 1, 30)
			mustPublish(t, b, events[:5])

			inits := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Observe: true, Count: -1})
			var faults []kfake.Fault
			for _, a := range tt.answers {
				faults = append(faults, kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: c.Topic, Err: a})
			}
			cluster.Fault(faults...)
			n, err := b.Publish(waitContext(t), events[5:15])
			if tt.fails && (err == nil || n != 0 || errors.Is(err, connector.ErrRejected) || errors.Is(err, connector.ErrFenced)) {
				t.Errorf("first call: got %d, %v, want 0 and a plain error", n, err)
			}
			for try, done := 0, 5+n; done < len(events); try++ {
				n, err := b.Publish(waitContext(t), events[done:])
				done += n
				if try > 10 {
					t.Fatalf("after %d tries: %v", try, err)
				}
			}
			if got := inits.Hits() > 0; got != tt.reread {
				t.Errorf("a new epoch was taken: %v, want %v", got, tt.reread)
			}
			wantIDs(t, c.Brokers, c.Topic, false, idsOf(events))
			if n, err := b.Holds(waitContext(t), events[5:15]); n != 10 || err != nil {
				t.Errorf("Holds: got %d, %v, want 10", n, err)
			}
		})
	}
}

// The first request may have been carried out, whatever the second is told.
func TestARefusalAfterACutConnectionIsNoRejection(t *testing.T) {
	for _, n := range []int{1, 10} {
		cluster := fake(t)
		c := configFor(cluster.ListenAddrs())
		o := optionsFor(t, c)
		b := open(t, c, o)
		inits := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Observe: true, Count: -1})
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.MessageTooLarge})
		cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			return nil, errors.New("cut"), true
		})
		if m, err := b.Publish(waitContext(t), messages(o.Source, 1, n)); m != 0 || err == nil || errors.Is(err, connector.ErrRejected) {
			t.Errorf("Publish of %d: got %d, %v, want a plain error", n, m, err)
		}
		mustPublish(t, b, messages(o.Source, 1, n))
		if inits.Hits() == 0 {
			t.Error("the log was not looked at before it was written to again")
		}
		wantIDs(t, c.Brokers, c.Topic, false, idsOf(messages(o.Source, 1, n)))
	}
}

func TestAWrongClockIsNamedAndRejectsNothing(t *testing.T) {
	cluster := fake(t)
	c := configFor(cluster.ListenAddrs())
	o := optionsFor(t, c)
	b := open(t, c, o)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidTimestamp})
	n, err := b.Publish(waitContext(t), messages(o.Source, 1, 3))
	if n != 0 || errors.Is(err, connector.ErrRejected) || err == nil || !strings.Contains(err.Error(), "clock") {
		t.Errorf("Publish: got %d, %v, want a plain error about the clock", n, err)
	}
	var known *connector.Failure
	if !errors.As(err, &known) || known.Reason != connector.ReasonBusRefused {
		t.Errorf("Publish: got class %+v, want %s", known, connector.ReasonBusRefused)
	}
	mustPublish(t, b, messages(o.Source, 1, 3))
}

func TestAnOldEpochIsFinal(t *testing.T) {
	for _, answer := range []*kerr.Error{kerr.InvalidProducerEpoch, kerr.ProducerFenced} {
		t.Run(answer.Message, func(t *testing.T) {
			cluster := fake(t)
			c := configFor(cluster.ListenAddrs())
			o := optionsFor(t, c)
			health := watch(&o)
			b := open(t, c, o)
			cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: answer})
			for range 2 {
				if n, err := b.Publish(waitContext(t), messages(o.Source, 1, 3)); n != 0 || !errors.Is(err, connector.ErrFenced) {
					t.Errorf("Publish: got %d, %v, want ErrFenced", n, err)
				}
			}
			if p := health.part(connector.PartBus); p.Reason != connector.ReasonFenced || p.NextAttempt != nil {
				t.Errorf("health of the bus: got %+v, want fenced for good", p)
			}
		})
	}
}

func TestATwinThatTookOverMeanwhileIsNotFencedBack(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		older := open(t, c, o)
		events := messages(o.Source, 1, 30)
		mustPublish(t, older, events[:10])
		newer := open(t, c, o)
		for range 3 { // the older must neither write nor get a new epoch
			if _, err := older.Publish(waitContext(t), events[10:20]); !errors.Is(err, connector.ErrFenced) {
				t.Fatalf("Publish by the older: got %v, want ErrFenced", err)
			}
		}
		mustPublish(t, newer, events)
		wantIDs(t, brokers, c.Topic, false, idsOf(events))
	})
}

func TestAMessageTooLargeIsRejectedAloneAndItsDeadLetterAccepted(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		health := watch(&o)
		b := open(t, c, o)
		events := messages(o.Source, 1, 9)
		events[4].Data = []byte(`{"message":"` + strings.Repeat("x", 1<<21) + `"}`)
		n, err := b.Publish(waitContext(t), events)
		if n != 4 || !errors.Is(err, connector.ErrRejected) {
			t.Fatalf("Publish: got %d, %v, want 4 and ErrRejected", n, err)
		}
		dead := events[4]
		dead.Class, dead.Data = connector.ClassDeadLetter, []byte(`{"reason":"too large"}`)
		mustPublish(t, b, []connector.Event{dead})
		mustPublish(t, b, events[5:])
		if p := health.part(connector.PartBus); !p.OK {
			t.Errorf("health of the bus after a rejection: got %+v, want ok", p)
		}
		wantIDs(t, brokers, c.Topic, false, []string{"1", "2", "3", "4", "6", "7", "8", "9"})
		wantIDs(t, brokers, c.DeadletterTopic, false, []string{"5"})
	})
}

func TestADownloadLargerThanABatchGoesOutInSeveral(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		b := open(t, c, o)
		events := messages(o.Source, 1, 400)
		for i := range events {
			events[i].Data = []byte(fmt.Sprintf(`{"message":%q}`, strings.Repeat("y", 10_000)))
		}
		mustPublish(t, b, events) // four megabytes
		wantIDs(t, brokers, c.Topic, false, idsOf(events))
	})
}

func TestARepeatIsRecognisedFarBackInTheTopic(t *testing.T) {
	cluster := fake(t)
	c := configFor(cluster.ListenAddrs())
	o := optionsFor(t, c)
	b := open(t, c, o)
	events := messages(o.Source, 1, 5000)
	mustPublish(t, b, events)
	closeBus(t, b)

	// Foreign records after ours, more than are read back at first.
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.DefaultProduceTopic(c.Topic), kgo.MaxBufferedRecords(200_000))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var foreign []*kgo.Record
	for i := range 120_000 {
		foreign = append(foreign, &kgo.Record{Value: []byte("foreign"), Headers: []kgo.RecordHeader{
			{Key: "ce_id", Value: []byte(fmt.Sprint(i))}, {Key: "ce_source", Value: []byte("elsewhere")},
		}})
	}
	if err := cl.ProduceSync(waitContext(t), foreign...).FirstErr(); err != nil {
		t.Fatal(err)
	}

	duplicates := 0
	o.OnDuplicate = func(n int) { duplicates += n }
	b = open(t, c, o)
	more := messages(o.Source, 4001, 1500)
	mustPublish(t, b, more)
	mustPublish(t, b, events) // all of it once more
	if want := 1000 + 5000; duplicates != want {
		t.Errorf("duplicates reported: got %d, want %d", duplicates, want)
	}
	got := ids(readTopic(t, c.Brokers, c.Topic, false))
	if want := 5000 + 120_000 + 500; len(got) != want {
		t.Errorf("records: got %d, want %d", len(got), want)
	}
}

// Earlier versions repeated id and source of a structured event as headers of the
// binding. What they wrote is recognised.
func TestEventsOfAnEarlierVersionAreRecognised(t *testing.T) {
	cluster := fake(t)
	c := configFor(cluster.ListenAddrs())
	o := optionsFor(t, c)
	closeBus(t, open(t, c, o)) // makes the topics
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.DefaultProduceTopic(c.Topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	events := messages(o.Source, 1, 10)
	for _, e := range events[:7] {
		_, body, err := e.Encode(connector.ModeStructured, kafka.Binding)
		if err != nil {
			t.Fatal(err)
		}
		old := &kgo.Record{Key: []byte(e.Key), Value: body, Headers: []kgo.RecordHeader{
			{Key: "content-type", Value: []byte("application/cloudevents+json; charset=UTF-8")},
			{Key: "ce_id", Value: []byte(e.ID)}, {Key: "ce_source", Value: []byte(e.Source)},
		}}
		if err := cl.ProduceSync(waitContext(t), old).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, c, o)
	mustPublish(t, b, events)
	wantIDs(t, c.Brokers, c.Topic, false, idsOf(events))
}

func TestARequestEndsWithItsContextWhenTheBrokerIsSilent(t *testing.T) {
	cluster := fake(t)
	c := configFor(cluster.ListenAddrs())
	o := optionsFor(t, c)
	b := open(t, c, o)
	asked := make(chan struct{}, 10)
	release := make(chan struct{})
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		asked <- struct{}{}
		cluster.SleepControl(func() { <-release })
		return nil, nil, false
	})
	ctx, cancel := context.WithCancel(waitContext(t))
	published := make(chan error, 1)
	go func() {
		_, err := b.Publish(ctx, messages(o.Source, 1, 2))
		published <- err
	}()
	<-asked
	cancel()
	select {
	case err := <-published:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Publish: got %v, want context.Canceled", err)
		}
	case <-time.After(wait):
		t.Error("Publish does not end with its context")
	}
	close(release)
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, nil, false })
	mustPublish(t, b, messages(o.Source, 1, 4))
	wantIDs(t, c.Brokers, c.Topic, false, []string{"1", "2", "3", "4"})
}

func TestAPublishThatRunsOutOfTimeIsTroubleAndNotSentTwice(t *testing.T) {
	cluster := fake(t)
	c := configFor(cluster.ListenAddrs())
	o := optionsFor(t, c)
	b := open(t, c, o)
	release := make(chan struct{})
	var requests atomic.Int64
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		requests.Add(1)
		cluster.SleepControl(func() { <-release })
		return nil, nil, false
	})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	n, err := b.Publish(ctx, messages(o.Source, 1, 2))
	if n != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish: got %d, %v, want context.DeadlineExceeded", n, err)
	}
	var known *connector.Failure
	if !errors.As(err, &known) || known.Reason != connector.ReasonTimeout {
		t.Errorf("Publish: got class %+v, want %s", known, connector.ReasonTimeout)
	}
	if got := requests.Load(); got > 1 {
		t.Errorf("produce requests: got %d, want one at most", got)
	}
	close(release)
	mustPublish(t, b, messages(o.Source, 1, 2))
	wantIDs(t, c.Brokers, c.Topic, false, []string{"1", "2"})
}

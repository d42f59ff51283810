package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
)

// described is how a stored event stands in the expectations below.
func described(s connector.Stored) string {
	return fmt.Sprintf("%s %s", s.Class, s.ID)
}

// read reads what a query selects, with a bus that may only read.
func read(t *testing.T, b *kafka.Bus, q connector.Query) []connector.Stored {
	t.Helper()
	var all []connector.Stored
	if err := b.Read(waitContext(t), q, func(s connector.Stored) error {
		all = append(all, s)
		return nil
	}); err != nil {
		t.Fatalf("Read %+v: %v", q, err)
	}
	return all
}

// fill publishes messages 1 to 6, of which the even ones are of high priority, a
// result after each and a dead letter at the end, each call in a millisecond of
// its own, among records of others. It returns the places of the messages.
func fill(t *testing.T, b *kafka.Bus, c kafka.Config, o kafka.Options) map[string]string {
	t.Helper()
	places := map[string]string{}
	s := &spaced{bus: b}
	publish := func(e connector.Event) {
		t.Helper()
		e.Stored = func(place string) { places[e.ID] = place }
		if _, err := s.Publish(waitContext(t), []connector.Event{e}); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range messages(o.Source, 1, 6) {
		e.Data = []byte(fmt.Sprintf(`{"priority_name":%q}`, []string{"normal", "high"}[i%2]))
		publish(e)
		publishForeign(t, c)
		publish(connector.Event{
			ID: "r" + e.ID, Source: o.Source, Type: connector.TypeAcknowledged, Class: connector.ClassResult, Key: receipt(i), Data: []byte(`{}`),
		})
	}
	dead := messages(o.Source, 7, 1)[0]
	dead.Class = connector.ClassDeadLetter
	dead.Extensions = []connector.Extension{{Name: "deadletterreason", Value: "too large"}}
	publish(dead)
	return places
}

// publishForeign adds a record that is not an event to the message topic, and
// one of an aborted transaction that looks like one.
func publishForeign(t *testing.T, c kafka.Config) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.TransactionalID(unique()), kgo.DefaultProduceTopic(c.Topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, r := range []*kgo.Record{
		kgo.StringRecord("not an event"),
		{Value: []byte(`{}`), Headers: []kgo.RecordHeader{
			{Key: "ce_specversion", Value: []byte("1.0")}, {Key: "ce_id", Value: []byte("aborted")},
			{Key: "ce_source", Value: []byte("s")}, {Key: "ce_type", Value: []byte(connector.TypeMessage)},
		}},
	} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(waitContext(t), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(waitContext(t), kgo.TransactionEndTry(len(r.Headers) == 0)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadSelectsEventsOfAllTopicsInTheOrderOfTime(t *testing.T) {
	for _, mode := range []connector.Mode{connector.ModeStructured, connector.ModeBinary} {
		t.Run(mode.String(), func(t *testing.T) {
			eachBroker(t, func(t *testing.T, brokers []string) { testReadSelects(t, brokers, mode) })
		})
	}
}

func testReadSelects(t *testing.T, brokers []string, mode connector.Mode) {
	c := configFor(brokers)
	o := optionsFor(t, c)
	o.Mode = mode
	places := fill(t, open(t, c, o), c, o)
	o.ReadOnly = true
	b := open(t, c, o)

	all := read(t, b, connector.Query{})
	fourth := all[6].At
	message, result := []connector.Class{connector.ClassMessage}, []connector.Class{connector.ClassResult}
	for _, tt := range []struct {
		name  string
		query connector.Query
		want  []string
	}{
		{"all", connector.Query{}, []string{
			"message 1", "result r1", "message 2", "result r2", "message 3", "result r3",
			"message 4", "result r4", "message 5", "result r5", "message 6", "result r6", "deadletter 7",
		}},
		{"messages", connector.Query{Classes: message}, []string{"message 1", "message 2", "message 3", "message 4", "message 5", "message 6"}},
		{"the last results", connector.Query{Classes: result, Last: 2}, []string{"result r5", "result r6"}},
		{"the last of all", connector.Query{Last: 4}, []string{"result r5", "message 6", "result r6", "deadletter 7"}},
		{"more than there are", connector.Query{Classes: result, Last: 100}, []string{"result r1", "result r2", "result r3", "result r4", "result r5", "result r6"}},
		{"a priority", connector.Query{Priority: "high", Last: 5}, []string{"result r4", "result r5", "message 6", "result r6", "deadletter 7"}},
		{"messages of a priority", connector.Query{Classes: message, Priority: "high", Last: 2}, []string{"message 4", "message 6"}},
		{"since a time", connector.Query{Since: fourth, Classes: message}, []string{"message 4", "message 5", "message 6"}},
		{"the last since a time", connector.Query{Since: fourth, Last: 100}, []string{"message 4", "result r4", "message 5", "result r5", "message 6", "result r6", "deadletter 7"}},
		{"since a time to come", connector.Query{Since: time.Now().Add(time.Hour)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, s := range read(t, b, tt.query) {
				got = append(got, described(s))
			}
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("Read %+v (-got +want):\n%s", tt.query, diff)
			}
		})
	}
	for _, s := range all {
		if s.Place != places[s.ID] || s.Source != o.Source {
			t.Errorf("event %s of %s stands at %q; Publish said %q of %s", s.ID, s.Source, s.Place, places[s.ID], o.Source)
		}
	}
}

func TestARepeatIsToldThePlaceOfTheFirst(t *testing.T) {
	c := configFor(fake(t).ListenAddrs())
	o := optionsFor(t, c)
	events := messages(o.Source, 1, 3)
	mustPublish(t, open(t, c, o), events)
	b := open(t, c, o)
	held := read(t, b, connector.Query{})
	var got, want []string
	for i := range events {
		want = append(want, held[i].Place)
		events[i].Stored = func(place string) { got = append(got, place) }
	}
	mustPublish(t, b, events)
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("places of repeats (-got +want):\n%s", diff)
	}
}

func TestReadOfALongTopicGivesEveryEventOnce(t *testing.T) {
	c := configFor(fake(t).ListenAddrs())
	o := optionsFor(t, c)
	b := open(t, c, o)
	events := messages(o.Source, 1, 5000)
	mustPublish(t, b, events)
	for _, last := range []int{0, 1, 700, 4999, 5000} {
		want := events
		if last > 0 {
			want = events[len(events)-last:]
		}
		var got []string
		for _, s := range read(t, b, connector.Query{Last: last}) {
			got = append(got, s.ID)
		}
		if diff := cmp.Diff(got, idsOf(want)); diff != "" {
			t.Errorf("Read of the last %d: %d events (-got +want):\n%.500s", last, len(got), diff)
		}
	}
}

func TestReadFollowsThroughAnOutageUntilItsContextEnds(t *testing.T) {
	var g gate
	c := configFor(fake(t, kfake.ListenFn(g.listen)).ListenAddrs())
	o := optionsFor(t, c)
	b := open(t, c, o)
	mustPublish(t, b, messages(o.Source, 1, 3))
	side := o
	side.ReadOnly = true
	reader := open(t, c, side)

	ctx, cancel := context.WithCancel(waitContext(t))
	seen := make(chan string, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- reader.Read(ctx, connector.Query{Last: 1, Follow: true}, func(s connector.Stored) error {
			seen <- s.ID
			return nil
		})
	}()
	await := func(want ...string) {
		t.Helper()
		for _, id := range want {
			select {
			case got := <-seen:
				if got != id {
					t.Errorf("followed event: got %s, want %s", got, id)
				}
			case <-time.After(wait):
				t.Fatalf("event %s does not come", id)
			}
		}
	}
	await("3")
	publishForeign(t, c)
	mustPublish(t, b, messages(o.Source, 4, 2))
	await("4", "5")
	g.shut()
	if _, err := b.Publish(waitContext(t), messages(o.Source, 6, 1)); err == nil {
		t.Error("Publish while the broker is away: got no error")
	}
	g.open()
	mustPublish(t, b, messages(o.Source, 6, 3))
	await("6", "7", "8")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Read, after its context ended: got %v, want nil", err)
	}
}

func TestReadEndsWithTheErrorOfItsCallerAndOfAMissingTopic(t *testing.T) {
	c := configFor(fake(t).ListenAddrs())
	o := optionsFor(t, c)
	side := o
	side.ReadOnly = true
	if err := open(t, c, side).Read(waitContext(t), connector.Query{Follow: true}, nil); err == nil {
		t.Error("Read of topics that do not exist: got no error")
	}
	b := open(t, c, o)
	mustPublish(t, b, messages(o.Source, 1, 3))
	enough := errors.New("enough")
	for _, follow := range []bool{false, true} {
		calls := 0
		err := b.Read(waitContext(t), connector.Query{Follow: follow}, func(connector.Stored) error {
			calls++
			return enough
		})
		if !errors.Is(err, enough) || calls != 1 {
			t.Errorf("Read, follow %v: got %v after %d calls, want the caller's error after one", follow, err, calls)
		}
	}
}

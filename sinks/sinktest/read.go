package sinktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/connector"
)

// A log is what the cases of reading publish.
type log struct {
	connector.Reader
	h        Harness
	messages []connector.Event
	results  []connector.Event
	letters  []connector.Event
}

// newLog publishes events of every class, and records of others between them. It
// skips a sink that is not a [connector.Reader].
func newLog(t *testing.T, h Harness) *log {
	t.Helper()
	reader, ok := h.Sink.(connector.Reader)
	if !ok {
		t.Skip("declared by its type: this sink is not a Reader")
	}
	l := &log{
		Reader: reader, h: h, messages: Messages("a", 1, 700),
		results: []connector.Event{Result("a", 1), Result("a", 2)},
		letters: []connector.Event{DeadLetter(Message("a", 801)), DeadLetter(Message("a", 804))},
	}
	mustPublish(t, h.Sink, l.messages[:300])
	h.Foreign(t)
	mustPublish(t, h.Sink, slices.Concat(l.letters[:1], l.results[:1]))
	mustPublish(t, h.Sink, l.messages[300:])
	mustPublish(t, h.Sink, slices.Concat(l.results[1:], l.letters[1:]))
	h.Foreign(t)
	return l
}

// read returns what the log has for q, which must not follow.
func (l *log) read(t *testing.T, q connector.Query) []connector.Stored {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []connector.Stored
	err := l.Read(ctx, q, func(s connector.Stored) error {
		got = append(got, s)
		return nil
	})
	if err != nil {
		t.Fatalf("Read of %+v: %v", q, err)
	}
	return got
}

// bare is an event without what a reader does not get.
func bare(e connector.Event) connector.Event {
	e.Extensions, e.Route, e.Key, e.Stored = nil, nil, "", nil
	return e
}

// wantEvents compares what was read with the events, class by class: classes may
// have logs of their own, and then the order among them is that of time.
func wantEvents(t *testing.T, what string, got []connector.Stored, want ...[]connector.Event) {
	t.Helper()
	var read, published [connector.ClassDeadLetter + 1][]connector.Event
	places := make(map[string]bool, len(got))
	for i, s := range got {
		if i > 0 && s.At.Before(got[i-1].At) {
			t.Errorf("%s: event %s of %v comes after one of %v, want the oldest first", what, s.ID, s.At, got[i-1].At)
		}
		if s.Place == "" || places[s.Place] {
			t.Errorf("%s: event %s: place is %q, want one of its own", what, s.ID, s.Place)
		}
		places[s.Place] = true
		read[s.Class] = append(read[s.Class], bare(s.Event))
	}
	for _, e := range slices.Concat(want...) {
		published[e.Class] = append(published[e.Class], bare(e))
	}
	for class := range read {
		if len(read[class]) != len(published[class]) {
			t.Errorf("%s: got %d events of class %v, want %d", what, len(read[class]), connector.Class(class), len(published[class]))
		} else if diff := cmp.Diff(read[class], published[class]); diff != "" {
			t.Errorf("%s: events of class %v (-got +want):\n%s", what, connector.Class(class), diff)
		}
	}
}

func testRead(t *testing.T, h Harness) {
	l := newLog(t, h)
	all := l.read(t, connector.Query{})
	wantEvents(t, "everything", all, l.messages, l.results, l.letters)

	classes := func(c ...connector.Class) connector.Query { return connector.Query{Classes: c} }
	wantEvents(t, "messages", l.read(t, classes(connector.ClassMessage)), l.messages)
	wantEvents(t, "results", l.read(t, classes(connector.ClassResult)), l.results)
	wantEvents(t, "dead letters", l.read(t, classes(connector.ClassDeadLetter)), l.letters)
	wantEvents(t, "results and dead letters", l.read(t, classes(connector.ClassResult, connector.ClassDeadLetter)), l.results, l.letters)

	high := highOnes(l.messages)
	wantEvents(t, "of high priority", l.read(t, connector.Query{Priority: "high"}), high, l.results, l.letters)
	wantEvents(t, "messages of high priority",
		l.read(t, connector.Query{Priority: "high", Classes: []connector.Class{connector.ClassMessage}}), high)
	if got := l.read(t, connector.Query{Priority: "shrill", Classes: []connector.Class{connector.ClassMessage}}); len(got) > 0 {
		t.Errorf("of a priority that does not exist: got %d events, want none", len(got))
	}
}

func highOnes(messages []connector.Event) []connector.Event {
	return slices.DeleteFunc(slices.Clone(messages), func(e connector.Event) bool { return e.Route[1] != "high" })
}

func testReadEmpty(t *testing.T, h Harness) {
	reader, ok := h.Sink.(connector.Reader)
	if !ok {
		t.Skip("declared by its type: this sink is not a Reader")
	}
	l := &log{Reader: reader, h: h}
	wantEvents(t, "an empty log", l.read(t, connector.Query{}))
	wantEvents(t, "the last of an empty log", l.read(t, connector.Query{Last: 5}))
	h.Foreign(t)
	wantEvents(t, "a log of others", l.read(t, connector.Query{}))
	wantEvents(t, "the last of a log of others", l.read(t, connector.Query{Last: 5}))
}

func testReadSince(t *testing.T, h Harness) {
	l := newLog(t, h)
	all := l.read(t, connector.Query{})
	from := all[len(all)/2].At
	var want []connector.Event
	for _, s := range all {
		if !s.At.Before(from) {
			want = append(want, s.Event)
		}
	}
	wantEvents(t, "since the middle", l.read(t, connector.Query{Since: from}), want)
	last := want[len(want)-3:]
	wantEvents(t, "the last 3 since the middle", l.read(t, connector.Query{Since: from, Last: 3}), last)
	wantEvents(t, "the last 5000 since the middle", l.read(t, connector.Query{Since: from, Last: 5000}), want)
	if got := l.read(t, connector.Query{Since: all[len(all)-1].At.Add(patience)}); len(got) > 0 {
		t.Errorf("since a time to come: got %d events, want none", len(got))
	}
}

func testReadLast(t *testing.T, h Harness) {
	l := newLog(t, h)
	all := l.read(t, connector.Query{})
	for _, n := range []int{1, 3, 500, len(all) - 1, len(all), len(all) + 1} {
		var want []connector.Event
		for _, s := range all[max(0, len(all)-n):] {
			want = append(want, s.Event)
		}
		wantEvents(t, fmt.Sprintf("the last %d", n), l.read(t, connector.Query{Last: n}), want)
	}
	messages := []connector.Class{connector.ClassMessage}
	high := highOnes(l.messages)
	wantEvents(t, "the last 100 messages", l.read(t, connector.Query{Classes: messages, Last: 100}), l.messages[len(l.messages)-100:])
	wantEvents(t, "the last 7 messages of high priority",
		l.read(t, connector.Query{Classes: messages, Priority: "high", Last: 7}), high[len(high)-7:])
	wantEvents(t, "the last result", l.read(t, connector.Query{Classes: []connector.Class{connector.ClassResult}, Last: 1}), l.results[1:])
}

func testReadStopped(t *testing.T, h Harness) {
	l := newLog(t, h)
	enough := errors.New("enough")
	for _, follow := range []bool{false, true} {
		n := 0
		err := l.Read(t.Context(), connector.Query{Follow: follow}, func(connector.Stored) error {
			if n++; n == 10 {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || n != 10 {
			t.Errorf("Read (follow %v) that is stopped at 10: got error %v after %d events, want the callback's error after 10", follow, err, n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := l.Read(ctx, connector.Query{}, func(connector.Stored) error {
		if n++; n == 10 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Read whose context ends: got error %v, want that it was canceled", err)
	}
}

// A follower is a Read that goes on.
type follower struct {
	cancel context.CancelFunc
	ended  chan error

	mu  sync.Mutex
	got []connector.Stored
}

func (l *log) follow(t *testing.T, q connector.Query) *follower {
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{cancel: cancel, ended: make(chan error, 1)}
	q.Follow = true
	go func() {
		f.ended <- l.Read(ctx, q, func(s connector.Stored) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.got = append(f.got, s)
			return nil
		})
	}()
	return f
}

// await waits until n events came.
func (f *follower) await(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		f.mu.Lock()
		got := len(f.got)
		f.mu.Unlock()
		switch {
		case got >= n:
			return
		case ctx.Err() != nil:
			t.Fatalf("%d events came, want %d", got, n)
		}
		pause(ctx)
	}
}

func (f *follower) stop(t *testing.T) []connector.Stored {
	t.Helper()
	f.cancel()
	if err := <-f.ended; err != nil {
		t.Errorf("Read that follows until its context ends: got %v, want no error", err)
	}
	return f.got
}

func testReadFollow(t *testing.T, h Harness) {
	l := newLog(t, h)
	all := l.follow(t, connector.Query{})
	recent := l.follow(t, connector.Query{Last: 2, Classes: []connector.Class{connector.ClassMessage}})
	all.await(t, len(l.messages)+len(l.results)+len(l.letters))
	recent.await(t, 2)
	want := l.messages[len(l.messages)-2:]
	for i := range 3 { // each follows on the one before
		more := Messages("a", 1001+5*i, 5)
		mustPublish(t, h.Sink, more)
		h.Foreign(t)
		want = append(want, more...)
		recent.await(t, len(want))
	}
	if h.Outage != nil {
		seen, more := Messages("a", 1501, 3), Messages("a", 2001, 40)
		mustPublish(t, h.Sink, seen) // the last before the outage, which is not to come again
		want = append(want, seen...)
		recent.await(t, len(want))
		h.Outage(t, func() {})
		persist(t, h.Sink, more)
		want = append(want, more...)
		recent.await(t, len(want))
	}
	all.await(t, len(l.messages)+len(l.results)+len(l.letters)+len(want)-2)
	wantEvents(t, "following from the start", all.stop(t), l.messages, want[2:], l.results, l.letters)
	wantEvents(t, "following from the last 2 messages", recent.stop(t), want)
}

// What is confirmed is told where it is, the same place that a reader names.
func testStored(t *testing.T, h Harness) {
	events := append(Messages("a", 1, 20), Result("a", 1), DeadLetter(Message("a", 21)))
	calls, places := make([]int, len(events)), make([]string, len(events))
	for i := range events {
		events[i].Stored = func(place string) { calls[i]++; places[i] = place }
	}
	mustPublish(t, h.Sink, events[:10])
	for i, n := range calls {
		if want := map[bool]int{true: 1}[i < 10]; n != want {
			t.Errorf("event %d of 10 published: its place was told %d times, want %d", i, n, want)
		}
	}
	first := slices.Clone(places)
	mustPublish(t, h.Sink, events)
	for i, n := range calls {
		if want := 1 + map[bool]int{true: 1}[i < 10]; n != want {
			t.Errorf("event %d, %d times published: its place was told %d times", i, want, n)
		}
		if i < 10 && places[i] != "" && places[i] != first[i] && !h.lacks(Deduplication) {
			t.Errorf("event %d: its place was %q, and %q when it was published again", i, first[i], places[i])
		}
	}
	reader, ok := h.Sink.(connector.Reader)
	if !ok {
		return
	}
	stored := make(map[string]string, len(events))
	for _, s := range (&log{Reader: reader, h: h}).read(t, connector.Query{}) {
		stored[s.Event.DedupKey()] = s.Place
	}
	for i, e := range events {
		if places[i] != "" && places[i] != stored[e.DedupKey()] {
			t.Errorf("event %d: its place was told as %q, and it is read at %q", i, places[i], stored[e.DedupKey()])
		}
	}
}

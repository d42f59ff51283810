package sinktest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/connector"
)

func testOrder(t *testing.T, h Harness) {
	events := Messages("a", 1, 40)
	mustPublish(t, h.Sink, events)
	h.wantLog(t, events)
}

func testLargeBatch(t *testing.T, h Harness) {
	events := Messages("a", 1, 2500)
	mustPublish(t, h.Sink, events)
	h.wantLog(t, events)
}

func testCalls(t *testing.T, h Harness) {
	var all []connector.Event
	for i := range 20 {
		batch := Messages("a", 1+10*i, i%4)
		mustPublish(t, h.Sink, batch)
		all = append(all, batch...)
	}
	result := []connector.Event{Result("a", 1), Result("a", 2)}
	mustPublish(t, h.Sink, result)
	if !h.lacks(Deduplication) { // results may have a log of their own
		mustPublish(t, h.Sink, result)
	}
	h.wantLog(t, append(all, result...))
}

func testEmpty(t *testing.T, h Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	mustPublish(t, h.Sink, nil)
	mustPublish(t, h.Sink, []connector.Event{})
	cancel()
	if n, err := h.Sink.Publish(ctx, nil); n != 0 || err != nil {
		t.Errorf("Publish of nothing: got %d, %v, want 0 and no error even without time", n, err)
	}
	h.wantLog(t, nil)
}

func testReader(t *testing.T, h Harness) {
	events := []connector.Event{Message("a", 9007199254740993), Message("dev ice", 9007199254740994)}
	mustPublish(t, h.Sink, events)
	log := h.ReadAll(t)
	if len(log) != len(events) {
		t.Fatalf("log holds %d events, want %d", len(log), len(events))
	}
	for i, e := range events {
		headers, body, err := e.Encode(h.Mode, h.Binding)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(log[i].Body), string(body)); diff != "" {
			t.Errorf("body of event %s (-got +want):\n%s", e.ID, diff)
		}
		if got, want := log[i].Key, h.WantKey(e); got != want {
			t.Errorf("key of event %s: got %q, want %q", e.ID, got, want)
		}
		if h.lacks(Headers) {
			if len(log[i].Headers) > 0 {
				t.Errorf("harness is declared to lack headers, and has %v", log[i].Headers)
			}
			continue
		}
		for _, got := range log[i].Headers { // a sign of binary mode, to readers
			if h.Mode == connector.ModeStructured && (strings.HasPrefix(got.Name, "ce-") || strings.HasPrefix(got.Name, "ce_")) {
				t.Errorf("event %s in structured mode has header %s", e.ID, got.Name)
			}
		}
		for _, want := range headers {
			if !slices.Contains(log[i].Headers, want) {
				t.Errorf("event %s has no header %v; got %v", e.ID, want, log[i].Headers)
			}
		}
	}
}

func testUnmodified(t *testing.T, h Harness) {
	events, want := Messages("a", 1, 5), Messages("a", 1, 5)
	mustPublish(t, h.Sink, events)
	if diff := cmp.Diff(events, want); diff != "" {
		t.Errorf("events after Publish (-got +want):\n%s", diff)
	}
}

func testRepeat(t *testing.T, h Harness) {
	events := Messages("a", 1, 30)
	mustPublish(t, h.Sink, events)
	mustPublish(t, h.Sink, events)
	mustPublish(t, h.Sink, events[29:])
	mustPublish(t, h.Sink, events[10:11])
	if h.lacks(Deduplication) {
		events = slices.Concat(events, events, events[29:], events[10:11])
	}
	h.wantLog(t, events)
}

func testOverlap(t *testing.T, h Harness) {
	events := Messages("a", 1, 50)
	mustPublish(t, h.Sink, events[:20])
	mustPublish(t, h.Sink, events[5:40])
	mustPublish(t, h.Sink, events)
	h.wantLog(t, events)
}

func testTwiceInBatch(t *testing.T, h Harness) {
	e := Messages("a", 1, 4)
	mustPublish(t, h.Sink, []connector.Event{e[0], e[0], e[1], e[0], e[2], e[1], e[2], e[3], e[3]})
	h.wantLog(t, e)
}

func testReopen(t *testing.T, h Harness) {
	events := Messages("a", 1, 60)
	mustPublish(t, h.Sink, events[:30])
	s := h.Reopen(t)
	mustPublish(t, s, events[:40])
	s = h.Reopen(t)
	mustPublish(t, s, events[20:])
	h.wantLog(t, events)
}

func testDeadLetter(t *testing.T, h Harness) {
	m := Messages("a", 1, 3)
	dead := DeadLetter(m[1])
	for range 2 {
		mustPublish(t, h.Sink, m[:1])
		mustPublish(t, h.Sink, []connector.Event{dead})
		mustPublish(t, h.Sink, m[2:])
	}
	h.wantLog(t, []connector.Event{m[0], dead, m[2]})
}

func testOversized(t *testing.T, h Harness) {
	for _, at := range []int{1, 7, 19} {
		events := Messages("a", 1+100*at, 20)
		before := len(h.ReadAll(t))
		events[at] = sized(events[at], h.MaxBytes)
		n, err := publish(t.Context(), t, h.Sink, events)
		if n != at || !errors.Is(err, connector.ErrRejected) {
			t.Fatalf("Publish with an oversized event at %d: got %d, %v, want %d and ErrRejected", at, n, err, at)
		}
		if got, want := len(h.ReadAll(t))-before, at; got != want {
			t.Fatalf("an oversized event at %d: %d of the batch are stored, want %d: none after it", at, got, want)
		}
		mustPublish(t, h.Sink, events[at+1:])
		if got, want := len(h.ReadAll(t))-before, len(events)-1; got != want {
			t.Fatalf("after going on behind it: %d of the batch are stored, want %d", got, want)
		}
	}
}

func testOversizedFirst(t *testing.T, h Harness) {
	events := Messages("a", 1, 3)
	events[0] = sized(events[0], h.MaxBytes)
	for range 2 {
		n, err := publish(t.Context(), t, h.Sink, events)
		if n != 0 || !errors.Is(err, connector.ErrRejected) {
			t.Fatalf("Publish with an oversized event first: got %d, %v, want 0 and ErrRejected", n, err)
		}
	}
	h.wantLog(t, nil)
}

func testInvalid(t *testing.T, h Harness) {
	events := Messages("a", 1, 3)
	events[1].Data = []byte(`{"half":`)
	n, err := publish(t.Context(), t, h.Sink, events)
	if n != 1 || !errors.Is(err, connector.ErrRejected) {
		t.Fatalf("Publish with data that is not JSON: got %d, %v, want 1 and ErrRejected", n, err)
	}
	h.wantLog(t, events[:1])
}

func testCancelled(t *testing.T, h Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n, err := publish(ctx, t, h.Sink, Messages("a", 1, 10))
	if n != 0 || !errors.Is(err, context.Canceled) {
		t.Fatalf("Publish with a cancelled context: got %d, %v, want 0 and context.Canceled", n, err)
	}
	if errors.Is(err, connector.ErrRejected) {
		t.Errorf("Publish with a cancelled context is called a rejection: %v", err)
	}
	h.wantLog(t, nil)
}

func testInterrupted(t *testing.T, h Harness) {
	events := Messages("a", 1, 1500)
	rest := events
	for limit := 100 * time.Microsecond; len(rest) > 0; limit = limit * 5 / 4 {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		n, err := publish(ctx, t, h.Sink, rest)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Publish within %v: %v, want context.DeadlineExceeded", limit, err)
		}
		rest = rest[n:]
		if limit > patience {
			t.Fatalf("Publish of %d events does not end within %v", len(rest), limit)
		}
	}
	h.wantLog(t, events)
}

func testOutage(t *testing.T, h Harness) {
	events := Messages("a", 1, 30)
	mustPublish(t, h.Sink, events[:10])
	h.Outage(t, func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n, err := publish(ctx, t, h.Sink, events[10:])
		if n != 0 || err == nil || errors.Is(err, connector.ErrRejected) || errors.Is(err, connector.ErrFenced) {
			t.Errorf("Publish during an outage: got %d, %v, want 0 and a plain error", n, err)
		}
	})
	persist(t, h.Sink, events[10:])
	h.wantLog(t, events)
}

func testOutageWithin(t *testing.T, h Harness) {
	events := Messages("a", 1, 3000)
	var publishing sync.WaitGroup
	begun := make(chan struct{})
	publishing.Go(func() {
		for i, rest := 0, events; len(rest) > 0; i++ {
			n := min(100, len(rest))
			persistQuietly(t, h.Sink, rest[:n])
			if rest = rest[n:]; i == 2 {
				close(begun)
			}
		}
	})
	<-begun
	for range 2 {
		h.Outage(t, func() {})
	}
	publishing.Wait()
	if !t.Failed() {
		h.wantLog(t, events)
	}
}

// persistQuietly is persist for a goroutine of its own.
func persistQuietly(t *testing.T, s connector.Sink, events []connector.Event) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for len(events) > 0 {
		n, err := s.Publish(ctx, events)
		if errors.Is(err, connector.ErrRejected) || ctx.Err() != nil {
			t.Errorf("Publish of %d events confirmed %d: %v", len(events), n, err)
			return
		}
		if events = events[n:]; len(events) > 0 {
			pause(ctx)
		}
	}
}

func testConcurrent(t *testing.T, h Harness) {
	const callers, size = 8, 25
	var starts [callers]string // of the batches
	var group sync.WaitGroup
	for c := range callers {
		first := Message("a", 1000*(c+1))
		starts[c] = first.Source + " " + first.ID
		group.Go(func() {
			n, err := h.Sink.Publish(t.Context(), Messages("a", 1000*(c+1), size))
			if n != size || err != nil {
				t.Errorf("Publish by caller %d: got %d, %v, want %d", c, n, err, size)
			}
		})
	}
	group.Wait()
	log := h.ReadAll(t)
	if len(log) != callers*size {
		t.Fatalf("log holds %d events, want %d", len(log), callers*size)
	}
	var got []string
	for _, s := range log {
		got = append(got, identity(t, s))
	}
	for i := 0; i < len(got); i += size {
		c := slices.IndexFunc(starts[:], func(s string) bool { return s == got[i] })
		if c < 0 {
			t.Fatalf("at %d of the log: got %s, want the start of a call's batch: the calls are mixed", i, got[i])
		}
		for j, e := range Messages("a", 1000*(c+1), size) {
			if got[i+j] != e.Source+" "+e.ID {
				t.Fatalf("at %d of the log: got %s, want %s: the calls are mixed", i+j, got[i+j], e.ID)
			}
		}
	}
}

func testTwins(t *testing.T, h Harness) {
	events := Messages("a", 1, 1500)
	twin := h.Twin(t)
	var group sync.WaitGroup
	for i, s := range []connector.Sink{h.Sink, twin} {
		group.Go(func() {
			for rest, k := events, 0; len(rest) > 0; k++ {
				// Batches of different sizes, so that they overlap in every way.
				n, err := s.Publish(t.Context(), rest[:min(len(rest), 1+(k*37+i*11)%173)])
				if errors.Is(err, connector.ErrFenced) {
					return // the other goes on alone
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					pause(t.Context())
				}
				rest = rest[n:]
				if t.Context().Err() != nil {
					return
				}
			}
		})
	}
	group.Wait()
	h.wantLog(t, events)
}

func testHolds(t *testing.T, h Harness) {
	v, ok := h.Sink.(connector.Verifier)
	if !ok {
		t.Skip("declared by its type: this sink is no Verifier")
	}
	holds := func(v connector.Verifier, events []connector.Event, want int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		got, err := v.Holds(ctx, events)
		if got != want || err != nil {
			t.Errorf("Holds of %d events: got %d, %v, want %d", len(events), got, err, want)
		}
	}
	events := Messages("a", 1, 400)
	holds(v, events, 0)
	mustPublish(t, h.Sink, events[:300])
	holds(v, nil, 0)
	holds(v, events[:300], 300)
	holds(v, events[299:300], 1)
	holds(v, events[:1], 1)
	holds(v, events, 300)
	holds(v, events[300:], 0)
	holds(v, Messages("b", 1, 3), 0)
	result, dead := Result("a", 7), DeadLetter(events[300])
	holds(v, []connector.Event{result}, 0)
	mustPublish(t, h.Sink, []connector.Event{result, dead, events[301]})
	holds(v, []connector.Event{result, dead, events[301]}, 3)
	holds(v, []connector.Event{dead, events[300]}, 1)
	if !h.lacks(Reopening) {
		holds(h.Reopen(t).(connector.Verifier), events[:300], 300)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Holds(ctx, events[:10]); err == nil {
		t.Error("Holds with a cancelled context: got no error")
	}
}

func testLost(t *testing.T, h Harness) {
	v, ok := h.Sink.(connector.Verifier)
	if !ok || h.Lose == nil {
		t.Skip("declared: this log loses nothing, or nobody could tell")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	holds := func(events []connector.Event, want int) {
		t.Helper()
		if got, err := v.Holds(ctx, events); got != want || err != nil {
			t.Errorf("Holds of %d events: got %d, %v, want %d", len(events), got, err, want)
		}
	}
	events := append(Messages("a", 1, 50), Result("a", 1), DeadLetter(Message("a", 51)))
	for range 2 {
		mustPublish(t, h.Sink, events)
		holds(events, len(events))
		h.Lose(t)
		holds(events[10:], 0) // and by that the sink learns of the loss
		holds(events[50:51], 0)
		holds(events[51:], 0)
	}
	mustPublish(t, h.Sink, events)
	holds(events, len(events))
	h.wantLog(t, events)
}

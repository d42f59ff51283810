// Package sinktest is the contract of [connector.Sink], [connector.Verifier] and
// [connector.Reader] as a test: each sentence of their comments is a case. A sink's own test calls
// [Run] with a [Harness] for its bus, once for each content mode.
package sinktest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/connector"
)

// A Harness is a sink on an empty log, and what a test may do to the bus. What a
// bus cannot do at all is declared in Lacks; every other function must be there.
type Harness struct {
	Sink connector.Sink

	// Mode and Binding are those the sink was opened with.
	Mode    connector.Mode
	Binding connector.Binding

	// ReadAll reads the whole log, oldest first, by other means than the sink's.
	ReadAll func(t *testing.T) []Stored

	// WantKey is what [Stored.Key] must be for an event.
	WantKey func(connector.Event) string

	// Reopen closes the sink and opens another on the same log, as a restart
	// would. Without it, declare [Reopening].
	Reopen func(t *testing.T) connector.Sink

	// Twin opens a further sink on the same log, beside the others. Without it,
	// declare [Twins].
	Twin func(t *testing.T) connector.Sink

	// Outage makes the bus unreachable, calls during, and makes it reachable
	// again. Without it, declare [Outages].
	Outage func(t *testing.T, during func())

	// Lose makes the log lose all it holds, behind the sink's back, as a power cut
	// may. It is nil where that cannot be brought about.
	Lose func(t *testing.T)

	// Foreign puts records on the log, where a reader of it meets them, that are
	// not events of a connector. A [connector.Reader] needs it.
	Foreign func(t *testing.T)

	// MaxBytes is a size of Data that the bus refuses. Without it, declare
	// [SizeLimit].
	MaxBytes int

	// Lacks are the capabilities that the bus does not have.
	Lacks []Capability
}

// Stored is an event as a reader of the log finds it.
type Stored struct {
	Headers []connector.Header // in any order, others than the event's allowed
	Body    []byte
	Key     string // what the bus orders or recognises it by
}

// A Capability is something that not every bus has.
type Capability string

// The capabilities a [Harness] may lack. Where a lack can be seen, the suite
// demands to see it: a sink that gains the capability has to drop the
// declaration.
const (
	Deduplication Capability = "deduplication" // a repeat adds nothing
	Reopening     Capability = "reopening"     // the log outlives the sink
	Twins         Capability = "twins"         // two sinks may write to one log
	Outages       Capability = "outages"       // the bus can be away
	SizeLimit     Capability = "size limit"    // the bus refuses large events
	Headers       Capability = "headers"       // an event has headers beside its body
)

func (h Harness) lacks(c Capability) bool { return slices.Contains(h.Lacks, c) }

// patience bounds what a test waits for the bus. It is a bound on a hang, not on
// the speed of a sink.
const patience = 3 * time.Minute

// Run tests the sink that open opens, each case on one of its own. open closes
// what it opens with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for _, c := range []struct {
		name  string
		needs []Capability
		test  func(*testing.T, Harness)
	}{
		{"appends events in the order given", nil, testOrder},
		{"a batch larger than any window is stored in order", nil, testLargeBatch},
		{"calls one after the other append", nil, testCalls},
		{"an empty batch is confirmed at once", nil, testEmpty},
		{"a reader sees the event as encoded", nil, testReader},
		{"events are not modified", nil, testUnmodified},
		{"the same event again adds nothing", nil, testRepeat},
		{"an overlapping batch adds only what is new", []Capability{Deduplication}, testOverlap},
		{"an event twice in a batch is stored once", []Capability{Deduplication}, testTwiceInBatch},
		{"the same event after reopening adds nothing", []Capability{Deduplication, Reopening}, testReopen},
		{"a dead letter is another event than its message", []Capability{Deduplication}, testDeadLetter},
		{"an oversized event is rejected and ends the batch", []Capability{SizeLimit}, testOversized},
		{"an oversized event at the start confirms nothing", []Capability{SizeLimit}, testOversizedFirst},
		{"an event that cannot be encoded is rejected", nil, testInvalid},
		{"a cancelled context confirms nothing more", nil, testCancelled},
		{"a batch interrupted again and again ends up exactly once", []Capability{Deduplication}, testInterrupted},
		{"an outage is a plain error", []Capability{Outages}, testOutage},
		{"a batch during which the bus goes and comes back ends up exactly once", []Capability{Outages, Deduplication}, testOutageWithin},
		{"concurrent calls are carried out one after the other", nil, testConcurrent},
		{"two sinks with the same events make no duplicate, gap or disorder", []Capability{Twins, Deduplication}, testTwins},
		{"holds exactly what the log holds", nil, testHolds},
		{"what the log has lost is stored again", nil, testLost},
		{"confirmed events are told their place", nil, testStored},
		{"a reader gets the events of the classes and the priority asked for", nil, testRead},
		{"a reader of a log without events gets none", nil, testReadEmpty},
		{"a reader gets what the bus took in since a time", nil, testReadSince},
		{"a reader gets the last events", nil, testReadLast},
		{"a reader is stopped by its callback and its context", nil, testReadStopped},
		{"a reader that follows gets each event once, through an outage too", nil, testReadFollow},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t)
			h.check(t)
			for _, need := range c.needs {
				if h.lacks(need) {
					t.Skipf("declared: this bus has no %s", need)
				}
			}
			c.test(t, h)
		})
	}
}

// check fails a harness that neither has nor lacks something.
func (h Harness) check(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		capability Capability
		has        bool
	}{
		{Reopening, h.Reopen != nil},
		{Twins, h.Twin != nil},
		{Outages, h.Outage != nil},
		{SizeLimit, h.MaxBytes > 0},
	} {
		if c.has == h.lacks(c.capability) {
			t.Fatalf("harness: has %s: %v, declared to lack it: %v", c.capability, c.has, h.lacks(c.capability))
		}
	}
	if h.Sink == nil || h.ReadAll == nil || h.WantKey == nil {
		t.Fatal("harness: Sink, ReadAll and WantKey are needed")
	}
	if _, ok := h.Sink.(connector.Reader); ok && h.Foreign == nil {
		t.Fatal("harness: a Reader needs Foreign")
	}
}

// publish calls Publish and checks what holds for every call.
func publish(ctx context.Context, t *testing.T, s connector.Sink, events []connector.Event) (int, error) {
	t.Helper()
	n, err := s.Publish(ctx, events)
	if n < 0 || n > len(events) {
		t.Fatalf("Publish of %d events confirmed %d", len(events), n)
	}
	if (n == len(events)) != (err == nil) {
		t.Fatalf("Publish of %d events confirmed %d with error %v; want all exactly when there is no error", len(events), n, err)
	}
	return n, err
}

func mustPublish(t *testing.T, s connector.Sink, events []connector.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if n, err := publish(ctx, t, s, events); err != nil {
		t.Fatalf("Publish of %d events confirmed %d: %v", len(events), n, err)
	}
}

// persist publishes as a connector does: again from the first unconfirmed event
// until all are confirmed.
func persist(t *testing.T, s connector.Sink, events []connector.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(events) > 0 {
		n, err := publish(ctx, t, s, events)
		if errors.Is(err, connector.ErrRejected) || ctx.Err() != nil {
			t.Fatalf("Publish of %d events confirmed %d: %v", len(events), n, err)
		}
		if events = events[n:]; len(events) > 0 {
			pause(ctx)
		}
	}
}

// pause is the pace of a test that tries again.
func pause(ctx context.Context) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
	}
}

// wantLog compares the identities in the log with those of the events.
func (h Harness) wantLog(t *testing.T, events []connector.Event) {
	t.Helper()
	var got, want []string
	for _, s := range h.ReadAll(t) {
		got = append(got, identity(t, s))
	}
	for _, e := range events {
		want = append(want, e.Source+" "+e.ID)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		if len(got) > 60 || len(want) > 60 {
			diff = firstDifference(got, want)
		}
		t.Fatalf("log holds %d events, want %d (-got +want):\n%s", len(got), len(want), diff)
	}
}

func firstDifference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			lo, hi := max(0, i-3), min(i+5, len(got), len(want))
			return "from " + strings.Join(got[lo:hi], ", ") + "\nwant " + strings.Join(want[lo:hi], ", ")
		}
	}
	return "one is the start of the other"
}

// identity is the source and id of a stored event, from its headers if they are
// there, else from its body.
func identity(t *testing.T, s Stored) string {
	t.Helper()
	var id, source string
	for _, h := range s.Headers {
		switch h.Name {
		case "ce-id", "ce_id":
			id = h.Value
		case "ce-source", "ce_source":
			source = h.Value
		}
	}
	if id == "" {
		var body struct{ ID, Source string }
		if err := json.Unmarshal(s.Body, &body); err != nil {
			t.Fatalf("stored event has no id in its headers, and its body is not an event: %v\n%s", err, s.Body)
		}
		id, source = body.ID, body.Source
	}
	return source + " " + id
}

package stdout_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
	"github.com/pushover-connector/pushover-connector/sinks/stdout"
)

func TestContract(t *testing.T) {
	sinktest.Run(t, func(*testing.T) sinktest.Harness {
		out := &lockedBuffer{}
		return sinktest.Harness{
			Sink:    stdout.New(out),
			Mode:    connector.ModeStructured,
			Binding: connector.Binding{ContentType: "Content-Type", StructuredType: "application/cloudevents+json"},
			ReadAll: func(t *testing.T) []sinktest.Stored { return lines(t, out.String()) },
			WantKey: func(connector.Event) string { return "" },
			Lacks: []sinktest.Capability{
				sinktest.Deduplication, sinktest.Reopening, sinktest.Twins, sinktest.Outages,
				sinktest.SizeLimit, sinktest.Headers,
			},
		}
	})
}

func TestTornLineIsCompletedBeforeAnythingElse(t *testing.T) {
	events := sinktest.Messages("a", 1, 5)
	full, err := json.Marshal(events[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{1, 10, len(full) - 1, len(full)} {
		// The second line is cut; the rest of it comes in two pieces.
		w := &faultyWriter{limits: []int{-1, cut, 0, 1, -1}}
		s := stdout.New(w)
		got := []int{}
		rest := events
		for range 6 {
			n, err := s.Publish(t.Context(), rest)
			got = append(got, n)
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
			if !errors.Is(err, syscall.EAGAIN) {
				t.Fatalf("cut at %d: got error %v, want EAGAIN", cut, err)
			}
		}
		if len(rest) > 0 {
			t.Fatalf("cut at %d: %d events are left after calls that confirmed %v", cut, len(rest), got)
		}
		if n := len(lines(t, w.String())); n != len(events) {
			t.Errorf("cut at %d: got %d lines, want %d:\n%s", cut, n, len(events), w.String())
		}
	}
}

func TestTornLineOfAnEventGivenUpIsStillCompleted(t *testing.T) {
	w := &faultyWriter{limits: []int{7}}
	s := stdout.New(w)
	if n, err := s.Publish(t.Context(), sinktest.Messages("a", 1, 1)); n != 0 || err == nil {
		t.Fatalf("Publish to a failing writer: got %d, %v, want 0 and an error", n, err)
	}
	if n, err := s.Publish(t.Context(), sinktest.Messages("a", 2, 1)); n != 1 || err != nil {
		t.Fatalf("Publish of another event: got %d, %v, want 1", n, err)
	}
	if n := len(lines(t, w.String())); n != 2 {
		t.Errorf("got %d lines, want 2:\n%s", n, w.String())
	}
}

func TestBrokenPipeConfirmsOnlyWholeLines(t *testing.T) {
	w := &faultyWriter{limits: []int{-1, -1, 5, 0, 0}, err: syscall.EPIPE}
	n, err := stdout.New(w).Publish(t.Context(), sinktest.Messages("a", 1, 5))
	if n != 2 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %d, %v, want 2 and EPIPE", n, err)
	}
}

func TestShortWriteWithoutErrorIsAnError(t *testing.T) {
	n, err := stdout.New(&faultyWriter{limits: []int{3}, silent: true}).Publish(t.Context(), sinktest.Messages("a", 1, 1))
	if n != 0 || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %d, %v, want 0 and io.ErrShortWrite", n, err)
	}
}

func TestDurabilityWarnsThatNothingIsKept(t *testing.T) {
	d, err := stdout.New(io.Discard).Durability(t.Context())
	if err != nil || d.Grade != connector.GradeNone || len(d.Warnings) == 0 || !strings.Contains(d.Warnings[0], "deleted from Pushover") {
		t.Errorf("got %+v, %v, want grade none and a warning", d, err)
	}
}

// lines splits complete lines, each an event.
func lines(t *testing.T, out string) []sinktest.Stored {
	t.Helper()
	if out == "" {
		return nil
	}
	if !strings.HasSuffix(out, "\n") {
		t.Fatalf("output ends within a line: %q", out)
	}
	var all []sinktest.Stored
	for _, l := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		if !json.Valid([]byte(l)) {
			t.Fatalf("line is not JSON: %q", l)
		}
		all = append(all, sinktest.Stored{Body: []byte(l)})
	}
	return all
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A faultyWriter takes at most limits[i] bytes at its i-th write and fails if
// that is less than all; -1 and writes after the last take everything.
type faultyWriter struct {
	lockedBuffer
	limits []int
	err    error // EAGAIN if nil
	silent bool  // fails without an error
	calls  int
}

func (w *faultyWriter) Write(p []byte) (int, error) {
	limit := -1
	if w.calls < len(w.limits) {
		limit = w.limits[w.calls]
	}
	w.calls++
	if limit < 0 || limit >= len(p) {
		return w.lockedBuffer.Write(p)
	}
	n, _ := w.lockedBuffer.Write(p[:limit])
	switch {
	case w.silent:
		return n, nil
	case w.err != nil:
		return n, w.err
	default:
		return n, syscall.EAGAIN
	}
}

// Package stdout prints events as lines of JSON, each a CloudEvent in
// structured mode. It is for trying the connector out and for pipes: it keeps
// nothing, so a message that was printed is gone from Pushover and in the hands
// of whoever reads the lines.
package stdout

import (
	"context"
	"fmt"
	"io"

	"github.com/pushover-connector/pushover-connector/connector"
)

// A Sink prints events to a writer. It is a [connector.Sink] with two limits:
// it recognises no repeats, and confirms what the writer took, which nobody may
// ever read.
type Sink struct {
	w    io.Writer
	turn chan struct{} // holds a token while a call is carried out

	// torn is the rest of a line of which the writer took only the start, and
	// tornKey is its event's. The line is completed before anything else.
	torn    []byte
	tornKey string
}

var _ connector.Sink = (*Sink)(nil)

// New returns a sink that prints to w, which nothing else may write to.
func New(w io.Writer) *Sink {
	return &Sink{w: w, turn: make(chan struct{}, 1)}
}

// Publish prints events, one line each, and confirms those whose line was
// written to the end. When the writer takes a part of a line and fails, the
// event is not confirmed; the next call completes the line, and does not print
// that event again if it comes first, so that no reader sees a broken line.
// Publish cannot interrupt a write that blocks: it notices the end of ctx
// between lines. An event that cannot be encoded is rejected.
func (s *Sink) Publish(ctx context.Context, events []connector.Event) (confirmed int, err error) {
	if len(events) == 0 {
		return 0, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return 0, fmt.Errorf("print event %s: %w", events[0].ID, ctx.Err())
	}
	for i, e := range events {
		if err := ctx.Err(); err != nil {
			return i, fmt.Errorf("print event %s: %w", e.ID, err)
		}
		if err := s.print(e); err != nil {
			return i, fmt.Errorf("print event %s: %w", e.ID, err)
		}
		if e.Stored != nil {
			e.Stored("")
		}
	}
	return len(events), nil
}

func (s *Sink) print(e connector.Event) error {
	if s.torn != nil {
		key := s.tornKey
		if err := s.write(s.torn, key); err != nil {
			return err
		}
		if key == e.DedupKey() {
			return nil
		}
	}
	line, err := e.MarshalJSON()
	if err != nil {
		return fmt.Errorf("%w: %w", connector.ErrRejected, err)
	}
	return s.write(append(line, '\n'), e.DedupKey())
}

// write writes a line, or the rest of one, and keeps what is left of it.
func (s *Sink) write(line []byte, key string) error {
	started := s.torn != nil
	n, err := s.w.Write(line)
	n = min(max(n, 0), len(line))
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	switch {
	case n == len(line):
		// All of it is out, whatever else went wrong with the writer.
		s.torn, s.tornKey = nil, ""
		return nil
	case n > 0 || started:
		s.torn, s.tornKey = append([]byte(nil), line[n:]...), key
	}
	return err
}

// Durability reports that nothing is kept.
func (s *Sink) Durability(context.Context) (connector.Durability, error) {
	return connector.Durability{
		Grade: connector.GradeNone,
		Facts: []string{"standard output"},
		Warnings: []string{
			"Events are only printed: messages are deleted from Pushover once they are, and a reader that fails has lost them. Set SINK=nats or SINK=kafka to keep them.",
		},
	}, nil
}

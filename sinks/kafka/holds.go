package kafka

import (
	"context"

	kafka "github.com/segmentio/kafka-go"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Holds implements [connector.Verifier]. It reads the records where they were
// written, or, where that is not known, searches the tail of the partition.
func (b *Bus) Holds(ctx context.Context, events []connector.Event) (int, error) {
	if len(events) == 0 {
		return 0, nil
	}
	leave, err := b.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	held, err := b.holds(ctx, events)
	return held, outcome(ctx, err)
}

func (b *Bus) holds(ctx context.Context, events []connector.Event) (int, error) {
	if err := b.settle(ctx); err != nil {
		return 0, err
	}
	// Where each partition's share of the events should be.
	type span struct{ from, to int64 }
	spans := map[*partitionState]*span{}
	for _, e := range events {
		p := b.partition(b.topicFor(e.Class), e.Key)
		if p.window == nil {
			if err := b.loadTail(ctx, p); err != nil {
				return 0, err
			}
		}
		held, err := b.held(ctx, p, e)
		if err != nil {
			return 0, err
		}
		if !held {
			break // nothing after it counts
		}
		at := p.window.offsets[keyOf(e.Source, e.ID)]
		s := spans[p]
		if s == nil {
			s = &span{from: at, to: at + 1}
			spans[p] = s
		}
		s.from, s.to = min(s.from, at), max(s.to, at+1)
	}

	type place struct {
		p   *partitionState
		key eventKey
	}
	present := map[place]bool{}
	for p, s := range spans {
		first, end, err := b.bounds(ctx, p.topic, p.index)
		if err != nil {
			return 0, err
		}
		if s.from < 0 { // the broker did not say where it put one
			s.from, s.to = p.window.from, end
		}
		err = b.scan(ctx, p.topic, p.index, max(first, s.from), min(end, s.to), func(r *kafka.Record) error {
			if f, ok := eventOf(r); ok {
				present[place{p, keyOf(f.source, f.id)}] = true
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	for i, e := range events {
		p := b.partition(b.topicFor(e.Class), e.Key)
		if !present[place{p, keyOf(e.Source, e.ID)}] {
			return i, nil
		}
	}
	return len(events), nil
}

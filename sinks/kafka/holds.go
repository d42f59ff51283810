package kafka

import (
	"context"

	kafka "github.com/segmentio/kafka-go"

	"github.com/pushover-connector/pushover-connector/connector"
)

// A place is an event in a partition.
type place struct {
	partitionKey
	event eventKey
}

func (pr *producer) placeOf(e connector.Event) place {
	return place{pr.partition(e).partitionKey, keyOf(e.Source, e.ID)}
}

func (pr *producer) holds(ctx context.Context, events []connector.Event) (int, error) {
	// Where each partition's share of the events should be.
	type span struct{ from, to int64 }
	spans := map[partitionKey]span{}
	present := map[place]bool{}
	for _, e := range events {
		p, err := pr.readyPartition(ctx, e)
		if err != nil {
			return 0, err
		}
		if err := pr.ensureWindow(ctx, p); err != nil {
			return 0, err
		}
		held, err := pr.held(ctx, p, e)
		if err != nil {
			return 0, err
		}
		if !held {
			break // nothing after it counts
		}
		at, _ := p.window.place(keyOf(e.Source, e.ID))
		s, ok := spans[p.partitionKey]
		if !ok {
			s = span{from: at, to: at + 1}
		}
		spans[p.partitionKey] = span{min(s.from, at), max(s.to, at+1)}
		present[pr.placeOf(e)] = false
	}

	for k, s := range spans {
		first, end, err := pr.bounds(ctx, k.topic, k.index)
		if err != nil {
			return 0, err
		}
		err = pr.scan(ctx, k.topic, k.index, max(first, s.from), min(end, s.to), kafka.ReadUncommitted, func(r *logRecord) error {
			if f, ok := eventOf(r); ok {
				found := place{k, keyOf(f.source, f.id)}
				if _, wanted := present[found]; wanted {
					present[found] = true
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	for i, e := range events {
		at := pr.placeOf(e)
		if here, expected := present[at]; !here {
			if expected {
				// The log has lost it, and who knows what else: what was known of
				// it must not make the next publish take it for stored.
				pr.partition(e).window = nil
			}
			return i, nil
		}
	}
	return len(events), nil
}

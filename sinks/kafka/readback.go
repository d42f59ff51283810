package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
)

const (
	// At start this many of our own events are read back, or as many as there
	// are in this many records.
	tailOwn  = 1000
	tailScan = 50_000

	// Reading further back, for an event that may be older than the window,
	// stops after so many records, whoever wrote them. The bound is on time at
	// the broker.
	deepScan = 5_000_000

	chunkFirst = 1000
	chunkMax   = 100_000

	fetchBytes = 1 << 20
	fetchWait  = time.Second
)

// found is one event of ours as it stands in the log.
type found struct {
	source, id string
	offset     int64
}

// bounds returns the offset of the first record of a partition and the one
// after the last that consumers may see.
func (b *Bus) bounds(ctx context.Context, name string, partition int) (first, end int64, err error) {
	if first, err = b.listOffset(ctx, name, partition, kafka.FirstOffset, kafka.ReadUncommitted); err != nil {
		return 0, 0, err
	}
	end, err = b.listOffset(ctx, name, partition, kafka.LastOffset, kafka.ReadUncommitted)
	return first, end, err
}

// listOffset returns the first offset, the one after the last, or that of the
// first record with a time in milliseconds or a later one, −1 if there is none.
// It asks directly, since kafka-go's ListOffsets turns every error into "unknown".
func (b *Bus) listOffset(ctx context.Context, name string, partition int, at int64, isolation kafka.IsolationLevel) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := b.wire.send(ctx, &listoffsets.Request{
		ReplicaID: -1, IsolationLevel: int8(isolation),
		Topics: []listoffsets.RequestTopic{{
			Topic: name,
			Partitions: []listoffsets.RequestPartition{{
				Partition: int32(partition), CurrentLeaderEpoch: -1, Timestamp: at,
			}},
		}},
	})
	if err != nil {
		err = b.wire.withLayoutCause(err, name, partition)
		b.wire.forget()
		return 0, b.explain(fmt.Errorf("list offsets of %s: %w", name, err), name)
	}
	res := m.(*listoffsets.Response)
	if len(res.Topics) == 0 || len(res.Topics[0].Partitions) == 0 {
		return 0, fmt.Errorf("list offsets of %s: empty answer", name)
	}
	p := res.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		b.wire.forget()
		return 0, b.explain(fmt.Errorf("list offsets of %s: %w", name, kafka.Error(p.ErrorCode)), name)
	}
	return p.Offset, nil
}

// ensureWindow reads back the tail of a partition that has no window.
func (b *Bus) ensureWindow(ctx context.Context, p *partitionState) error {
	if p.window != nil {
		return nil
	}
	if err := b.loadTail(ctx, p); err != nil {
		return fmt.Errorf("read back %s: %w", p.topic, err)
	}
	return nil
}

// loadTail makes the window of a partition from its tail.
func (b *Bus) loadTail(ctx context.Context, p *partitionState) error {
	first, end, err := b.bounds(ctx, p.topic, p.index)
	if err != nil {
		return err
	}
	w := newWindow(end, b.remember)
	if err := b.extend(ctx, p, w, first, tailScan, func() bool { return len(w.entries) >= tailOwn }); err != nil {
		return err
	}
	p.window = w
	return nil
}

// extendBack reads further back until the window covers the event with this id.
// What the window cannot hold besides its newer events becomes its page.
func (b *Bus) extendBack(ctx context.Context, p *partitionState, id string) error {
	first, _, err := b.bounds(ctx, p.topic, p.index)
	if err != nil {
		return err
	}
	w := p.window
	err = b.extend(ctx, p, w, first, deepScan, func() bool { return w.covers(id) || len(w.entries) >= w.limit })
	if err != nil || w.covers(id) {
		return err
	}
	pg := newPage(numericID(id), w.limit)
	from := w.from
	for from > first && !pg.passed && w.from-from < deepScan {
		start := max(first, from-chunkMax)
		own, err := b.ownEvents(ctx, p.topic, p.index, start, from)
		if err != nil {
			return err
		}
		pg.prepend(own)
		from = start
	}
	pg.bind()
	w.page = pg
	if from > first && !pg.passed && !b.warnedDepth {
		b.warnedDepth = true
		b.log.Warn("read-back limit reached, repeats of older events are not recognised",
			"topic", p.topic, "event_id", id, "records_read", w.from-from)
	}
	return nil
}

// extend reads chunks of growing size backwards from the start of the window,
// until enough says so, the log begins, or limit records were read.
func (b *Bus) extend(ctx context.Context, p *partitionState, w *window, first int64, limit int64, enough func() bool) error {
	size := int64(chunkFirst)
	for scanned := int64(0); w.from > first && scanned < limit && !enough(); size = min(4*size, chunkMax) {
		from := max(first, w.from-size)
		own, err := b.ownEvents(ctx, p.topic, p.index, from, w.from)
		if err != nil {
			return err
		}
		scanned += w.from - from
		w.prepend(own, from)
	}
	w.whole = w.from <= first
	return nil
}

// ownEvents lists the events of our source in part of a partition.
func (b *Bus) ownEvents(ctx context.Context, name string, partition int, from, to int64) ([]found, error) {
	var own []found
	err := b.scan(ctx, name, partition, from, to, kafka.ReadUncommitted, func(r *kafka.Record) error {
		if f, ok := eventOf(r); ok && f.source == b.opts.Source {
			own = append(own, f)
		}
		return nil
	})
	return own, err
}

// Headers of our own that say which event a record in structured mode holds, so
// that a log can be searched without decoding bodies. The headers of the
// CloudEvents binding, which earlier versions set as well, would be taken for a sign
// of binary mode.
const (
	headerSource = "event-source"
	headerID     = "event-id"
)

// eventOf reads an event's identity from a record's headers.
func eventOf(r *kafka.Record) (found, bool) {
	f := found{
		source: cmp.Or(headerOf(r, headerSource), headerOf(r, "ce_source")),
		id:     cmp.Or(headerOf(r, headerID), headerOf(r, "ce_id")), offset: r.Offset,
	}
	return f, f.id != "" && f.source != ""
}

// scan calls f for each record of [from, to) that is still there, in order.
func (b *Bus) scan(ctx context.Context, name string, partition int, from, to int64, isolation kafka.IsolationLevel, f func(*kafka.Record) error) error {
	for idle := 0; from < to; {
		next, err := b.fetch(ctx, name, partition, from, fetchWait, isolation, func(r *kafka.Record) error {
			if r.Offset >= to {
				return nil
			}
			return f(r)
		})
		switch {
		case errors.Is(err, kafka.OffsetOutOfRange):
			// Retention moved the start of the log under us.
			first, lerr := b.listOffset(ctx, name, partition, kafka.FirstOffset, kafka.ReadUncommitted)
			if lerr != nil {
				return lerr
			}
			if first <= from {
				return err
			}
			next = first
		case err != nil:
			return err
		case next == from:
			if idle++; idle > 5 {
				return fmt.Errorf("fetch %s/%d at offset %d: the broker returned no records although there are more", name, partition, from)
			}
		default:
			idle = 0
		}
		from = next
	}
	return nil
}

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
func (k *cluster) bounds(ctx context.Context, name string, partition int) (first, end int64, err error) {
	if first, err = k.listOffset(ctx, name, partition, kafka.FirstOffset, kafka.ReadUncommitted); err != nil {
		return 0, 0, err
	}
	end, err = k.listOffset(ctx, name, partition, kafka.LastOffset, kafka.ReadUncommitted)
	return first, end, err
}

// listOffset returns the first offset, the one after the last, or that of the
// first record with a time in milliseconds or a later one, −1 if there is none.
// It asks directly, since kafka-go's ListOffsets turns every error into "unknown". A
// topic that was created just now may have a leader that does not know it yet: it is
// asked again for a moment.
func (k *cluster) listOffset(ctx context.Context, name string, partition int, at int64, isolation kafka.IsolationLevel) (offset int64, err error) {
	for range 10 {
		offset, err = k.listOffsetOnce(ctx, name, partition, at, isolation)
		if codeOf(err) != kafka.NotLeaderForPartition || sleep(ctx, 50*time.Millisecond) != nil {
			break
		}
	}
	return offset, err
}

func (k *cluster) listOffsetOnce(ctx context.Context, name string, partition int, at int64, isolation kafka.IsolationLevel) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := k.wire.send(ctx, &listoffsets.Request{
		ReplicaID: -1, IsolationLevel: int8(isolation),
		Topics: []listoffsets.RequestTopic{{
			Topic: name,
			Partitions: []listoffsets.RequestPartition{{
				Partition: int32(partition), CurrentLeaderEpoch: -1, Timestamp: at,
			}},
		}},
	})
	if err != nil {
		err = k.wire.withLayoutCause(err, name, partition)
		k.wire.forget()
		return 0, k.explain(fmt.Errorf("list offsets of %s: %w", name, err), name)
	}
	res := m.(*listoffsets.Response)
	if len(res.Topics) == 0 || len(res.Topics[0].Partitions) == 0 {
		return 0, fmt.Errorf("list offsets of %s: empty answer", name)
	}
	p := res.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		k.wire.forget()
		return 0, k.explain(fmt.Errorf("list offsets of %s: %w", name, kafka.Error(p.ErrorCode)), name)
	}
	return p.Offset, nil
}

// ensureWindow reads back the tail of a partition that has no window.
func (pr *producer) ensureWindow(ctx context.Context, p *partitionState) error {
	if p.window != nil {
		return nil
	}
	if err := pr.loadTail(ctx, p); err != nil {
		return fmt.Errorf("read back %s: %w", p.topic, err)
	}
	return nil
}

// loadTail makes the window of a partition from its tail.
func (pr *producer) loadTail(ctx context.Context, p *partitionState) error {
	first, end, err := pr.bounds(ctx, p.topic, p.index)
	if err != nil {
		return err
	}
	w := newWindow(end, pr.remember)
	if err := pr.extend(ctx, p, w, first, tailScan, func() bool { return len(w.entries) >= tailOwn }); err != nil {
		return err
	}
	p.window = w
	return nil
}

// extendBack reads further back until the window covers the event with this id.
func (pr *producer) extendBack(ctx context.Context, p *partitionState, id string) error {
	first, _, err := pr.bounds(ctx, p.topic, p.index)
	if err != nil {
		return err
	}
	w, from := p.window, p.window.from
	err = pr.extend(ctx, p, w, first, deepScan, func() bool { return w.covers(id) || len(w.entries) >= w.limit })
	if err == nil && !w.covers(id) && !pr.warnedDepth {
		pr.warnedDepth = true
		pr.log.Warn("read-back limit reached, repeats of older events are not recognised",
			"topic", p.topic, "event_id", id, "records_read", from-w.from)
	}
	return err
}

// extend reads chunks of growing size backwards from the start of the window,
// until enough says so, the log begins, or limit records were read.
func (pr *producer) extend(ctx context.Context, p *partitionState, w *window, first int64, limit int64, enough func() bool) error {
	size := int64(chunkFirst)
	for scanned := int64(0); w.from > first && scanned < limit && !enough(); size = min(4*size, chunkMax) {
		from := max(first, w.from-size)
		own, err := pr.ownEvents(ctx, p.topic, p.index, from, w.from)
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
func (pr *producer) ownEvents(ctx context.Context, name string, partition int, from, to int64) ([]found, error) {
	var own []found
	err := pr.scan(ctx, name, partition, from, to, kafka.ReadUncommitted, func(r *logRecord) error {
		if f, ok := eventOf(r); ok && f.source == pr.source {
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
func eventOf(r *logRecord) (found, bool) {
	f := found{
		source: cmp.Or(r.header(headerSource), r.header("ce_source")),
		id:     cmp.Or(r.header(headerID), r.header("ce_id")), offset: r.offset,
	}
	return f, f.id != "" && f.source != ""
}

// scan calls f for each record of [from, to) that is still there, in order.
func (k *cluster) scan(ctx context.Context, name string, partition int, from, to int64, isolation kafka.IsolationLevel, f func(*logRecord) error) error {
	for idle := 0; from < to; {
		at, err := k.fetch(ctx, name, partition, from, fetchWait, isolation, func(r *logRecord) error {
			if r.offset >= to {
				return nil
			}
			return f(r)
		})
		next := at.next
		switch {
		case errors.Is(err, kafka.OffsetOutOfRange):
			// Retention moved the start of the log under us.
			first, lerr := k.listOffset(ctx, name, partition, kafka.FirstOffset, kafka.ReadUncommitted)
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

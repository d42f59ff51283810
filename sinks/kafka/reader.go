package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"github.com/pushover-connector/pushover-connector/connector"
)

// readStep is how many offsets of a partition are read at a time, and so how
// many of its events are in memory at most, besides those of [connector.Query].Last.
const readStep = 1000

// Read implements [connector.Reader]. It works on a bus that was opened for
// reading only. What the topics held at the start comes in the order of the
// records' times, as far as each partition keeps them; what follows comes as it
// arrives. While it follows, it waits for a cluster that cannot be reached.
// Partitions added meanwhile are not followed.
func (b *Bus) Read(ctx context.Context, q connector.Query, f func(connector.Stored) error) error {
	var stopped error
	r := &reading{cluster: b.cluster, query: q, handle: func(s connector.Stored) error {
		stopped = f(s)
		return stopped
	}}
	err := r.begin(ctx)
	if err == nil {
		err = r.past(ctx)
	}
	if err == nil && q.Follow {
		err = r.follow(ctx)
	}
	switch {
	case stopped != nil:
		return stopped
	case q.Follow && ctx.Err() != nil:
		return nil //nolint:nilerr // following ends only so
	default:
		return outcome(ctx, err)
	}
}

// A reading is one call of [Bus.Read].
type reading struct {
	*cluster
	query   connector.Query
	cursors []*cursor

	mu     sync.Mutex // for handle
	handle func(connector.Stored) error
}

// A cursor is how far a partition was read.
type cursor struct {
	partitionKey
	next, end int64              // the end is that of the start of reading
	ahead     []connector.Stored // read, and not handled yet
}

// begin finds the part of each partition that is to be read.
func (r *reading) begin(ctx context.Context) error {
	classes := r.query.Classes
	if len(classes) == 0 {
		classes = []connector.Class{connector.ClassMessage, connector.ClassResult, connector.ClassDeadLetter}
	}
	var names []string
	for _, class := range classes {
		names = append(names, r.topicFor(class))
	}
	topics, err := r.describe(ctx, names)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := topics[name].err; err != nil {
			return r.explain(err, name)
		}
		for i := range topics[name].partitions {
			c, err := r.open(ctx, partitionKey{name, i})
			if err != nil {
				return err
			}
			r.cursors = append(r.cursors, c)
		}
	}
	return nil
}

// open finds the part of one partition, and its newest events if no more are
// wanted. Its end is where the first transaction that is open begins.
func (r *reading) open(ctx context.Context, k partitionKey) (*cursor, error) {
	start := kafka.FirstOffset
	if !r.query.Since.IsZero() {
		start = r.query.Since.UnixMilli()
	}
	c := &cursor{partitionKey: k}
	var err error
	if c.end, err = r.listOffset(ctx, k.topic, k.index, kafka.LastOffset, kafka.ReadCommitted); err != nil {
		return nil, err
	}
	if c.next, err = r.listOffset(ctx, k.topic, k.index, start, kafka.ReadCommitted); err != nil {
		return nil, err
	}
	if c.next < 0 { // all records are older
		c.next = c.end
	}
	if r.query.Last > 0 {
		err = r.newest(ctx, c)
	}
	return c, err
}

// newest reads chunks of growing size backwards until there are enough events.
func (r *reading) newest(ctx context.Context, c *cursor) error {
	first := c.next
	size := int64(min(2*r.query.Last, chunkMax))
	for to := c.end; to > first && len(c.ahead) < r.query.Last; size = min(4*size, chunkMax) {
		from := max(first, to-size)
		var chunk []connector.Stored
		if err := r.scan(ctx, c.partitionKey, from, to, func(s connector.Stored) error {
			if chunk = append(chunk, s); len(chunk) > r.query.Last {
				chunk = chunk[1:]
			}
			return nil
		}); err != nil {
			return err
		}
		c.ahead = append(chunk, c.ahead...)
		to = from
	}
	c.next = c.end
	return nil
}

// past hands over what was there at the start, merged by time.
func (r *reading) past(ctx context.Context) error {
	surplus := 0
	if r.query.Last > 0 {
		surplus = -r.query.Last
		for _, c := range r.cursors {
			surplus += len(c.ahead)
		}
	}
	for {
		var oldest *cursor
		for _, c := range r.cursors {
			if err := r.fill(ctx, c); err != nil {
				return err
			}
			if len(c.ahead) > 0 && (oldest == nil || c.ahead[0].At.Before(oldest.ahead[0].At)) {
				oldest = c
			}
		}
		if oldest == nil {
			return nil
		}
		if surplus--; surplus < 0 {
			if err := r.handle(oldest.ahead[0]); err != nil {
				return err
			}
		}
		oldest.ahead = oldest.ahead[1:]
	}
}

// fill reads on until the next event of a partition is known, or its end reached.
func (r *reading) fill(ctx context.Context, c *cursor) error {
	for len(c.ahead) == 0 && c.next < c.end {
		to := min(c.next+readStep, c.end)
		if err := r.scan(ctx, c.partitionKey, c.next, to, func(s connector.Stored) error {
			c.ahead = append(c.ahead, s)
			return nil
		}); err != nil {
			return err
		}
		c.next = to
	}
	return ctx.Err()
}

// scan calls f for each selected event of [from, to).
func (r *reading) scan(ctx context.Context, k partitionKey, from, to int64, f func(connector.Stored) error) error {
	return r.cluster.scan(ctx, k.topic, k.index, from, to, kafka.ReadCommitted, func(rec *logRecord) error {
		if s, ok := r.decode(k, rec); ok {
			return f(s)
		}
		return nil
	})
}

// follow hands over what comes, until ctx ends or an error that lasts.
func (r *reading) follow(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range r.cursors {
		g.Go(func() error { return r.followPartition(ctx, c) })
	}
	return g.Wait()
}

func (r *reading) followPartition(ctx context.Context, c *cursor) error {
	for pause := newBackOff(backoffMin, backoffMax); ; {
		var failed error // of handle
		at, err := r.fetch(ctx, c.topic, c.index, c.next, controlWait, kafka.ReadCommitted, func(rec *logRecord) error {
			if s, ok := r.decode(c.partitionKey, rec); ok {
				failed = r.handleOne(ctx, s)
			}
			return failed
		})
		c.next = at.next
		if errors.Is(err, kafka.OffsetOutOfRange) { // retention deleted it, or the topic was recreated
			c.next, err = r.listOffset(ctx, c.topic, c.index, kafka.FirstOffset, kafka.ReadCommitted)
		}
		switch {
		case failed != nil:
			return failed
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && refusesUs(err):
			return err
		case err != nil:
			_ = sleep(ctx, pause.NextBackOff())
		default:
			pause.Reset()
		}
	}
}

// handleOne keeps partitions that are followed side by side from calling the
// caller's function at once, or again after its error.
func (r *reading) handleOne(ctx context.Context, s connector.Stored) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.handle(s)
}

// decode reads a record, and reports whether it is an event that the query
// selects.
func (r *reading) decode(k partitionKey, rec *logRecord) (connector.Stored, bool) {
	e, err := Binding.Decode(rec.header, rec.value)
	s := connector.Stored{Event: e, Place: placeName(k.topic, k.index, rec.offset), At: rec.time}
	return s, err == nil && r.selects(s)
}

func (r *reading) selects(s connector.Stored) bool {
	if len(r.query.Classes) > 0 && !slices.Contains(r.query.Classes, s.Class) {
		return false
	}
	if s.At.Before(r.query.Since.Truncate(time.Millisecond)) { // as precise as a record's time
		return false
	}
	if r.query.Priority == "" || s.Class != connector.ClassMessage {
		return true
	}
	var data struct {
		Priority string `json:"priority_name"`
	}
	return json.Unmarshal(s.Data, &data) == nil && data.Priority == r.query.Priority
}

// placeName names the place of a record, which no other ever has.
func placeName(topic string, partition int, offset int64) string {
	return fmt.Sprintf("%s/%d@%d", topic, partition, offset)
}

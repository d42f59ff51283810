package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/pushover-connector/pushover-connector/connector"
)

// producer is the state of the device's idempotent producer. Whoever holds the
// bus's turn owns it.
type producer struct {
	id            int64
	epoch         int16
	owned         bool // id and epoch are ours
	transactional bool // and belong to the transactional id
	ready         bool // the fence stands and the tail is known
	fenced        error
	parts         map[partitionKey]*partitionState
	warnedDepth   bool // that a repeat may go unnoticed
}

type partitionKey struct {
	topic string
	index int
}

// partitionState is the producer's view of one partition.
type partitionState struct {
	partitionKey
	sequence int32   // of the next record
	pending  *batch  // sent, outcome unknown
	window   *window // nil = not read back yet
}

func (b *Bus) partitionFor(e connector.Event) *partitionState {
	return b.partition(b.topicFor(e.Class), e.Key)
}

// partition returns the partition for a key of a topic.
func (b *Bus) partition(name, key string) *partitionState {
	k := partitionKey{name, partitionOf(key, b.topic(name).partitions)}
	p := b.parts[k]
	if p == nil {
		p = &partitionState{partitionKey: k}
		b.parts[k] = p
	}
	return p
}

// Publish implements [connector.Sink]. Each event goes to the partition its key
// maps to, in batches as large as the topic allows; a batch is appended as a
// whole or not at all.
//
// A repeat of an event is recognised as long as the topic's retention keeps the
// event, except where the topic holds some five million records after it, ours
// or foreign: so far back nothing is looked for, and the log says so once.
func (b *Bus) Publish(ctx context.Context, events []connector.Event) (int, error) {
	return b.inTurn(ctx, events, func() (int, error) {
		return b.publish(ctx, events)
	})
}

// invalidateOn makes the next use look at the topics again, if err says that one was
// deleted, or recreated with fewer partitions.
func (b *Bus) invalidateOn(err error) {
	if missingTopic(err) {
		b.ready = false
	}
}

// inTurn calls f, which uses the producer's state for some events, when nobody
// else does, and returns its error as [outcome].
func (b *Bus) inTurn(ctx context.Context, events []connector.Event, f func() (int, error)) (int, error) {
	if len(events) == 0 {
		return 0, nil
	}
	if b.opts.ReadOnly {
		return 0, errReadOnly
	}
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for another publish: %w", ctx.Err())
	}
	n, err := f()
	b.invalidateOn(err)
	switch {
	case err == nil:
		b.reaching.OK()
	case !errors.Is(ctx.Err(), context.Canceled): // which says nothing about the cluster
		b.suspect()
	}
	return n, outcome(ctx, err)
}

// outcome is what a method returns for err: classified, and wrapping ctx's error
// if that has ended, also where a connection's deadline went off a moment before
// it.
func outcome(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	cause := ctx.Err()
	if deadline, ok := ctx.Deadline(); ok && cause == nil && !time.Now().Before(deadline) {
		cause = context.DeadlineExceeded
	}
	err = failure(err)
	if cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", err, cause)
	}
	return err
}

func (b *Bus) publish(ctx context.Context, events []connector.Event) (confirmed int, err error) {
	for confirmed < len(events) {
		p, err := b.readyPartition(ctx, events[confirmed])
		if err != nil {
			return confirmed, err
		}
		n := confirmed + 1
		for n < len(events) && b.partitionFor(events[n]) == p {
			n++
		}
		m, err := b.publishRun(ctx, p, events[confirmed:n])
		reportPlaces(p, events[confirmed:confirmed+m])
		confirmed += m
		if err != nil {
			return confirmed, err
		}
	}
	return confirmed, nil
}

// reportPlaces calls Stored of confirmed events.
func reportPlaces(p *partitionState, confirmed []connector.Event) {
	for _, e := range confirmed {
		if e.Stored == nil {
			continue
		}
		name := ""
		if p.window != nil {
			if at, ok := p.window.place(keyOf(e.Source, e.ID)); ok {
				name = placeName(p.topic, p.index, at)
			}
		}
		e.Stored(name)
	}
}

// readyPartition returns the partition for an event, fit to be read and written: it
// takes the device over again if the producer is not ready, and resolves the
// partition's batch whose outcome is unknown. Other partitions' batches are left to those who
// want to write there, so that trouble with one topic stays with it.
func (b *Bus) readyPartition(ctx context.Context, e connector.Event) (*partitionState, error) {
	if b.fenced != nil {
		return nil, b.fenced
	}
	for range 2 {
		if !b.ready {
			if err := b.retake(ctx); err != nil {
				return nil, err
			}
		}
		p := b.partitionFor(e)
		if p.pending != nil {
			if err := b.send(ctx, p, p.pending); err != nil && b.ready {
				return nil, err
			}
		}
		if b.ready {
			return p, nil
		}
	}
	return nil, errors.New("could not determine the state of the partition")
}

func (b *Bus) retake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	err := b.prepareTopics(ctx)
	if err == nil {
		err = b.takeOver(ctx)
	}
	if errors.Is(err, connector.ErrFenced) {
		b.markFenced(err)
	}
	return err
}

// markFenced notes that another connector has taken the device over, for good.
func (b *Bus) markFenced(err error) {
	b.fenced = err
	b.lost.Store(true)
	b.claiming.Failed(failure(err), time.Time{})
}

// publishRun publishes events that share a partition.
func (b *Bus) publishRun(ctx context.Context, p *partitionState, events []connector.Event) (confirmed int, err error) {
	most := len(events)
	for confirmed < len(events) {
		if err := ctx.Err(); err != nil {
			return confirmed, err
		}
		if err := b.ensureWindow(ctx, p); err != nil {
			return confirmed, err
		}
		held, err := b.skipHeld(ctx, p, events[confirmed:])
		confirmed += held
		if err != nil || confirmed == len(events) {
			return confirmed, err
		}
		next, err := b.encode(p, events[confirmed:], most)
		if err != nil {
			return confirmed, err
		}
		n := len(next.ids)
		err = b.send(ctx, p, next)
		switch {
		case err == nil:
			confirmed += n
			most = min(2*most, len(events))
		case !b.ready:
			return confirmed, err
		case refusesRecord(err) && n > 1:
			most = n / 2 // to find the one record it is about
		case refusesRecord(err):
			return confirmed, fmt.Errorf("%w: event %s: %w", connector.ErrRejected, events[confirmed].ID, err)
		default:
			return confirmed, err
		}
	}
	return confirmed, nil
}

// skipHeld returns how many events at the front the log holds already.
func (b *Bus) skipHeld(ctx context.Context, p *partitionState, events []connector.Event) (n int, err error) {
	defer func() {
		if n > 0 && b.opts.OnDuplicate != nil {
			b.opts.OnDuplicate(n)
		}
	}()
	for ; n < len(events); n++ {
		held, err := b.held(ctx, p, events[n])
		if err != nil || !held {
			return n, err
		}
	}
	return n, nil
}

func (b *Bus) held(ctx context.Context, p *partitionState, e connector.Event) (bool, error) {
	key := keyOf(e.Source, e.ID)
	if !p.window.has(key) && !p.window.covers(e.ID) && e.Source == b.opts.Source {
		if err := b.extendBack(ctx, p, e.ID); err != nil {
			return false, err
		}
	}
	return p.window.has(key), nil
}

// encode makes one batch of the events at the front: at most count, no larger
// than the topic allows, up to the first that the log or the batch holds.
func (b *Bus) encode(p *partitionState, events []connector.Event, count int) (*batch, error) {
	limit := b.topic(p.topic).maxBytes()
	out := &batch{first: p.sequence}
	enc := newBatchEncoder(min(limit, 512*len(events)+1024))
	in := map[eventKey]bool{}
	for _, e := range events[:min(count, len(events))] {
		key := keyOf(e.Source, e.ID)
		if in[key] || p.window.has(key) {
			break
		}
		headers, value, err := e.Encode(b.opts.Mode, connector.BindingKafka)
		if err != nil {
			if enc.count > 0 {
				break // confirm what precedes it first
			}
			return nil, fmt.Errorf("%w: event %s: %w", connector.ErrRejected, e.ID, err)
		}
		if b.opts.Mode == connector.ModeStructured { // in binary mode the event's own headers say it
			headers = append(headers, connector.Header{Name: headerSource, Value: e.Source}, connector.Header{Name: headerID, Value: e.ID})
		}
		if !enc.add(record{key: e.Key, headers: headers, value: value}, limit) {
			break
		}
		in[key] = true
		out.keys, out.ids = append(out.keys, key), append(out.ids, e.ID)
	}
	out.raw = enc.finish(time.Now(), b.id, b.epoch, p.sequence)
	return out, nil
}

// send appends a batch and records the outcome. After an error that leaves the
// outcome open the batch is pending: it must be sent again, as it is, before
// anything else is.
func (b *Bus) send(ctx context.Context, p *partitionState, next *batch) error {
	again := p.pending != nil // so the log may hold it already
	offset, err := b.produce(ctx, p, next)
	if err != nil && codeOf(err) == 0 && reasonOf(err) != connector.ReasonTimeout && ctx.Err() == nil && !again {
		// Most likely the connection died while it was idle. The same bytes on a
		// new one do no harm.
		again = true
		offset, err = b.produce(ctx, p, next)
	}
	refused := refusesRecord(err) || refusesTime(err)
	switch {
	case err == nil:
		b.sent(p, next, offset)
		return nil
	case isFenced(err):
		b.markFenced(b.fencedError(err))
		return b.fenced
	case lostSequence(err), missingTopic(err), refused && again:
		// What the log holds can only be told by reading it.
		b.ready = false
		p.pending = nil
		return b.explain(err, p.topic)
	case refused:
		return b.explain(err, p.topic) // nothing was appended
	default:
		p.pending = next
		return b.explain(err, p.topic)
	}
}

// sent notes that the log holds a batch from offset on.
func (b *Bus) sent(p *partitionState, done *batch, offset int64) {
	p.sequence = nextSequence(done.first, len(done.ids))
	p.pending = nil
	if offset < 0 { // the broker does not say where
		p.window = nil
		return
	}
	for i, k := range done.keys {
		p.window.append(k, done.ids[i], offset+int64(i))
	}
}

// produce makes one request and returns the offset of the batch's first record,
// or -1 if the broker does not say.
func (b *Bus) produce(ctx context.Context, p *partitionState, next *batch) (int64, error) {
	// The raw record set begins with its length, as a request carries it.
	size := binary.BigEndian.AppendUint32(nil, uint32(len(next.raw)))
	res, err := b.client.RawProduce(ctx, &kafka.RawProduceRequest{
		Topic: p.topic, Partition: p.index, RequiredAcks: kafka.RequireAll,
		RawRecords: protocol.RawRecordSet{Reader: io.MultiReader(bytes.NewReader(size), bytes.NewReader(next.raw))},
	})
	switch {
	case err != nil:
		return -1, fmt.Errorf("produce to %s/%d: %w", p.topic, p.index, unwrapClient(err))
	case errors.Is(res.Error, kafka.DuplicateSequenceNumber):
		return -1, nil
	case res.Error != nil:
		b.wire.forget()
		return -1, fmt.Errorf("produce to %s/%d: %w", p.topic, p.index, res.Error)
	}
	return res.BaseOffset, nil
}

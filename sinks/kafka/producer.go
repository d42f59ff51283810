package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/pushover-connector/pushover-connector/connector"
)

// A producer writes the events of one source to one topic: the device's idempotent
// producer for it, and what the partitions are known to hold. Each topic has its
// own, so that trouble with one stays there.
type producer struct {
	*cluster
	to          string // topic
	source      string
	first       *producer // the one of the source's messages, if this is not it; see takeOver
	mode        connector.Mode
	onDuplicate func(int)           // may be nil
	claiming    *connector.Activity // the fence
	lost        *atomic.Bool        // another connector took over; all producers of a source share it

	renewAt time.Time // for the keeper

	turn chan struct{} // held by whoever uses what follows

	state         state
	fencedBy      error // if it is fenced
	id            int64
	epoch         int16
	owned         bool   // id and epoch are ours
	txnID         string // and belong to this transactional id; "" without a fence
	transactional bool   // the cluster has transactions
	parts         map[int]*partitionState
	most          int       // records per batch, after the brokers hung up on larger ones; 0 means no limit
	halved        time.Time // when that was
	remember      int       // events per window
	warnedDepth   bool      // that a repeat may go unnoticed
}

// A state says what a producer may do.
type state int

const (
	stale  state = iota // it must take the device over again, and look at the log, before it writes
	ready               // the fence stands and the tail is known
	fenced              // another connector took over, for good
)

type partitionKey struct {
	topic string
	index int
}

// partitionState is the producer's view of one partition.
type partitionState struct {
	partitionKey
	sequence int32   // of the next record
	pending  *batch  // sent, outcome unknown
	hangUps  int     // brokers hung up on it so often
	window   *window // nil = not read back yet
}

// partition returns the partition for an event.
func (pr *producer) partition(e connector.Event) *partitionState {
	i := partitionOf(e.Key, pr.topic(pr.to).partitions)
	p := pr.parts[i]
	if p == nil {
		p = &partitionState{partitionKey: partitionKey{pr.to, i}}
		pr.parts[i] = p
	}
	return p
}

// partitionOf is the partition, of n, to which the Java client's default partitioner
// sends a record with this key: other producers and consumers that think in keys
// find a device's events where they expect them.
func partitionOf(key string, n int) int {
	if n <= 1 {
		return 0
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return kafka.Murmur2Balancer{Consistent: true}.Balance(kafka.Message{Key: []byte(key)}, all...)
}

// invalidateOn makes the next use look at the topics again, if err says that one was
// deleted, or recreated with fewer partitions.
func (pr *producer) invalidateOn(err error) {
	if missingTopic(err) {
		pr.state = stale
	}
}

// inTurn calls f, which uses the producer's state, when nobody else does, and
// returns its error as [outcome].
func (pr *producer) inTurn(ctx context.Context, f func() (int, error)) (int, error) {
	select {
	case pr.turn <- struct{}{}:
		defer func() { <-pr.turn }()
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for another publish: %w", ctx.Err())
	}
	n, err := f()
	pr.invalidateOn(err)
	switch {
	case err == nil && pr.first != nil: // which says nothing about the messages' topic
	case err == nil:
		pr.reaching.OK()
	case !errors.Is(ctx.Err(), context.Canceled): // which says nothing about the cluster
		pr.suspect()
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

func (pr *producer) publish(ctx context.Context, events []connector.Event) (confirmed int, err error) {
	for confirmed < len(events) {
		p, err := pr.readyPartition(ctx, events[confirmed])
		if err != nil {
			return confirmed, err
		}
		n := confirmed + 1
		for n < len(events) && pr.partition(events[n]) == p {
			n++
		}
		m, err := pr.publishRun(ctx, p, events[confirmed:n])
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
func (pr *producer) readyPartition(ctx context.Context, e connector.Event) (*partitionState, error) {
	if pr.lost.Load() && pr.state != fenced { // as another of our producers has found
		pr.state, pr.fencedBy = fenced, fencedError(pr.source, connector.ErrFenced)
	}
	for range 2 {
		switch pr.state {
		case fenced:
			return nil, pr.fencedBy
		case stale:
			if err := pr.retake(ctx); err != nil {
				return nil, err
			}
		}
		p := pr.partition(e)
		if p.pending != nil {
			if err := pr.send(ctx, p, p.pending); err != nil && pr.state != stale {
				return nil, err
			}
		}
		if pr.state == ready {
			return p, nil
		}
	}
	return nil, errors.New("could not determine the state of the partition")
}

func (pr *producer) retake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := pr.prepareTopics(ctx, pr.to); err != nil {
		return err
	}
	return pr.takeOver(ctx)
}

// fencedOff notes it if err says that another connector took over, and returns what
// it means. Only the producer of messages is taken over for good. The topic of another
// may have been taken by an older connector that stood still in the middle of it,
// and that its own messages end: it is taken back.
func (pr *producer) fencedOff(err error) error {
	switch {
	case !isFenced(err):
		return err
	case pr.first != nil && !pr.lost.Load():
		pr.state, pr.owned = stale, false
		return &connector.Failure{
			Reason: connector.ReasonBusRefused, Err: err,
			Detail: "an older connector has written to topic " + pr.to + ", taking it back",
		}
	}
	pr.state, pr.fencedBy = fenced, fencedError(pr.source, err)
	pr.lost.Store(true)
	pr.claiming.Failed(pr.fencedBy, time.Time{})
	return pr.fencedBy
}

func fencedError(source string, cause error) error {
	return &connector.Failure{
		Reason: connector.ReasonFenced, Detail: "another connector took over for " + source,
		Remedy: "stop it, or this one; then restart the one that is to go on",
		Err:    fmt.Errorf("%w: %w", connector.ErrFenced, cause),
	}
}

// publishRun publishes events that share a partition.
func (pr *producer) publishRun(ctx context.Context, p *partitionState, events []connector.Event) (confirmed int, err error) {
	most := len(events)
	if time.Since(pr.halved) > sizeMemory { // it may have been an outage
		pr.most = 0
	}
	if pr.most > 0 {
		most = min(most, pr.most)
	}
	for confirmed < len(events) {
		if err := ctx.Err(); err != nil {
			return confirmed, err
		}
		if err := pr.ensureWindow(ctx, p); err != nil {
			return confirmed, err
		}
		held, err := pr.skipHeld(ctx, p, events[confirmed:])
		confirmed += held
		if err != nil || confirmed == len(events) {
			return confirmed, err
		}
		next, err := pr.encode(p, events[confirmed:], most)
		if err != nil {
			return confirmed, err
		}
		n := len(next.ids)
		err = pr.send(ctx, p, next)
		switch {
		case err == nil:
			confirmed += n
			if most = min(2*most, len(events)); pr.most > 0 {
				most = pr.most
			}
		case pr.state != ready:
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
func (pr *producer) skipHeld(ctx context.Context, p *partitionState, events []connector.Event) (n int, err error) {
	defer func() {
		if n > 0 && pr.onDuplicate != nil {
			pr.onDuplicate(n)
		}
	}()
	for ; n < len(events); n++ {
		held, err := pr.held(ctx, p, events[n])
		if err != nil || !held {
			return n, err
		}
	}
	return n, nil
}

func (pr *producer) held(ctx context.Context, p *partitionState, e connector.Event) (bool, error) {
	key := keyOf(e.Source, e.ID)
	if !p.window.has(key) && !p.window.covers(e.ID) {
		if err := pr.extendBack(ctx, p, e.ID); err != nil {
			return false, err
		}
	}
	return p.window.has(key), nil
}

// encode makes one batch of the events at the front: at most count, no larger
// than the topic allows, up to the first that the log or the batch holds.
func (pr *producer) encode(p *partitionState, events []connector.Event, count int) (*batch, error) {
	limit := pr.topic(p.topic).maxBytes()
	out := &batch{first: p.sequence}
	enc := newBatchEncoder(min(limit, 512*len(events)+1024))
	in := map[eventKey]bool{}
	for _, e := range events[:min(count, len(events))] {
		key := keyOf(e.Source, e.ID)
		if in[key] || p.window.has(key) {
			break
		}
		headers, value, err := e.Encode(pr.mode, Binding)
		if err != nil {
			if enc.count > 0 {
				break // confirm what precedes it first
			}
			return nil, fmt.Errorf("%w: event %s: %w", connector.ErrRejected, e.ID, err)
		}
		if pr.mode == connector.ModeStructured { // in binary mode the event's own headers say it
			headers = append(headers, connector.Header{Name: headerSource, Value: e.Source}, connector.Header{Name: headerID, Value: e.ID})
		}
		if !enc.add(record{key: e.Key, headers: headers, value: value}, limit) {
			break
		}
		in[key] = true
		out.keys, out.ids = append(out.keys, key), append(out.ids, e.ID)
	}
	out.raw = enc.finish(time.Now(), pr.id, pr.epoch, p.sequence)
	return out, nil
}

// send appends a batch and records the outcome. After an error that leaves the
// outcome open the batch is pending: it must be sent again, as it is, before
// anything else is.
func (pr *producer) send(ctx context.Context, p *partitionState, next *batch) error {
	again := p.pending != nil // so the log may hold it already
	offset, err := pr.produce(ctx, p, next)
	if err != nil && codeOf(err) == 0 && reasonOf(err) != connector.ReasonTimeout && ctx.Err() == nil && !again {
		// Most likely the connection died while it was idle. The same bytes on a
		// new one do no harm.
		again = true
		offset, err = pr.produce(ctx, p, next)
	}
	refused := refusesRecord(err) || refusesTime(err)
	switch {
	case err == nil:
		pr.sent(p, next, offset)
		return nil
	case isFenced(err):
		p.pending = nil // impossible under the new epoch
		return pr.fencedOff(err)
	case lostSequence(err), missingTopic(err), refused && again:
		// What the log holds can only be told by reading it.
		pr.state = stale
		p.pending = nil
		return pr.explain(err, p.topic)
	case refused:
		return pr.explain(err, p.topic) // nothing was appended
	case isClosed(err) && ctx.Err() == nil:
		if p.hangUps++; p.hangUps >= maxHangUps && len(next.ids) > 1 {
			// It may be too large for the broker, or for what lies before it. A new
			// epoch makes this batch impossible, and the log tells what became of it.
			pr.most, pr.halved = len(next.ids)/2, time.Now()
			pr.state = stale
			p.pending = nil
			return &connector.Failure{
				Reason: connector.ReasonBusUnreachable, Err: err,
				Detail: fmt.Sprintf("%v, at each of %d attempts with a batch of %d bytes; going on with half of it", err, p.hangUps, len(next.raw)),
			}
		}
		fallthrough
	default:
		p.pending = next
		return pr.explain(err, p.topic)
	}
}

const (
	// maxHangUps is how often a batch is sent as it is to brokers that close the
	// connection on it.
	maxHangUps = 3

	// sizeMemory is how long batches stay smaller then.
	sizeMemory = time.Hour
)

// sent notes that the log holds a batch from offset on.
func (pr *producer) sent(p *partitionState, done *batch, offset int64) {
	p.sequence = nextSequence(done.first, len(done.ids))
	p.pending, p.hangUps = nil, 0
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
func (k *cluster) produce(ctx context.Context, p *partitionState, next *batch) (int64, error) {
	// The raw record set begins with its length, as a request carries it.
	size := binary.BigEndian.AppendUint32(nil, uint32(len(next.raw)))
	res, err := k.client.RawProduce(ctx, &kafka.RawProduceRequest{
		Topic: p.topic, Partition: p.index, RequiredAcks: kafka.RequireAll,
		RawRecords: protocol.RawRecordSet{Reader: io.MultiReader(bytes.NewReader(size), bytes.NewReader(next.raw))},
	})
	switch {
	case err != nil:
		return -1, fmt.Errorf("produce to %s/%d: %w", p.topic, p.index, unwrapClient(err))
	case errors.Is(res.Error, kafka.DuplicateSequenceNumber):
		return -1, nil
	case res.Error != nil:
		k.wire.forget()
		return -1, fmt.Errorf("produce to %s/%d: %w", p.topic, p.index, res.Error)
	}
	return res.BaseOffset, nil
}

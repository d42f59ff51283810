package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	// maxInFlight bounds the messages that wait for their confirmation.
	maxInFlight = 256

	// minInFlight is how many there may be even when chains keep breaking: the
	// refusal of the next message is how the loss of one is noticed early.
	minInFlight = 8

	// ackTimeout is how long no confirmation may arrive while one is due. A
	// message can be lost without the connection being lost, between the server
	// we talk to and the one that keeps the stream.
	ackTimeout = 5 * time.Second

	// lossTimeout is how long a confirmation may be late once the server has
	// refused a later message of the chain: by then it should have been there.
	lossTimeout = 500 * time.Millisecond
)

// errRefusedChain says that the server refused a chained message, which may be
// accepted when sent alone.
var errRefusedChain = errors.New("predecessor is not the stream's last message")

// A chainLink is what a message is chained to. The zero link is that of one sent alone.
type chainLink struct {
	id       string // of its predecessor
	sequence uint64 // that the predecessor has, or 0
}

// onlyRepeats is a link that no message fits: only what the stream has is confirmed.
var onlyRepeats = chainLink{id: "none"}

// A publisher carries out Publish, one call after the other.
type publisher struct {
	bus    *Bus
	turn   chan struct{} // holds a token while a call is carried out
	prefix string        // of the subjects that confirmations come to
	round  atomic.Uint64 // numbers the runs: late confirmations are told by it
	acks   chan ack
	stream atomic.Pointer[streamInfo] // as it was when last looked at
	others strangers

	askTurn  sync.Mutex      // for what follows
	asked    <-chan struct{} // the connection on which the streams were asked for
	answered []string        // their names

	// What follows belongs to the holder of the turn.

	session  <-chan struct{}   // the connection on which the stream was looked at
	created  time.Time         // when the stream was that last belongs to
	last     uint64            // its highest sequence known
	repeated bool              // the latest confirmation was for a repeat
	newest   map[string]uint64 // the highest id that was confirmed, by source
	inFlight int               // messages to have on the way: fewer after a break
}

func newPublisher(b *Bus) (*publisher, error) {
	p := &publisher{
		bus:      b,
		turn:     make(chan struct{}, 1),
		prefix:   b.nc.NewInbox(),
		acks:     make(chan ack, 2*maxInFlight),
		others:   strangers{log: b.log},
		newest:   map[string]uint64{},
		inFlight: maxInFlight,
	}
	if _, err := b.nc.Subscribe(p.acksSubject(), p.receive); err != nil {
		return nil, fmt.Errorf("subscribe to confirmations: %w", err)
	}
	return p, nil
}

// acksSubject is what confirmations come to.
func (p *publisher) acksSubject() string { return p.prefix + ".*.*" }

// look asks for the stream, unless that was done on this connection.
func (p *publisher) look(ctx context.Context) error {
	session := p.bus.link.session()
	if p.session == session {
		return nil
	}
	// Of the control stream nothing is asked: messages go on without it.
	info, err := p.bus.ensureStream(ctx, p.bus.needs()[0])
	if err != nil {
		return cmp.Or(ended(ctx), err)
	}
	p.stream.Store(info)
	p.session = session
	p.created, p.last = info.Created, info.State.LastSeq // also lower ones, of a stream that was restored
	return nil
}

// chained reports whether the stream can be written to in chains: not if anybody
// could replicate it meanwhile.
func (p *publisher) chained() bool {
	return !p.stream.Load().clustered() && p.bus.nc.ConnectedClusterName() == ""
}

// repeats reports whether an event was confirmed before, or comes late.
func (p *publisher) repeats(e connector.Event) bool {
	id, err := strconv.ParseUint(e.ID, 10, 64)
	return e.Class == connector.ClassMessage && err == nil && id <= p.newest[e.Source]
}

// keeps reports whether a stream still has what was consumed.
func keeps(c jetstream.StreamConfig) bool { return c.Retention == jetstream.LimitsPolicy }

// Publish implements [connector.Sink]; see the package comment for how it keeps
// order. An event is rejected if it is larger than the server or the stream
// allows, or cannot be encoded or addressed.
func (b *Bus) Publish(ctx context.Context, events []connector.Event) (confirmed int, err error) {
	if len(events) == 0 {
		return 0, nil
	}
	p := b.pub
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return 0, fmt.Errorf("publish %s: %w", events[0].ID, ctx.Err())
	}
	confirmed, err = p.publish(ctx, events)
	if err == nil {
		return confirmed, nil
	}
	if !errors.Is(err, connector.ErrRejected) {
		p.session = nil // look at the stream again: it may be why
		if end := ctx.Err(); end != nil && !errors.Is(err, end) {
			err = fmt.Errorf("%w: %w", end, err)
		}
	}
	return confirmed, fmt.Errorf("publish %s: %w", events[confirmed].ID, b.classify(err))
}

func (p *publisher) publish(ctx context.Context, events []connector.Event) (confirmed int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if f := p.bus.server.trouble(); f != nil {
		return 0, f
	}
	if err := p.bus.Connected(); err != nil {
		return 0, err
	}
	asking, cancel := p.bus.link.while(ctx)
	defer cancel()
	if p.repeats(events[0]) {
		p.session = nil // the stream may have another window by now
	}
	if err := p.look(asking); err != nil {
		return 0, err
	}
	info := p.stream.Load()
	if !p.created.Equal(info.Created) {
		p.created, p.last = info.Created, info.State.LastSeq
	}
	window := info.Config.Duplicates
	duplicates := 0
	defer func() {
		if duplicates > 0 && p.bus.opts.OnDuplicate != nil {
			p.bus.opts.OnDuplicate(duplicates)
		}
	}()
	var stored map[string]uint64 // sequences of events that the stream's tail holds
	var until time.Time          // the window covers what happens until then
	for confirmed < len(events) {
		rest := events[confirmed:]
		// A lost event is not a repeat for the stream, which sees another id.
		doubt := window < Retention || slices.ContainsFunc(rest, func(e connector.Event) bool { return e.Lost })
		if doubt && keeps(info.Config) && !time.Now().Before(until) {
			until = time.Now().Add(window / 2)
			if stored, err = p.bus.find(asking, rest); err != nil {
				return confirmed, fmt.Errorf("read back the end of stream %s: %w; permit it, or give the stream a duplicate window of 21 days", p.bus.cfg.Stream, p.bus.classify(cmp.Or(ended(asking), err)))
			}
			// Looking may take longer than a very short window lasts.
			if least := time.Now().Add(window / 4); until.Before(least) {
				until = least
			}
		}
		if n := leading(rest, stored, true); n > 0 {
			for _, e := range rest[:n] {
				p.tell(e, stored[e.DedupKey()])
			}
			confirmed, duplicates = confirmed+n, duplicates+n
			continue
		}
		rest = rest[:leading(rest, stored, false)]
		r := run{p: p, events: rest, until: until}
		err := r.do(ctx)
		confirmed, duplicates = confirmed+r.first, duplicates+r.duplicates
		if errors.Is(err, errRefusedChain) && r.first > 0 {
			p.inFlight = min(p.inFlight, max(minInFlight, r.first))
			continue
		}
		if err != nil {
			return confirmed, err
		}
	}
	return confirmed, nil
}

// tell says where a confirmed event is.
func (p *publisher) tell(e connector.Event, sequence uint64) {
	if id, err := strconv.ParseUint(e.ID, 10, 64); err == nil && e.Class == connector.ClassMessage {
		p.newest[e.Source] = max(p.newest[e.Source], id)
	}
	if e.Stored != nil {
		e.Stored(placeOf(p.bus.cfg.Stream, sequence))
	}
}

// leading counts the events at the start that have a sequence, or that have none.
func leading(events []connector.Event, sequences map[string]uint64, have bool) int {
	if len(sequences) == 0 { // the usual case, without a key for each event
		if have {
			return 0
		}
		return len(events)
	}
	for i, e := range events {
		if (sequences[e.DedupKey()] != 0) != have {
			return i
		}
	}
	return len(events)
}

// send puts an event on the wire.
func (p *publisher) send(e connector.Event, after chainLink, round uint64, index int) error {
	msg, err := p.bus.encode(e)
	if err != nil {
		return err
	}
	if after.id != "" {
		msg.Header[jetstream.ExpectedLastMsgIDHeader] = []string{after.id}
	}
	if after.sequence != 0 {
		msg.Header[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(after.sequence, 10)}
	}
	msg.Reply = p.reply(round, index)
	err = p.bus.nc.PublishMsg(msg)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %d bytes and headers, server allows %d in all: %w",
			connector.ErrRejected, len(msg.Data), p.bus.nc.MaxPayload(), err)
	case errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrBadHeaderMsg):
		return fmt.Errorf("%w: subject %q: %w", connector.ErrRejected, msg.Subject, err)
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return p.bus.lost()
	}
	return err
}

// lost says why there is no connection, or that it has only just been lost.
func (b *Bus) lost() error { return cmp.Or(b.Connected(), errNotConnected) }

// probe reconnects if the server does not answer a ping any more either.
func (b *Bus) probe(why *connector.Failure) {
	if b.nc.FlushTimeout(2*time.Second) != nil {
		b.reconnect(why)
	}
}

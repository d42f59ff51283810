package nats

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

// place tells a command from all others, also from one that has its sequence in
// a recreated stream.
type place struct {
	seq  uint64
	time int64
}

// held is a command that was delivered and is not settled.
type held struct {
	msg jetstream.Msg
	place
	key string
	cmd connector.Command
}

// deferral says that a command was given back, and that later ones with its key
// have to wait for it.
type deferral struct {
	seq   uint64
	until time.Time
}

// A dispatcher spreads commands over the workers by their key.
type dispatcher struct {
	bus     *Bus
	handler connector.CommandHandler
	queues  [workers]chan held
	drained sync.WaitGroup // of commands held

	mu      sync.Mutex
	held    map[place]jetstream.Msg
	waiting map[string]deferral // by key
	settled map[place]bool
	order   []place // of settled, oldest first
}

// take puts a delivered command in its worker's queue. There are never more in
// hand than the consumer has pending, so a queue always has room.
func (d *dispatcher) take(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		d.bus.log.Warn("message ignored, it is not a JetStream delivery", "error", err)
		return
	}
	at := place{meta.Sequence.Stream, meta.Timestamp.UnixNano()}
	d.mu.Lock()
	_, again := d.held[at]
	done := d.settled[at]
	if !again && !done {
		d.held[at] = m
		d.drained.Add(1)
	}
	d.mu.Unlock()
	switch {
	case again:
		return // delivered twice, settled once
	case done:
		d.warn("settle", m.Ack())
		return
	}
	c := held{
		msg: m, place: at, key: connector.CommandKey(m.Data()),
		cmd: connector.Command{
			ID:       placeOf(meta.Stream, at.seq),
			Body:     m.Data(),
			Time:     meta.Timestamp,
			Progress: func() { d.warn("keep", m.InProgress()) },
		},
	}
	lane := fnv.New32a()
	_, _ = lane.Write([]byte(c.key))
	d.queues[lane.Sum32()%workers] <- c
}

func (d *dispatcher) work(ctx, handling context.Context, queue <-chan held) {
	for c := range queue {
		d.carryOut(ctx, handling, c)
		d.mu.Lock()
		delete(d.held, c.place)
		d.mu.Unlock()
		d.drained.Done()
	}
}

func (d *dispatcher) carryOut(ctx, handling context.Context, c held) {
	if ctx.Err() != nil { // not begun: another connector may have it at once
		d.warn("give back", c.msg.Nak())
		return
	}
	if wait, ok := d.mustWait(c); ok {
		d.warn("give back", c.msg.NakWithDelay(wait))
		return
	}
	result, err := d.handler(handling, c.cmd)
	var retry *connector.RetryError
	switch {
	case err != nil && ctx.Err() != nil:
		d.warn("give back", c.msg.Nak())
	case errors.As(err, &retry):
		d.giveBack(c, retry.After)
	case err != nil:
		d.giveBack(c, nakDelay)
	case result.Malformed:
		d.done(c)
		d.warn("settle", c.msg.TermWithReason(result.Reason))
	default:
		d.done(c)
		d.confirm(handling, c)
	}
}

// mustWait reports whether an earlier command with the same key has been given
// back and is still to come.
func (d *dispatcher) mustWait(c held) (time.Duration, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, ok := d.waiting[c.key]
	if !ok || c.key == "" || c.seq <= w.seq {
		return 0, false
	}
	if time.Since(w.until) > ackWait { // it went to another connector
		delete(d.waiting, c.key)
		return 0, false
	}
	return max(time.Until(w.until), 0) + 100*time.Millisecond, true
}

func (d *dispatcher) giveBack(c held, after time.Duration) {
	after = max(after, 0)
	if c.key != "" {
		d.mu.Lock()
		d.waiting[c.key] = deferral{seq: c.seq, until: time.Now().Add(after)}
		d.mu.Unlock()
	}
	d.warn("give back", c.msg.NakWithDelay(after))
}

// done remembers that a command has ended, whatever becomes of its settlement.
func (d *dispatcher) done(c held) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting[c.key].seq == c.seq {
		delete(d.waiting, c.key)
	}
	d.settled[c.place] = true
	d.order = append(d.order, c.place)
	if len(d.order) > maxSettled {
		delete(d.settled, d.order[0])
		d.order = d.order[1:]
	}
}

// confirm settles a command and waits until the server has confirmed it. If it
// cannot be had, the command is delivered again and settled then.
func (d *dispatcher) confirm(ctx context.Context, c held) {
	var err error
	for range 3 {
		try, cancel := context.WithTimeout(ctx, apiTimeout)
		err = c.msg.DoubleAck(try)
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	d.warn("settle", err)
}

// heartbeat keeps the server from delivering again what is held.
func (d *dispatcher) heartbeat(ctx context.Context) {
	tick := time.NewTicker(ackWait / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		d.mu.Lock()
		inHand := make([]jetstream.Msg, 0, len(d.held))
		for _, m := range d.held {
			inHand = append(inHand, m)
		}
		d.mu.Unlock()
		for _, m := range inHand {
			d.warn("keep", m.InProgress())
		}
	}
}

// warn logs that a command could not be settled, given back or kept: it will be
// delivered again. [jetstream.ErrMsgAlreadyAckd] does not mean that.
func (d *dispatcher) warn(action string, err error) {
	if err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		d.bus.log.Warn("command not settled, it will be redelivered", "action", action, "error", err)
	}
}

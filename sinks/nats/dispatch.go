package nats

import (
	"context"
	"errors"
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
	cmd connector.Command
}

// A dispatcher hands commands to the workers.
type dispatcher struct {
	bus     *Bus
	handler connector.CommandHandler
	queue   chan held
	drained sync.WaitGroup // of commands held

	mu      sync.Mutex
	held    map[place]jetstream.Msg
	settled map[place]bool
	order   []place // of settled, oldest first
}

// take puts a delivered command in the queue.
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
	d.queue <- held{
		msg: m, place: at,
		cmd: connector.Command{
			ID:       placeOf(meta.Stream, at.seq),
			Body:     m.Data(),
			Time:     meta.Timestamp,
			Progress: func() { d.warn("keep", m.InProgress()) },
		},
	}
}

func (d *dispatcher) work(ctx, handling context.Context) {
	for c := range d.queue {
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
	result, err := d.handler(handling, c.cmd)
	var retry *connector.RetryError
	switch {
	case err != nil && ctx.Err() != nil:
		d.warn("give back", c.msg.Nak())
	case errors.As(err, &retry):
		d.warn("give back", c.msg.NakWithDelay(max(retry.After, 0)))
	case err != nil:
		d.warn("give back", c.msg.NakWithDelay(nakDelay))
	case result.Malformed:
		d.done(c)
		d.warn("settle", c.msg.TermWithReason(result.Reason))
	default:
		d.done(c)
		d.confirm(handling, c)
	}
}

// done remembers that a command has ended, whatever becomes of its settlement.
func (d *dispatcher) done(c held) {
	d.mu.Lock()
	defer d.mu.Unlock()
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

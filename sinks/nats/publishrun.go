package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

// A run publishes events without a break: those whose predecessor is confirmed
// alone, the others chained to it. It ends at the first that fails.
type run struct {
	p      *publisher
	events []connector.Event
	until  time.Time // nothing is sent later than that; zero means no limit

	number     uint64
	base       uint64   // the stream's highest sequence known at the start
	first      int      // all before it are confirmed
	sent       int      // all before it are sent
	acked      []uint64 // sequence by index, 0 while not confirmed
	linked     []bool   // by index: sent chained
	duplicates int

	end       int // the run ends when all before it are confirmed
	cause     error
	refused   bool // the chain is known to be broken
	forbidden bool // some subject was denied during the run
}

// do returns nil if it ended at the end of events, or at until.
func (r *run) do(ctx context.Context) error {
	p := r.p
	r.number, r.base = p.round.Add(1), p.last
	r.acked = make([]uint64, len(r.events))
	r.linked = make([]bool, len(r.events))
	r.end = len(r.events)
	select {
	case <-p.bus.link.forbid: // of an earlier run
	default:
	}
	session := p.bus.link.session()
	patience := ackTimeout
	heard := time.Now()
	stalled := time.NewTimer(patience)
	defer stalled.Stop()
	for {
		r.fill()
		if r.first == r.end {
			return r.cause
		}
		if err := r.denial(); err != nil {
			return err
		}
		select {
		case a := <-p.acks:
			switch {
			case !r.take(a):
			case r.refused:
				patience = lossTimeout
				fallthrough
			default:
				heard = time.Now()
				stalled.Reset(patience)
			}
		case <-p.bus.link.forbid:
			r.forbidden = true
		case <-session:
			return p.bus.lost()
		case <-stalled.C:
			if r.refused && r.first > 0 {
				return errRefusedChain // one was lost: it is sent again, alone
			}
			why := p.bus.unconfirmed(patience, nil)
			p.bus.probe(why)
			return why
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return p.bus.unconfirmed(time.Since(heard), ctx.Err())
			}
			return ctx.Err()
		}
	}
}

// unconfirmed says that no confirmation has come for a time, and why, if that is
// known.
func (b *Bus) unconfirmed(after time.Duration, err error) *connector.Failure {
	f := &connector.Failure{
		Reason: connector.ReasonTimeout, Err: err,
		Detail: fmt.Sprintf("no confirmation from stream %s for %v", b.cfg.Stream, after.Round(time.Millisecond)),
	}
	var known *connector.Failure
	switch {
	case b.server.trouble() != nil:
		known = b.server.trouble()
	case errors.As(b.link.denial(b.pub.acksSubject()), &known):
	case len(b.pub.others.list()) > 0:
		known = &connector.Failure{
			Reason: connector.ReasonBusMisconfigured, Remedy: "set NATS_SUBJECT_PREFIX, so that no other stream takes our subjects",
			Detail: strings.Join(b.pub.others.list(), ", ") + " confirmed instead",
		}
	default:
		return f
	}
	f.Reason, f.Remedy = known.Reason, known.Remedy
	f.Detail += ": " + known.Detail
	return f
}

// denial returns why the server lets no answer come for the first event.
func (r *run) denial() error {
	if !r.forbidden {
		return nil
	}
	subject := r.p.bus.subject(r.events[r.first])
	return r.p.bus.link.denial(subject)
}

// fill sends what may be on the way.
func (r *run) fill() {
	p := r.p
	width := 1
	if p.chained() {
		width = p.inFlight
	}
	for r.sent < r.end && r.sent-r.first < width {
		if !r.until.IsZero() && time.Now().After(r.until) {
			r.stop(r.sent, nil)
			return
		}
		var after chainLink
		switch {
		case r.sent == r.first: // alone
		case p.repeated:
			after = onlyRepeats
		default:
			after = chainLink{messageID(r.events[r.sent-1]), r.base + uint64(r.sent)}
		}
		err := p.send(r.events[r.sent], after, r.number, r.sent)
		if errors.Is(err, connector.ErrRejected) && after != (chainLink{}) {
			return // perhaps too large only with its chain header: it is sent alone in the end
		}
		if err != nil {
			r.stop(r.sent, err)
			return
		}
		r.linked[r.sent] = after != (chainLink{})
		r.sent++
	}
}

// stop lets the run end at index, for cause, unless it ends before.
func (r *run) stop(index int, cause error) {
	if index < r.end {
		r.end, r.cause = index, cause
	}
}

// take notes an answer and reports whether it tells something new of what the
// run waits for.
func (r *run) take(a ack) bool {
	if a.round != r.number || a.index >= r.sent || r.acked[a.index] != 0 {
		return false
	}
	if a.err != nil {
		cause := a.cause(r.linked[a.index])
		first := errors.Is(cause, errRefusedChain) && !r.refused
		r.refused = r.refused || first
		r.stop(a.index, cause)
		return first
	}
	r.p.repeated = a.duplicate
	switch {
	case a.duplicate:
		r.duplicates++
	case a.sequence <= r.p.last:
		r.stop(a.index, fmt.Errorf("stream %s confirmed sequence %d but was already at %d: it was recreated, or another stream answered", r.p.bus.cfg.Stream, a.sequence, r.p.last))
		return false
	default:
		r.p.last = a.sequence
	}
	r.acked[a.index] = a.sequence
	before := r.first
	for r.first < r.end && r.acked[r.first] != 0 {
		r.p.tell(r.events[r.first], r.acked[r.first])
		r.first++
	}
	r.p.inFlight = min(maxInFlight, r.p.inFlight+r.first-before)
	return r.first > before
}

package pushover

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// A verdict is what a finished request says about the service.
type verdict int

const (
	verdictNone     verdict = iota // the caller gave up: nothing is known
	verdictLate                    // no reply before the caller's own deadline
	verdictAnswered                // success
	verdictMissing                 // the service is well and has no such file
	verdictRejected                // the service is well and did not like the request
	verdictTrouble                 // it is not well
	verdictLimited                 // it wants to be left alone
)

type outcome struct {
	verdict    verdict
	retryAfter time.Duration
}

// maxRejections in a row close the gate as trouble does: the service blocks an
// address that sends many bad requests within minutes
// (https://pushover.net/api#friendly).
const maxRejections = 10

// A gate holds requests back while the service is in trouble. Closed, it lets
// one request through when the wait is over; if that succeeds it opens, else
// it stays closed for longer.
type gate struct {
	mu       sync.Mutex
	closed   bool
	probing  bool
	until    time.Time     // when closed, the earliest time for a probe
	changed  chan struct{} // closed and replaced at every change
	rejected int           // rejections in a row
	ladder   *backoff.ExponentialBackOff
}

func newGate() *gate {
	return &gate{changed: make(chan struct{}), ladder: newLadder()}
}

// newLadder gives 5 to 10 s, then about twice as much each time up to 5 minutes.
func newLadder() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     minRetry * 3 / 2,
		RandomizationFactor: 1. / 3,
		Multiplier:          2,
		MaxInterval:         maxRetry * 3 / 4,
	}
}

// enter waits until a request may be sent. probe must be handed to leave.
func (g *gate) enter(ctx context.Context) (probe bool, err error) {
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	for {
		g.mu.Lock()
		wait := time.Until(g.until)
		if !g.closed || wait <= 0 && !g.probing {
			g.probing = g.closed
			probe = g.closed
			g.mu.Unlock()
			return probe, nil
		}
		changed, probing := g.changed, g.probing
		g.mu.Unlock()
		if err := waitForGate(ctx, changed, probing, wait); err != nil {
			return false, err
		}
	}
}

// waitForGate returns when the gate is worth another look.
func waitForGate(ctx context.Context, changed <-chan struct{}, probing bool, wait time.Duration) error {
	var over <-chan time.Time
	if !probing {
		t := time.NewTimer(wait)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-over:
	}
	return nil
}

// leave records what a request found out.
func (g *gate) leave(probe bool, o outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if probe {
		g.probing = false
		defer g.announce()
	}
	switch o.verdict {
	case verdictNone:
		if probe { // it may have been sent, so the next one must keep its distance
			g.closeFor(minRetry)
		}
	case verdictLate: // how long the caller would wait says little, so no more than the least
		g.closeFor(minRetry)
	case verdictMissing:
		if probe {
			g.open()
		}
	case verdictAnswered:
		g.rejected = 0
		// Without having probed, a success is older than the trouble.
		if probe || !g.closed {
			g.open()
		}
	case verdictRejected:
		g.rejected++
		if g.rejected >= maxRejections {
			g.trouble(probe, 0)
		} else if probe {
			g.open()
		}
	case verdictTrouble:
		g.trouble(probe, o.retryAfter)
	case verdictLimited:
		g.trouble(probe, max(o.retryAfter, minRateLimit))
	}
}

// open lets everything through. Who waits must be told by announce.
func (g *gate) open() {
	g.closed = false
	g.ladder.Reset()
}

// trouble closes the gate. Requests that were under way when it closed say
// nothing new, and make the wait no longer than the distance from them demands.
func (g *gate) trouble(probe bool, atLeast time.Duration) {
	wait := minRetry
	if probe || !g.closed {
		wait = g.ladder.NextBackOff()
	}
	g.closeFor(max(wait, atLeast))
}

func (g *gate) closeFor(d time.Duration) {
	if t := time.Now().Add(d); !g.closed || t.After(g.until) {
		g.until = t
	}
	g.closed = true
	g.announce()
}

func (g *gate) announce() {
	close(g.changed)
	g.changed = make(chan struct{})
}

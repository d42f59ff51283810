package pushover

import "time"

// A verdict is what a finished request says about the service.
type verdict int

const (
	verdictNone     verdict = iota // the caller gave up: nothing is known
	verdictLate                    // no reply before the caller's own deadline
	verdictAnswered                // success
	verdictMissing                 // the service is well and has no such file
	verdictRejected                // the service is well and did not like the request
	verdictOdd                     // the service is well, but not with this operation
	verdictTrouble                 // it is not well
	verdictLimited                 // it wants to be left alone
)

type outcome struct {
	verdict    verdict
	retryAfter time.Duration
	err        error // why it is not well
}

// leave records what the request of a caller that has passed found out.
func (g *gate) leave(c *caller, o outcome) {
	g.mu.Lock()
	defer g.unlock()
	defer g.announce()
	if c.probe {
		g.probing = false
	}
	switch o.verdict {
	case verdictNone:
		if c.probe { // it may have been sent, so the next one must keep its distance
			g.closeFor(minRetry, minRetry)
		}
	case verdictLate: // how long the caller would wait says little, so no more than the least
		g.failure(c, o.err)
		g.closeFor(minRetry, minRetry)
	case verdictTrouble:
		g.failure(c, o.err)
		g.trouble(c, o.retryAfter)
	case verdictLimited:
		g.failure(c, o.err)
		g.trouble(c, max(o.retryAfter, minRateLimit))
	case verdictAnswered:
		g.brake(c.op).release()
		if c.probe || !g.closed { // else the success is older than the trouble
			g.open()
		}
	case verdictRejected:
		g.brake(c.op).reject()
		g.reached(c)
	case verdictOdd:
		g.brake(c.op).slow(o.retryAfter)
		g.reached(c)
	case verdictMissing:
		g.reached(c)
	}
}

// reached records that the service is there, though it gave no success.
func (g *gate) reached(c *caller) {
	if c.probe {
		g.open()
	}
}

func (g *gate) open() {
	if g.closed {
		close(g.opened)
		g.opened = make(chan struct{})
	}
	g.closed, g.failed = false, ""
	g.err, g.attempts, g.hurried = nil, 0, false
	g.ladder.Reset()
	g.quick.Reset()
}

// failure notes whose request failed, and why.
func (g *gate) failure(c *caller, err error) {
	g.failed, g.hurried = c.op, g.isUrgent(c)
	g.err = err
	g.attempts++
}

// trouble closes the gate. Requests that were under way when it closed say
// nothing new, and make the wait no longer than the distance from them demands.
func (g *gate) trouble(c *caller, atLeast time.Duration) {
	patient, urgent := minRetry, minRetry
	if c.probe || !g.closed {
		patient = g.ladder.NextBackOff()
		urgent = max(urgent, g.quick.NextBackOff()-time.Since(c.at)) // waiting for no reply is waiting too
	}
	g.closeFor(max(patient, atLeast), max(urgent, atLeast))
}

func (g *gate) closeFor(patient, urgent time.Duration) {
	now := time.Now()
	if !g.closed {
		g.until, g.soon = now, now
	}
	g.closed = true
	g.until = later(g.until, now.Add(patient))
	g.soon = later(g.soon, now.Add(urgent))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

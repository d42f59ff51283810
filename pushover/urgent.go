package pushover

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

type urgentKey struct{}

// Urgent returns a context for calls that somebody waits for, such as the
// acknowledgement of an alarm that is sounding. While the service fails or does
// not answer, an urgent call is sent 5 to 6 seconds after the first failure and 10
// to 12 seconds after a later one, where others wait for up to 5 minutes; one that
// comes in the middle of such a wait shortens it. What the service asks for is kept
// in any case: a minute at least after 429, and Retry-After.
//
// Downloads and deletions are urgent by themselves from a Follower's wake-up until
// a download finds the queue empty.
func Urgent(ctx context.Context) context.Context {
	return context.WithValue(ctx, urgentKey{}, true)
}

type sureKey struct{}

// Sure returns a context for calls whose parameters are known to be right, such as
// the receipt of an emergency that was delivered. They are not slowed down because
// the service has rejected others of their kind, and a 400 that names nothing of the
// request is taken for trouble that may pass.
func Sure(ctx context.Context) context.Context {
	return context.WithValue(ctx, sureKey{}, true)
}

func isSure(ctx context.Context) bool { return ctx.Value(sureKey{}) != nil }

func isUrgent(ctx context.Context) bool { return ctx.Value(urgentKey{}) != nil }

// newQuickLadder is for urgent calls: 5 to 6 s, then about 8, then 10 to 12. The
// service wants 5 s between attempts and growing waits. An alarm that waits is
// worth five or six requests a minute, one at a time and on one connection, and it
// is then through within 15 s of the end of an outage, however long that was.
func newQuickLadder() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     minRetry * 11 / 10,
		RandomizationFactor: 1. / 11,
		Multiplier:          1.5,
		MaxInterval:         11 * time.Second,
	}
}

// opensFor returns when a caller may probe the closed gate. g.mu is held.
func (g *gate) opensFor(c *caller) time.Time {
	if g.isUrgent(c) && g.soon.Before(g.until) {
		return g.soon
	}
	return g.until
}

func (g *gate) isUrgent(c *caller) bool {
	return c.urgent || g.urges > g.served && (c.op == opMessages || c.op == opDelete)
}

// urge makes downloads and deletions urgent, those that wait already too.
func (g *gate) urge() {
	g.mu.Lock()
	defer g.unlock()
	g.urges++
	g.announce()
}

// urged returns how often urge was called, for calm.
func (g *gate) urged() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.urges
}

// calm ends what urge began: a download that began after so many urges found
// nothing.
func (g *gate) calm(urges int) {
	g.mu.Lock()
	defer g.unlock()
	g.served = max(g.served, urges)
}

// reopened returns a channel that is closed when the gate opens.
func (g *gate) reopened() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}

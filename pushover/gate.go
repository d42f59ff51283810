package pushover

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// A gate holds requests back while the service is in trouble. Closed, it lets
// one request through when the wait is over; if that succeeds it opens, else
// it stays closed for longer. For each operation it has a brake besides.
type gate struct {
	mu      sync.Mutex // unlocked by unlock where something may have changed
	closed  bool
	probing bool
	until   time.Time // when closed, the earliest time for a probe
	soon    time.Time // the same for an urgent one
	failed  string    // the operation that failed last
	ladder  *backoff.ExponentialBackOff
	quick   *backoff.ExponentialBackOff // the same for urgent ones
	urges   int                         // so often somebody asked for a download
	served  int                         // and so many of them were over when the queue was last seen empty
	opened  chan struct{}               // closed and replaced when the gate opens
	brakes  map[string]*brake
	callers map[*caller]struct{} // who have not passed yet
	changed chan struct{}        // closed and replaced at every change

	err      error // the last failure
	attempts int   // failures in a row
	hurried  bool  // the last one was of an urgent call, and its caller is likely to come back

	report  func(APIState) // may be nil
	told    APIState
	untold  []APIState
	telling bool // a goroutine is at it
}

// A caller wants to pass the gate.
type caller struct {
	op     string
	urgent bool
	sure   bool      // its operation's brake does not concern it
	probe  bool      // it passed, as a probe
	at     time.Time // when it passed
}

// errHeld is the last failure of a gate that has seen none itself.
var errHeld = fmt.Errorf("%w: an earlier process was told to wait", ErrUnavailable)

// newGate returns a gate that is closed until then, as after a failure.
func newGate(report func(APIState), until time.Time) *gate {
	g := &gate{
		report: report, told: APIState{Open: true},
		changed: make(chan struct{}), opened: make(chan struct{}),
		ladder: newLadder(maxRetry), quick: newQuickLadder(),
		brakes: make(map[string]*brake), callers: make(map[*caller]struct{}),
	}
	if until.After(time.Now()) {
		g.closed, g.until, g.soon, g.err = true, until, until, errHeld
	}
	return g
}

// newLadder gives 5 to 10 s, then about twice as much each time up to longest.
func newLadder(longest time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     minRetry * 3 / 2,
		RandomizationFactor: 1. / 3,
		Multiplier:          2,
		MaxInterval:         longest * 3 / 4,
	}
}

// brake returns the operation's own. g.mu is held.
func (g *gate) brake(op string) *brake {
	b := g.brakes[op]
	if b == nil {
		b = newBrake()
		g.brakes[op] = b
	}
	return b
}

// join announces a caller, who must then pass by try, or quit.
func (g *gate) join(op string, urgent, sure bool) *caller {
	g.mu.Lock()
	defer g.unlock()
	c := &caller{op: op, urgent: urgent, sure: sure}
	g.callers[c] = struct{}{}
	return c
}

func (g *gate) quit(c *caller) {
	g.mu.Lock()
	defer g.unlock()
	delete(g.callers, c)
	g.announce()
}

// A hold says when a caller that may not pass should try again: after a time
// (never if 0), or when something changed.
type hold struct {
	after   time.Duration
	changed <-chan struct{}
}

// try passes the gate, or says when to try again.
func (g *gate) try(c *caller) (h hold, passed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait := g.due(c)
	switch {
	case wait > 0:
		return hold{wait, g.changed}, false
	case g.closed && (g.probing || g.yields(c)):
		return hold{0, g.changed}, false
	}
	c.at, c.probe = time.Now(), g.closed
	g.probing = g.closed
	delete(g.callers, c)
	return hold{}, true
}

// yields reports whether the probe should be another operation's: the one that
// failed last is the likeliest to fail again, and would keep the others waiting.
func (g *gate) yields(c *caller) bool {
	if c.op != g.failed {
		return false
	}
	for other := range g.callers {
		if other.op != c.op && g.due(other) <= 0 {
			return true
		}
	}
	return false
}

// due returns how long a caller must wait, a probe under way apart.
func (g *gate) due(c *caller) time.Duration {
	wait := time.Duration(0)
	if !c.sure {
		wait = time.Until(g.brake(c.op).until)
	}
	if g.closed {
		wait = max(wait, time.Until(g.opensFor(c)))
	}
	return wait
}

func (h hold) wait(ctx context.Context) error {
	var over <-chan time.Time
	if h.after > 0 {
		t := time.NewTimer(h.after)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-h.changed:
	case <-over:
	}
	return nil
}

// announce makes everybody who is held try again.
func (g *gate) announce() {
	close(g.changed)
	g.changed = make(chan struct{})
}

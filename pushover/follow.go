package pushover

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// A Phase is where following the stream stands.
type Phase int

// The phases.
const (
	PhaseConnecting Phase = iota
	PhaseConnected        // login sent, nothing heard yet
	PhaseLive             // a signal was heard
	PhaseWaiting          // for the next attempt
)

// String returns connecting, connected, live or waiting.
func (p Phase) String() string {
	return [...]string{"connecting", "connected", "live", "waiting"}[p]
}

// Why a stream ended: the values of StreamState.Reason.
const (
	ReasonReload  = "reload"  // the service asked for it
	ReasonSilence = "silence" // no signal for too long
	ReasonClosed  = "closed"  // the service closed the stream
	ReasonRefused = "refused" // an HTTP answer in place of a stream
	ReasonFrame   = "frame"   // a frame too large, or against the protocol
	ReasonNetwork = "network" // anything else
	ReasonSleep   = "sleep"   // this machine slept
)

// A StreamState is reported at every change.
type StreamState struct {
	Phase    Phase
	Reason   string    // when waiting or connecting: why the last stream ended, "" at first
	Err      error     // of the last stream or attempt, without secrets; may be nil
	RetryAt  time.Time // when waiting; it may come earlier, see [Client.Follow]
	Attempts int       // failures since the last signal; reload and sleep do not count
}

// A Follower receives what [Client.Follow] sees. Its functions are called by one
// goroutine, one at a time, and must not block.
type Follower struct {
	// Wake asks for a full download: after every login on a stream, since
	// messages may have come while there was none; at the first signal, since
	// only that proves that the service had the login and signals what comes
	// from then on; and at every '!'. Nil to ignore.
	Wake func()

	Signal func(Signal)      // every signal, before Wake; nil to ignore
	State  func(StreamState) // every change; nil to ignore

	// Stable is how long a stream must hold for the waits between attempts to
	// start over. Default 60 s.
	Stable time.Duration
}

const defaultStable = time.Minute

// Follow keeps a stream connected. It returns ctx's cause when ctx ends,
// [ErrLoginNeeded] after E, [ErrTakenOver] after A, and at once if the
// credentials cannot be sent at all. Everything else is trouble that passes, and
// it connects again:
//
//   - after R, and after a stream that held for Follower.Stable, within 1 to 5 s
//     at random, since the service sends R to many clients at once;
//   - after no reply, a failure of the service (5xx), silence and a stream that was
//     closed, after 5 to 10 s at first and up to 13 s later, so that a message is
//     not late after an outage of any length;
//   - otherwise, as after another HTTP answer in place of a stream, after 5 to
//     10 s, then twice as long each time up to 5 minutes;
//   - within 0.5 to 2 s, but not sooner than 5 s after its last attempt, when a
//     REST call succeeds after a failure: the outage is likely to be over for both;
//   - at once when this machine wakes up from sleep;
//   - but never before the service's Retry-After is over.
//
// After sleep and silence the idle REST connections are closed too: they are as
// likely to be dead as the stream was.
//
// What goes wrong is reported to Follower.State and not logged.
//
// The signals of a stream that has been given up are not looked at: an A for
// the old one, displaced by our own new one, means nothing.
func (c *Client) Follow(ctx context.Context, f Follower) error {
	return c.follow(ctx, f, time.Now)
}

func (c *Client) follow(ctx context.Context, f Follower, wall func() time.Time) error {
	if err := c.usable(opStream); err != nil {
		return err
	}
	setDefault(&f.Stable, defaultStable)
	if f.Wake == nil {
		f.Wake = func() {}
	}
	wake := f.Wake
	f.Wake = func() {
		c.link.gate.urge()
		wake()
	}
	r := follower{Client: c, Follower: f, wall: wall, pause: newPause()}
	return r.run(ctx)
}

type follower struct {
	*Client
	Follower
	wall     func() time.Time
	pause    pause
	attempts int
}

// An ending is why a stream is over.
type ending struct {
	reason string
	err    error
	held   bool // for as long as Stable
}

func (r *follower) run(ctx context.Context) error {
	var last ending
	for {
		r.state(StreamState{Phase: PhaseConnecting, Reason: last.reason, Err: last.err})
		last = r.session(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(last.err, ErrLoginNeeded), errors.Is(last.err, ErrTakenOver):
			return last.err
		}
		asked := retryAfterOf(last.err)
		wait := max(r.pause.next(last), asked)
		if last.reason == ReasonSleep || last.reason == ReasonSilence {
			r.link.transport.CloseIdleConnections()
		}
		if last.reason == ReasonSleep {
			continue
		}
		if last.reason != ReasonReload {
			r.attempts++
		}
		r.state(StreamState{Phase: PhaseWaiting, Reason: last.reason, Err: last.err, RetryAt: time.Now().Add(wait)})
		eager := asked == 0 && !last.lasting()
		if r.rest(ctx, wait, asked, eager) {
			r.link.transport.CloseIdleConnections()
			last.reason, last.err = ReasonSleep, nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

func retryAfterOf(err error) time.Duration {
	if e := (*APIError)(nil); errors.As(err, &e) && errors.Is(err, ErrRateLimited) {
		return RetryAfter(err)
	} else if e != nil {
		return e.RetryAfter
	}
	return 0
}

func (r *follower) state(s StreamState) {
	if r.State != nil {
		s.Attempts = r.attempts
		r.State(s)
	}
}

// rest waits for d. If the machine sleeps meanwhile, it returns true when asked is
// over by the wall clock, which went on during the sleep. If eager, the end of
// trouble on the REST side ends the wait.
func (r *follower) rest(ctx context.Context, d, asked time.Duration, eager bool) (slept bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if eager {
		reopened := r.link.gate.reopened()
		go func() {
			defer cancel()
			cutShort(ctx, reopened)
		}()
	}
	allowed := r.wall().Round(0).Add(asked)
	for d > 0 && r.sleep(ctx, d) {
		slept = true
		d = allowed.Sub(r.wall().Round(0))
	}
	return slept
}

// cutShort returns when the REST side has recovered, a moment later at random
// since many clients see it at once, and not too soon after the last attempt, which
// ended just now.
func cutShort(ctx context.Context, reopened <-chan struct{}) {
	last := time.Now()
	select {
	case <-ctx.Done():
		return
	case <-reopened:
	}
	wait(ctx, max(between(500*time.Millisecond, 2*time.Second), minRetry-time.Since(last)))
}

// sleep waits; it returns true at once when the machine has slept.
func (r *follower) sleep(ctx context.Context, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return awaitWakeUp(ctx, r.wall)
}

// session runs one stream from connecting to its end.
func (r *follower) session(ctx context.Context) ending {
	s, err := r.Connect(ctx)
	if err != nil {
		return ending{reason: reasonOf(err), err: err}
	}
	slept := make(chan bool, 1)
	watch, stop := context.WithCancel(ctx)
	go func() {
		woke := awaitWakeUp(watch, r.wall)
		slept <- woke
		_ = s.Close() // ends listen
	}()
	end := r.listen(s)
	stop()
	if <-slept && !errors.Is(end.err, ErrLoginNeeded) && !errors.Is(end.err, ErrTakenOver) {
		end = ending{reason: ReasonSleep, held: true}
	}
	_ = s.Close() // waits for the Close above
	return end
}

func (r *follower) listen(s *Stream) ending {
	start := time.Now()
	var lastSignal time.Time
	r.state(StreamState{Phase: PhaseConnected})
	r.Wake()
	for {
		sig, err := s.Next()
		if err != nil {
			return r.ended(start, lastSignal, ending{reason: reasonOf(err), err: err})
		}
		first := lastSignal.IsZero()
		if first {
			r.attempts = 0
			r.state(StreamState{Phase: PhaseLive})
		}
		lastSignal = time.Now()
		if r.Signal != nil {
			r.Signal(sig)
		}
		switch sig {
		case SignalReload:
			return r.ended(start, lastSignal, ending{reason: ReasonReload})
		case SignalError:
			return ending{err: ErrLoginNeeded}
		case SignalTakenOver:
			return ending{err: ErrTakenOver}
		}
		if first || sig == SignalMessage {
			r.Wake()
		}
	}
}

// ended judges how long the stream held: a silent one only to its last signal,
// and one that never gave any not at all.
func (r *follower) ended(start, lastSignal time.Time, e ending) ending {
	end := time.Now()
	if e.reason == ReasonSilence {
		end = lastSignal
	}
	e.held = !lastSignal.IsZero() && end.Sub(start) >= r.Stable
	return e
}

func reasonOf(err error) string {
	var closed *CloseError
	var answer *APIError
	var frame *frameError
	switch {
	case errors.Is(err, ErrSilent):
		return ReasonSilence
	case errors.As(err, &closed):
		return ReasonClosed
	case errors.As(err, &answer):
		return ReasonRefused
	case errors.As(err, &frame), errors.Is(err, ErrTooLarge):
		return ReasonFrame
	default:
		return ReasonNetwork
	}
}

// between returns a random time in [low, high).
func between(low, high time.Duration) time.Duration { return low + rand.N(high-low) }

package pushover

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	safetySync   = 20 * time.Minute // guards against lost signals
	firstSync    = 30 * time.Second // if no stream comes up at first
	deleteEvery  = 5 * time.Second  // most work on a backlog to be repeated after a crash, in time
	lastDeletion = 10 * time.Second // what an ended context still allows
)

// Listen is a whole receiving program: it follows the stream, downloads, calls
// handle for each message, oldest first and one at a time, and deletes what
// handle accepted by returning nil. It returns ctx's cause when ctx ends,
// [ErrLoginNeeded], [ErrTakenOver] or [ErrSessionRejected] when the user has to do
// something, and any other error that waiting cannot cure, such as
// [ErrTooLarge]. It sits outages out, and logs them.
//
// A message is deleted only after handle accepted it, and handle sees every
// message at least once. It sees one again if the program ended before the
// deletion, which follows within about ten seconds: see [Batch.Settled].
// Within one call of Listen it sees none twice that it accepted, unless the
// service lists it again after a download without it.
//
// If handle returns an error, that message and the later ones stay on the
// server, what was accepted before it is deleted, and after a wait, 5 to 10
// seconds at first and up to 5 minutes, Listen downloads again and begins with the
// same message. So an error means "later"; for a message that can never be
// handled, return nil. The error's text is logged.
//
// When ctx ends, the message in hand is finished (handle's ctx is the same one,
// so it can hurry) and, if accepted, deleted. A panic of handle passes through
// Listen once the stream is closed, and deletes nothing more.
func (c *Client) Listen(ctx context.Context, handle func(ctx context.Context, m Message) error) error {
	return c.listenUntil(ctx, ctx, handle)
}

// A Listening is a [Client.Listen] that runs beside other work.
type Listening struct {
	stop context.CancelFunc
	done chan struct{}
	err  error
}

var errStopped = errors.New("listening was stopped")

// StartListening runs Listen in a goroutine of its own. Call Stop to end it.
func (c *Client) StartListening(ctx context.Context, handle func(ctx context.Context, m Message) error) *Listening {
	run, cancel := context.WithCancelCause(ctx)
	l := &Listening{stop: func() { cancel(errStopped) }, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		defer l.stop()
		if l.err = c.listenUntil(run, ctx, handle); errors.Is(l.err, errStopped) {
			l.err = nil
		}
	}()
	return l
}

// Stop ends listening and waits for it: a message in hand is finished without
// haste, and deleted if it was accepted. Stop returns what Listen returned, nil
// if it was still running. It may be called again, and by several goroutines,
// but not by handle, which it would wait for.
func (l *Listening) Stop() error {
	l.stop()
	<-l.done
	return l.err
}

// Done is closed when listening has ended for whatever reason; Stop then tells
// which.
func (l *Listening) Done() <-chan struct{} { return l.done }

// listenUntil listens until run ends. The handler's calls live in ctx.
func (c *Client) listenUntil(run, ctx context.Context, handle func(context.Context, Message) error) error {
	run, cancel := context.WithCancelCause(run)
	l := &listener{
		Client: c, handle: handle, ctx: ctx,
		wake: make(chan struct{}, 1), handled: make(map[MessageID]bool),
		ladder:    newLadder(maxRetry),
		stream:    trouble{log: c.log, activity: "stream"},
		downloads: trouble{log: c.log, activity: "download"},
		handling:  trouble{log: c.log, activity: "handling"},
	}
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		cancel(c.Follow(run, Follower{Wake: l.wakeUp, Signal: l.signal, State: l.streamState})) // becomes the cause l.run returns
	}()
	defer func() { // also when the handler panics
		cancel(nil)
		<-followed
	}()
	return l.run(run)
}

type listener struct {
	*Client
	handle func(context.Context, Message) error
	ctx    context.Context // of the handler; see listenUntil
	wake   chan struct{}   // holds one: a wake-up during a download causes one more
	called atomic.Bool     // by '!', not just by connecting

	handled map[MessageID]bool // accepted, and still on the server when last seen
	ladder  *backoff.ExponentialBackOff

	stream    trouble // of Follow's goroutine
	downloads trouble
	handling  trouble
}

func (l *listener) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *listener) signal(s Signal) {
	if s == SignalMessage {
		l.called.Store(true)
	}
}

func (l *listener) streamState(s StreamState) {
	switch {
	case s.Phase == PhaseLive:
		l.stream.recovered(l.ctx)
	case s.Phase == PhaseWaiting && s.Attempts > 0:
		l.stream.failed(l.ctx, s.Reason, s.Err, time.Until(s.RetryAt))
	}
}

// run downloads at every wake-up, until ctx ends or an error says that it is of
// no use.
func (l *listener) run(ctx context.Context) error {
	timer := time.NewTimer(firstSync)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.wake:
		case <-timer.C:
		}
		called := l.called.Swap(false)
		n, settlesIn, err := l.sync(ctx)
		next := safetySync
		if settlesIn > 0 {
			next = settlesIn
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			l.downloads.recovered(ctx)
			l.handling.recovered(ctx)
			l.ladder.Reset()
			if called && n == 0 { // the signal may run ahead of its message
				next = min(next, between(time.Second, 2*time.Second))
			}
		case !errors.Is(err, errLater) && !errors.Is(err, ErrStalled) && !Retryable(err):
			return err
		default:
			if !wait(ctx, l.failed(ctx, err)) {
				return context.Cause(ctx)
			}
			next = 0
		}
		timer.Reset(next)
	}
}

// failed logs what went wrong and returns how long to wait. For the service's
// trouble that is the least, since the gate holds the next call back as well.
func (l *listener) failed(ctx context.Context, err error) time.Duration {
	pause := RetryAfter(err)
	if errors.Is(err, errLater) || errors.Is(err, ErrStalled) {
		pause = max(pause, l.ladder.NextBackOff())
	}
	what := &l.downloads
	if errors.Is(err, errLater) {
		what = &l.handling
	}
	what.failed(ctx, reasonToRepeat(err), err, max(pause, time.Until(l.APIState().RetryAt)))
	return pause
}

// wait returns false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// errLater marks what the handler did not accept.
var errLater = errors.New("message not accepted")

type laterError struct{ error }

func (e laterError) Is(target error) bool { return target == errLater }
func (e laterError) Unwrap() error        { return e.error }

// sync downloads until the queue is empty or only holds what has not settled, and
// says how many messages were accepted, and when to look again for the others'
// sake. A batch that brings nothing new may be what an earlier deletion failed to
// take away; a second one means that deleting does not work.
func (l *listener) sync(ctx context.Context) (accepted int, settlesIn time.Duration, err error) {
	for idle := 0; idle < 2; {
		b, err := l.Download(ctx)
		if err != nil {
			return accepted, 0, err
		}
		l.forget(b)
		if len(b.Messages) == 0 {
			return accepted, 0, nil
		}
		n, err := l.batch(ctx, b)
		accepted += n
		switch {
		case err != nil:
			return accepted, 0, err
		case ctx.Err() != nil:
			return accepted, 0, context.Cause(ctx)
		case b.Messages[0].ID > b.Settled:
			return accepted, b.SettlesIn, nil
		case n == 0:
			idle++
		default:
			idle = 0
		}
	}
	return accepted, 0, ErrStalled
}

// forget drops the memory of messages that are gone from the server. What is
// left is never more than a batch.
func (l *listener) forget(b *Batch) {
	there := make(map[MessageID]bool, len(l.handled))
	for _, m := range b.Messages {
		if l.handled[m.ID] {
			there[m.ID] = true
		}
	}
	l.handled = there
}

// batch hands the messages out and deletes what was accepted and has settled: at
// the end, before an error, and now and then between.
func (l *listener) batch(ctx context.Context, b *Batch) (accepted int, err error) {
	var through, deleted MessageID
	last := time.Now()
	for _, m := range b.Messages {
		if !l.handled[m.ID] {
			if ctx.Err() != nil {
				break
			}
			if err = l.handle(l.ctx, m); err != nil {
				err = laterError{err}
				break
			}
			l.handled[m.ID] = true
			l.ladder.Reset()
			accepted++
		}
		if m.ID <= b.Settled {
			through = m.ID
		}
		if through > deleted && time.Since(last) >= deleteEvery {
			if err = l.delete(ctx, through); err != nil {
				return accepted, err
			}
			deleted, last = through, time.Now()
		}
	}
	if through > deleted {
		e := l.delete(ctx, through)
		if e != nil && !Retryable(e) {
			return accepted, e // waiting, as for what was refused, would not cure it
		}
		err = errors.Join(err, e)
	}
	return accepted, err
}

// delete gives a deletion a little time even when ctx has ended: the messages
// were accepted, and would otherwise be seen again at the next start.
func (l *listener) delete(ctx context.Context, through MessageID) error {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		if wait(late, lastDeletion) {
			cancel(context.Cause(ctx))
		}
	})
	defer stop()
	return l.DeleteThrough(late, through)
}

package connector

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// credentialsEvery is the pause between reads of the credentials.
const credentialsEvery = 5 * time.Second

// newCredentials ends a session because other credentials have appeared.
type newCredentials struct{ creds pushover.Credentials }

func (*newCredentials) Error() string { return "credentials changed" }

// errNoCredentials halts a connector that has nothing to log in with.
var errNoCredentials = errors.New("there are no credentials")

// Run carries messages until ctx ends, and returns nil then: after the publish
// in flight was finished and what it confirmed was cleared, within the shutdown
// budget. It is called once, after SetSink.
//
// Nothing the service or the bus does makes Run return. What needs a person
// halts the session instead, see [State]; the process stays up, so that an
// orchestrator's restart does not become another login.
func (c *Connector) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	tasks.Go(func() { c.health.Watch(ctx) })
	tasks.Go(func() { c.commands.publishLater(ctx) })
	defer tasks.Wait()
	if reader, ok := c.sink.(Reader); ok {
		c.recallEmergencies(ctx, reader, &tasks)
	}
	account := c.health.Activity(PartSession)
	creds := c.base.Credentials()
	for ctx.Err() == nil {
		var ended error
		if creds.Validate() != nil {
			creds, ended = c.login(ctx, account)
		}
		if ended == nil {
			ended = c.session(ctx, account, creds)
		}
		var changed *newCredentials
		switch {
		case ctx.Err() != nil:
		case errors.As(ended, &changed):
			creds = changed.creds
		default:
			c.halt(ctx, account, ended)
			creds = c.awaitRelease(ctx, creds)
			c.health.setState(StateStarting) // there is nothing to resume any more
		}
		account.restart()
	}
	c.health.setState(StateStopped)
	return nil
}

// login makes the first login. An attempt that never reached the service was not
// a login, and is repeated until it does or until credentials appear.
func (c *Connector) login(ctx context.Context, account *Activity) (pushover.Credentials, error) {
	var none pushover.Credentials
	if c.o.Login == nil {
		return none, errNoCredentials
	}
	watch := c.newCredentialWatch(none)
	for {
		var creds pushover.Credentials
		err := c.health.during(func() (err error) {
			creds, err = c.o.Login(pushover.Urgent(ctx))
			return err
		})
		if err == nil || !pushover.Retryable(err) {
			return creds, err
		}
		next := time.Now().Add(pushover.RetryAfter(err))
		if at := c.base.APIState().RetryAt; at.After(next) {
			next = at
		}
		c.health.setState(StateWaiting)
		account.Failed(fmt.Errorf("log in: %w", err), next)
		for time.Now().Before(next) {
			if creds, changed := watch.look(); changed {
				return creds, nil
			}
			c.health.beat(credentialsEvery)
			if !pause(ctx, min(credentialsEvery, time.Until(next))) {
				return none, ctx.Err()
			}
		}
	}
}

// A session is one set of credentials in use. Its methods are safe for
// concurrent use.
type session struct {
	c         *Connector
	account   *Activity
	signalled atomic.Bool // the stream has announced a message

	mu       sync.Mutex
	up       bool // the stream is connected
	opened   int  // changes of up, to tell a late timer from the current one
	spoken   bool // the service, on the present stream, and not to end it
	held     bool // the present stream has not been refused within settleTime
	accepted bool // the service has accepted a download
	broken   bool // the stream before ended in trouble, and this one is not live yet
	quiet    bool // nothing was heard for quietTime
	said     bool // that the session is live
	hush     *time.Timer
}

// settleTime is how long a new stream must not be refused to count as live. The
// service does not confirm a login: it refuses one at once, and otherwise says
// nothing until its next keep-alive, which may be half a minute away.
const settleTime = 2 * time.Second

// quietTime is how long a stream may say nothing and be called live: a keep-alive
// comes every half minute or so, and two were missed. The client gives the stream
// up only when it has been silent for longer.
const quietTime = time.Minute

// session follows the stream with one set of credentials until something ends
// it for good: the context, new credentials, or a state that halts.
func (c *Connector) session(ctx context.Context, account *Activity, creds pushover.Credentials) error {
	client := c.base.WithCredentials(creds)
	c.commands.use(client, c.deviceName(creds))

	s := &session{c: c, account: account}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return client.Follow(groupCtx, pushover.Follower{
			Wake:   c.Sync,
			Signal: s.signal,
			State:  s.streamState,
		})
	})
	group.Go(func() error {
		d := newDelivery(c, client, c.deviceName(creds), s)
		defer d.end()
		return d.loop(groupCtx)
	})
	if c.o.LoadCredentials != nil {
		group.Go(func() error { return c.watchCredentials(groupCtx, creds) })
	}
	defer s.setUp(false)
	return group.Wait()
}

func (c *Connector) deviceName(creds pushover.Credentials) string {
	if creds.DeviceName != "" {
		return creds.DeviceName
	}
	return c.o.Device
}

func (s *session) signal(sig pushover.Signal) {
	s.c.m.signal(sig)
	s.c.health.heard()
	switch sig {
	case pushover.SignalReload, pushover.SignalError, pushover.SignalTakenOver:
		s.setUp(false) // the end of the stream, though what was begun on it may take a while
		return
	case pushover.SignalMessage:
		s.signalled.Store(true)
		s.c.health.signalled()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoken, s.quiet = true, false
	s.hush.Reset(quietTime)
	s.judge()
}

// streamState takes note of a change of the push stream.
func (s *session) streamState(now pushover.StreamState) {
	switch now.Phase {
	case pushover.PhaseConnecting:
		s.c.health.setState(StateConnecting)
	case pushover.PhaseConnected:
		s.c.health.setState(StateConnected)
		s.setUp(true)
	case pushover.PhaseWaiting:
		s.setUp(false)
		s.mu.Lock()
		s.broken = now.Reason != pushover.ReasonReload
		s.mu.Unlock()
		s.c.m.reconnects.WithLabelValues(now.Reason).Inc()
		s.c.health.setState(StateWaiting)
		s.account.Failed(streamFailure(now), now.RetryAt)
	}
}

func (s *session) setUp(up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up, s.spoken, s.held, s.quiet = up, false, false, false
	s.opened++
	if s.hush != nil {
		s.hush.Stop()
	}
	if !up {
		return
	}
	opened := s.opened
	later := func(d time.Duration, f func()) *time.Timer {
		return time.AfterFunc(d, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.opened == opened {
				f()
			}
		})
	}
	later(settleTime, func() {
		s.held = true
		s.judge()
	})
	s.hush = later(quietTime, func() {
		s.quiet = true
		s.account.Failed(&Failure{
			Reason: ReasonTimeout, Detail: "the push stream has said nothing for a minute, where a keep-alive comes every 30 s",
		}, time.Now().Add(quietTime/2))
	})
}

// downloadAccepted is called after every download that succeeded.
func (s *session) downloadAccepted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted = true
	s.judge()
}

// streaming reports whether the push stream is up, as far as is known.
func (s *session) streaming() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up
}

// judge makes the session live once the service has spoken on the stream, or has
// accepted a download and left the stream open. After trouble a stream has to hold
// too: one that opens and ends again and again is one long trouble. The lock is
// held.
func (s *session) judge() {
	spoken := s.spoken && (s.held || !s.broken)
	if !s.up || s.quiet || !spoken && !(s.held && s.accepted) {
		return
	}
	s.broken = false
	s.c.health.setState(StateLive)
	s.account.OK()
	if !s.said {
		s.said = true
		s.c.log.Info("session live")
	}
}

func streamFailure(s pushover.StreamState) error {
	f := &Failure{Err: s.Err}
	switch {
	case s.Reason == pushover.ReasonReload:
		f.Reason, f.Detail = ReasonReconnecting, "Pushover asked for a new connection of the push stream"
	case s.Reason == pushover.ReasonSilence:
		f.Reason, f.Detail = ReasonTimeout, "the push stream is silent"
	case s.Reason == pushover.ReasonClosed:
		f.Reason, f.Detail = ReasonNetwork, "Pushover closed the push stream"
	case s.Err == nil:
		f.Reason, f.Detail = ReasonNetwork, "the push stream ended ("+s.Reason+")"
	default:
		return s.Err
	}
	return f
}

// halt takes the state that err calls for and says what to do about it.
func (c *Connector) halt(ctx context.Context, account *Activity, err error) {
	select {
	case <-c.resume: // meant for a halt that is over
	default:
	}
	if errors.Is(err, pushover.ErrLoginNeeded) {
		c.health.setState(StateLoginNeeded) // which is not ready
		err = c.whyE(ctx, err)
	}
	f := c.o.Remedies.Explain(err, c.health.licensed())
	c.health.setState(haltedState(f.Reason))
	account.Failed(&f, time.Time{})
}

// whyTimeout bounds the question why the service ended a session.
const whyTimeout = 5 * time.Second

func haltedState(r Reason) State {
	switch r {
	case ReasonTakenOver:
		return StateTakenOver
	case ReasonFenced:
		return StateFenced
	default:
		return StateLoginNeeded
	}
}

// whyE asks the service what the signal E left open: whether it refuses the
// secret or the device. One download tells.
func (c *Connector) whyE(ctx context.Context, signal error) error {
	ctx, cancel := context.WithTimeout(ctx, whyTimeout)
	defer cancel()
	err := c.health.during(func() error {
		// By the session's own client, which knows if that has been refused already.
		_, err := c.commands.latest().Download(pushover.Urgent(ctx))
		return err
	})
	if errors.Is(err, pushover.ErrSessionRejected) {
		return err
	}
	return &Failure{
		Reason: ReasonDisabled, Err: signal,
		Detail: "Pushover ended the session (signal E): the device is disabled, or the secret is invalid",
		Remedy: "if the device is disabled in the Pushover dashboard, enable it, then " + c.o.Remedies.Resume + "; otherwise " + c.o.Remedies.Secret,
	}
}

// awaitRelease keeps a session halted until other credentials appear, or until
// the operator resumes and the old ones are tried again. It returns what the
// next session uses.
func (c *Connector) awaitRelease(ctx context.Context, old pushover.Credentials) pushover.Credentials {
	watch := c.newCredentialWatch(old)
	for {
		if creds, changed := watch.look(); changed {
			return creds
		}
		c.health.beat(credentialsEvery)
		c.expire(time.Now())
		timer := time.NewTimer(credentialsEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return old
		case <-c.resume:
			timer.Stop()
			c.log.Info("session resumed by request")
			return old
		}
	}
}

// watchCredentials ends a running session when other credentials appear.
func (c *Connector) watchCredentials(ctx context.Context, current pushover.Credentials) error {
	watch := c.newCredentialWatch(current)
	for pause(ctx, credentialsEvery) {
		if creds, changed := watch.look(); changed {
			return &newCredentials{creds}
		}
	}
	return ctx.Err()
}

// credentialWatch compares what LoadCredentials returns with what is in use.
type credentialWatch struct {
	c       *Connector
	current pushover.Credentials
	failure string // last one logged
}

func (c *Connector) newCredentialWatch(current pushover.Credentials) *credentialWatch {
	return &credentialWatch{c: c, current: current}
}

// look reports whether usable credentials other than the current ones are
// there. Unusable ones are logged once and ignored: a file may be seen half
// written.
func (w *credentialWatch) look() (pushover.Credentials, bool) {
	if w.c.o.LoadCredentials == nil {
		return w.current, false
	}
	creds, err := w.c.o.LoadCredentials()
	if err == nil {
		err = creds.Validate()
	}
	if errors.Is(err, fs.ErrNotExist) && w.current.Validate() != nil {
		return w.current, false // not there yet, which is known
	}
	if err != nil {
		if err.Error() != w.failure {
			w.failure = err.Error()
			w.c.m.credentialsLoads.WithLabelValues("invalid").Inc()
			w.c.log.Warn("credentials ignored", slog.Any("error", err))
		}
		return w.current, false
	}
	w.failure = ""
	if creds == w.current {
		return w.current, false
	}
	w.c.m.credentialsLoads.WithLabelValues("accepted").Inc()
	w.c.log.Info("credentials changed, starting a new session")
	return creds, true
}

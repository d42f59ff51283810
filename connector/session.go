package connector

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// newCredentials ends a session because other credentials have appeared.
type newCredentials struct{ creds pushover.Credentials }

func (*newCredentials) Error() string { return "credentials changed" }

// errNoCredentials halts a connector that has nothing to log in with.
var errNoCredentials = errors.New("no credentials")

// Run carries messages until ctx ends, and returns nil then: after the publish
// in flight was finished and what it confirmed was cleared, within the shutdown
// budget. It is called once.
//
// Nothing the service or the bus does makes Run return. What needs a person
// halts the session instead, see [State]; the process stays up, so that an
// orchestrator's restart does not become another login.
func (c *Connector) Run(ctx context.Context) error {
	creds := c.base.Credentials()
	for ctx.Err() == nil {
		ended := c.session(ctx, creds)
		var changed *newCredentials
		switch {
		case ctx.Err() != nil:
		case errors.As(ended, &changed):
			creds = changed.creds
		default:
			c.halt(ended)
			creds = c.awaitRelease(ctx, creds)
		}
	}
	c.board.set(StateStopped, "shutdown")
	return nil
}

// session follows the stream with one set of credentials until something ends
// it for good: the context, new credentials, or a state that halts.
func (c *Connector) session(ctx context.Context, creds pushover.Credentials) error {
	if creds.Validate() != nil {
		return errNoCredentials
	}
	client := c.base.WithCredentials(creds)
	c.commands.use(client, c.deviceName(creds))

	var hinted atomic.Bool // the stream has said that there is a message
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return client.Follow(groupCtx, pushover.Follower{
			Wake: c.Sync,
			Signal: func(s pushover.Signal) {
				c.m.signal(s)
				c.board.heard()
				if s == pushover.SignalMessage {
					hinted.Store(true)
				}
			},
			State: c.streamState,
		})
	})
	group.Go(func() error {
		d := newDelivery(c, client, c.deviceName(creds), &hinted)
		return d.loop(groupCtx)
	})
	if c.o.LoadCredentials != nil {
		group.Go(func() error { return c.watchCredentials(groupCtx, creds) })
	}
	return group.Wait()
}

func (c *Connector) deviceName(creds pushover.Credentials) string {
	if creds.DeviceName != "" {
		return creds.DeviceName
	}
	return c.o.Device
}

// streamState keeps the board and counts how connections of the push stream
// ended. Their failures are logged by the client, which knows them best.
func (c *Connector) streamState(s pushover.StreamState) {
	switch s.Phase {
	case pushover.PhaseConnecting:
		c.board.set(StateConnecting, "")
	case pushover.PhaseConnected:
		c.board.set(StateConnected, "login sent, waiting for the service to speak")
	case pushover.PhaseLive:
		c.board.set(StateLive, "")
		c.log.Info("session live")
	case pushover.PhaseWaiting:
		c.m.reconnects.WithLabelValues(s.Reason).Inc()
		c.board.set(StateWaiting, s.Reason)
	}
}

// halt takes the state that err calls for and says what to do about it.
func (c *Connector) halt(err error) {
	state, reason := StateLoginNeeded, "unexpected"
	switch {
	case errors.Is(err, errNoCredentials):
		reason = "there are no usable credentials"
	case errors.Is(err, pushover.ErrLoginNeeded):
		reason = "the service asks for a new login, or the device is disabled (signal E)"
	case errors.Is(err, pushover.ErrTakenOver):
		state, reason = StateTakenOver, "another program logged in as this device (signal A)"
	case errors.Is(err, pushover.ErrSessionRejected):
		reason = "the service refuses the session: " + err.Error()
	case errors.Is(err, ErrFenced):
		state, reason = StateFenced, err.Error()
	case err != nil:
		reason = err.Error()
	}
	c.board.set(state, reason)
	c.log.Error("session halted", slog.String("state", string(state)),
		slog.String("reason", reason), slog.String("remedy", state.remedy()))
}

// awaitRelease keeps a session halted until other credentials appear, or until
// the operator resumes and the old ones are tried again. It returns what the
// next session uses.
func (c *Connector) awaitRelease(ctx context.Context, old pushover.Credentials) pushover.Credentials {
	select {
	case <-c.resume: // meant for a halt that is over
	default:
	}
	watch := c.newCredentialWatch(old)
	for {
		if creds, changed := watch.look(); changed {
			return creds
		}
		c.board.beat(c.o.CredentialsEvery)
		c.emergencies.expire(time.Now())
		timer := time.NewTimer(c.o.CredentialsEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return old
		case <-c.resume:
			timer.Stop()
			c.log.Info("resumed by request")
			return old
		}
	}
}

// watchCredentials ends a running session when other credentials appear.
func (c *Connector) watchCredentials(ctx context.Context, current pushover.Credentials) error {
	watch := c.newCredentialWatch(current)
	for pause(ctx, c.o.CredentialsEvery) {
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
// there. Unusable ones are logged once and the current ones stay in use: a file
// may be seen half written.
func (w *credentialWatch) look() (pushover.Credentials, bool) {
	if w.c.o.LoadCredentials == nil {
		return w.current, false
	}
	creds, err := w.c.o.LoadCredentials()
	if err == nil {
		err = creds.Validate()
	}
	if err != nil {
		if err.Error() != w.failure {
			w.failure = err.Error()
			w.c.m.credentialsLoads.WithLabelValues("invalid").Inc()
			w.c.log.Warn("credentials cannot be used, keeping the present ones", slog.Any("error", err))
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

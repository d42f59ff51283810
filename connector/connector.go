package connector

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// Options are the optional settings of a [Connector]. The zero value of each
// field is the safe choice.
type Options struct {
	// Device names the device in events when the credentials do not. Empty
	// means "connector".
	Device string

	// Keys open end-to-end encrypted messages; the one that fits is found by
	// trying.
	Keys []pushover.E2EEKey

	// LoadCredentials reads the credentials again. It is asked every
	// CredentialsEvery (default 5 s); a change starts a new session, whatever
	// state the old one was in. nil means that credentials never change.
	LoadCredentials  func() (pushover.Credentials, error)
	CredentialsEvery time.Duration

	// ClearDelay holds the deletion of a message back for so long after its
	// event was confirmed, and then reads the event back from the log first.
	// It needs a sink that is a [Verifier]. It is for buses that can lose a
	// confirmed write with a power cut; 0 deletes at once.
	ClearDelay time.Duration

	// SafetySync is the pause between downloads that nothing asked for, against
	// lost signals; default 20 minutes. Shorter than 10 minutes counts as
	// polling and is raised to it.
	SafetySync time.Duration

	// PublishTimeout bounds one publish call; default 30 s.
	PublishTimeout time.Duration

	// ShutdownBudget bounds what may still be finished after the context of
	// Run has ended: the publish in flight, and the clearing of what it
	// confirmed; default 12 s.
	ShutdownBudget time.Duration

	// SinkConnected returns nil while the sink's connection is up; nil means
	// that there is no connection to lose.
	SinkConnected func() error

	// Metrics counts; nil counts for nobody.
	Metrics *Metrics

	// Logger; nil discards. Neither secrets nor message texts are logged.
	Logger *slog.Logger

	// Version is shown in the status.
	Version string
}

func (o Options) withDefaults() Options {
	const (
		defaultSafetySync = 20 * time.Minute
		minSafetySync     = 10 * time.Minute
	)
	setDefault(&o.Device, "connector")
	setDefault(&o.CredentialsEvery, 5*time.Second)
	setDefault(&o.SafetySync, defaultSafetySync)
	o.SafetySync = max(o.SafetySync, minSafetySync)
	setDefault(&o.PublishTimeout, 30*time.Second)
	setDefault(&o.ShutdownBudget, 12*time.Second)
	if o.SinkConnected == nil {
		o.SinkConnected = func() error { return nil }
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil, "", "", "")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// A Connector carries the messages of one device to a sink, and acknowledge
// commands back. Its methods are safe for concurrent use; Run is called once.
type Connector struct {
	base *pushover.Client
	sink Sink
	o    Options
	log  *slog.Logger
	m    *Metrics

	board       *board
	emergencies *emergencies
	commands    *commander

	wake   chan struct{} // capacity 1: wake-ups coalesce
	resume chan struct{} // capacity 1
}

// New prepares a connector; it does no I/O and starts nothing. client brings
// the first credentials, which may be empty when they are still to come.
func New(client *pushover.Client, sink Sink, o Options) (*Connector, error) {
	o = o.withDefaults()
	if o.ClearDelay > 0 {
		if _, ok := sink.(Verifier); !ok {
			return nil, errors.New("a clear delay needs a sink that can read its log back")
		}
	}
	c := &Connector{
		base: client, sink: sink, o: o, log: o.Logger, m: o.Metrics,
		board:       newBoard(o.Metrics),
		emergencies: newEmergencies(o.Metrics.emergencies),
		wake:        make(chan struct{}, 1),
		resume:      make(chan struct{}, 1),
	}
	c.commands = newCommander(c)
	return c, nil
}

// Sync asks for a download now. It returns at once.
func (c *Connector) Sync() { signal(c.wake) }

// ErrNothingToResume is returned by [Connector.Resume] when the session is not
// halted.
var ErrNothingToResume = errors.New("the session is not halted")

// Resume starts a new session with the present credentials after the session
// was halted, because the operator has removed the reason. It returns at once.
// A fenced connector cannot resume; its error wraps [ErrFenced].
func (c *Connector) Resume() error {
	switch s := c.board.state(); {
	case s == StateFenced:
		return ErrFenced
	case !s.halted():
		return ErrNothingToResume
	}
	signal(c.resume)
	return nil
}

// signal fills a channel of capacity one: one pending signal says as much as
// many.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// outlive returns a context that is cancelled grace after ctx is, and carries
// its values. It bounds what a shutdown may still finish.
func outlive(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(grace):
			cancel()
		case <-out.Done():
		}
	})
	return out, func() { stop(); cancel() }
}

// pause waits for d, or until ctx ends, and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

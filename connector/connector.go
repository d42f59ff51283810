package connector

import (
	"context"
	"errors"
	"fmt"
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

	// LoadCredentials reads the credentials again. It is asked every few seconds;
	// a change starts a new session, whatever state the old one was in. nil means
	// that credentials never change.
	LoadCredentials func() (pushover.Credentials, error)

	// Login makes the first login, when there are no credentials. An attempt that
	// never reached the service (see [pushover.Retryable]) is repeated; after any
	// other error the session waits for a person, and a resume request tries once
	// more. The error may be a [*Failure] that says what to do. nil means that
	// there is nothing to log in with.
	Login func(ctx context.Context) (pushover.Credentials, error)

	// Remedies say what mends a session in this installation.
	Remedies Remedies

	// ClearDelay postpones the deletion of a message by this much after its event
	// was confirmed; the event is then read back from the log before the deletion.
	// It requires a sink that is a [Verifier] and is meant for buses that can lose
	// a confirmed write in a power cut; 0 deletes at once.
	ClearDelay time.Duration

	// PublishTimeout bounds one publish call; default 30 s.
	PublishTimeout time.Duration

	// ShutdownBudget bounds what may still be finished after the context of
	// Run has ended: the publish in flight, and the clearing of what it
	// confirmed; default 12 s.
	ShutdownBudget time.Duration

	// Health is the account that the connector and its sink keep. nil makes one in
	// which the bus is ok.
	Health *Health

	// Metrics; nil keeps none.
	Metrics *Metrics

	// Logger; nil discards. Neither secrets nor message texts are logged.
	Logger *slog.Logger

	// Version is shown in the status.
	Version string
}

func (o Options) withDefaults() Options {
	setDefault(&o.Device, "connector")
	setDefault(&o.PublishTimeout, 30*time.Second)
	setDefault(&o.ShutdownBudget, 12*time.Second)
	o.Remedies = o.Remedies.withDefaults()
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil, "", "", "")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Health == nil {
		o.Health = NewHealth(o.Logger, o.Metrics)
		o.Health.Activity(PartBus).OK()
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// A Connector carries the messages of one device to a sink, and commands back.
// Its methods are safe for concurrent use; SetSink and Run are called once, in
// this order.
type Connector struct {
	base   *pushover.Client
	sink   Sink
	o      Options
	log    *slog.Logger
	m      *Metrics
	health *Health

	emergencies *emergencies
	commands    *commander

	wake   chan struct{} // capacity 1: wake-ups coalesce
	resume chan struct{} // capacity 1
}

// New prepares a connector; it does no I/O and starts nothing. client has the
// first credentials, which may be empty if they are yet to come. The status and
// its page are available from now on.
func New(client *pushover.Client, o Options) *Connector {
	o = o.withDefaults()
	c := &Connector{
		base: client, o: o, log: o.Logger, m: o.Metrics, health: o.Health,
		emergencies: newEmergencies(o.Metrics.emergencies),
		wake:        make(chan struct{}, 1),
		resume:      make(chan struct{}, 1),
	}
	c.commands = newCommander(c)
	if client != nil {
		// A command that waits on the bus need not wait for the session.
		if creds := client.Credentials(); creds.Validate() == nil {
			c.commands.use(client, c.deviceName(creds))
		}
	}
	return c
}

// SetSink sets where events go, once that is open. It must be called before Run
// and before the first command.
func (c *Connector) SetSink(sink Sink) error {
	if _, ok := sink.(Verifier); !ok && c.o.ClearDelay > 0 {
		return errors.New("a clear delay needs a sink that can read its log back")
	}
	c.sink = sink
	return nil
}

// Sync asks for a download now. It returns at once.
func (c *Connector) Sync() { signal(c.wake) }

// ErrNothingToResume is wrapped by the error of [Connector.Resume] when the
// session is not halted.
var ErrNothingToResume = errors.New("nothing to resume: the session is not halted")

// Resume starts a new session with the present credentials after the session
// was halted, once the operator has removed the cause. Without credentials it
// tries the first login once more. It returns at once; an error says why nothing
// will happen. A fenced connector cannot resume: its error wraps [ErrFenced].
func (c *Connector) Resume() error {
	switch s := c.health.snapshot(); {
	case s.State == StateFenced:
		return fmt.Errorf("%w: only a restart helps", ErrFenced)
	case !s.State.halted():
		return fmt.Errorf("%w, it is %s", ErrNothingToResume, s.State)
	case s.part(PartSession).Reason == ReasonNoCredentials:
		return &Failure{Reason: ReasonNoCredentials, Detail: "nothing to resume with: there are no credentials", Remedy: c.o.Remedies.Secret}
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

// expire forgets what time has settled. It is called every few seconds.
func (c *Connector) expire(now time.Time) {
	c.emergencies.expire(now)
	c.commands.prune(now)
}

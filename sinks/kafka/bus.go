package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	kafka "github.com/segmentio/kafka-go"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	// requestTimeout bounds every request. kafka-go gives a broker half of it
	// to have a write confirmed by its replicas.
	requestTimeout = 20 * time.Second

	// openTimeout bounds what Open does after the brokers have answered.
	openTimeout = 60 * time.Second
)

var errReadOnly = errors.New("this connection was opened for reading only")

// Options are the parts of a bus that are not configuration.
type Options struct {
	// Mode is the CloudEvents content mode of what is published.
	Mode connector.Mode

	// Source is the event source of the device: the key of its events, and what
	// tells two connectors for one device from two for different devices.
	Source string

	// ReadOnly opens a bus that neither publishes events nor takes the device
	// over from a running connector: for [Bus.Checks], [Bus.Read] and
	// [Bus.SendCommand]. Open then does no I/O on the network.
	ReadOnly bool

	// Name is the Kafka client id; empty means pushover-connector.
	Name string

	// Logger may be nil, to discard.
	Logger *slog.Logger

	// Health gets reports on the cluster and the control topic; may be nil.
	Health *connector.Health

	// OnDuplicate, unless nil, is called with the number of events that were not
	// published because the log holds them already.
	OnDuplicate func(n int)
}

// A Bus publishes to and takes commands from a Kafka cluster. Its methods are
// safe for concurrent use.
type Bus struct {
	config Config
	opts   Options
	log    *slog.Logger

	wire   *wire
	client *kafka.Client

	reaching *connector.Activity // the cluster and its topics; nil like the others without a Health
	claiming *connector.Activity // the fence
	serving  *connector.Activity // the control topic as a whole

	stop      context.CancelFunc // ends the keeper
	wg        sync.WaitGroup     // for the keeper
	suspicion chan struct{}      // wakes it: the cluster may be out of reach

	turn chan struct{} // held by whoever uses the producer
	producer
	lost     atomic.Bool // another connector took over
	remember int         // events per window

	topicsMu sync.Mutex
	topics   map[string]topic
}

var (
	_ connector.Sink     = (*Bus)(nil)
	_ connector.Verifier = (*Bus)(nil)
	_ connector.Reader   = (*Bus)(nil)
)

// Open reaches the brokers, verifies or creates the topics, takes the device's
// producer over, which fences an older connector off, and reads back what the
// topics already hold. When it returns nil, an older connector for the same
// device can no longer append anything.
//
// It waits until ctx ends for a cluster that cannot be reached, or is not ready
// yet. Any other error is final for this attempt; the caller may try again. One
// that wraps [connector.ErrFenced] means that another connector took over in the
// meantime.
func Open(ctx context.Context, c Config, o Options) (*Bus, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if o.Name == "" {
		o.Name = "pushover-connector"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d, err := newDialer(c, o.Name)
	if err != nil {
		return nil, err
	}
	b := &Bus{config: c, opts: o, log: o.Logger, turn: make(chan struct{}, 1), suspicion: make(chan struct{}, 1), remember: windowSize}
	b.wire = newWire(d, c.brokers(), b.topicNames())
	b.client = &kafka.Client{
		Addr:      kafka.TCP(c.brokers()...), // unused: the wire knows its brokers
		Transport: b.wire, Timeout: requestTimeout,
	}
	if o.ReadOnly {
		return b, nil
	}
	if o.Source == "" {
		return nil, errors.New("an event source is needed to publish")
	}
	if exposure := c.exposure(); exposure != "" {
		b.log.Warn("credentials sent unencrypted", "detail", exposure)
	}
	b.reaching, b.claiming = o.Health.Activity(connector.PartBus), o.Health.Activity(connector.PartBus)
	b.serving = o.Health.Activity(connector.PartCommands)
	if err := b.openReachable(ctx); err != nil {
		b.endActivities()
		b.wire.close()
		return nil, outcome(ctx, err)
	}
	keeper, stop := context.WithCancel(context.WithoutCancel(ctx)) // the bus outlives the call
	b.stop = stop
	b.wg.Go(func() { b.keep(keeper) })
	return b, nil
}

// openReachable opens, and tries again while the cluster may be starting as well.
func (b *Bus) openReachable(ctx context.Context) error {
	for pause := newBackOff(backoffMin, backoffMax); ; {
		err := b.open(ctx)
		if err == nil || ctx.Err() != nil || !passes(err) {
			return err
		}
		wait := pause.NextBackOff()
		b.report(ctx, b.reaching, err, wait)
		if sleep(ctx, wait) != nil {
			return err
		}
	}
}

func (b *Bus) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := b.prepareTopics(ctx); err != nil {
		return err
	}
	if err := b.takeOver(ctx); err != nil {
		return err
	}
	b.reaching.OK()
	return nil
}

// report tells the connector's health about an attempt and when the next will be
// made. An error after ctx has ended is not reported.
func (b *Bus) report(ctx context.Context, a *connector.Activity, err error, next time.Duration) {
	switch {
	case err == nil:
		a.OK()
	case errors.Is(err, connector.ErrFenced):
		a.Failed(failure(err), time.Time{})
	case ctx.Err() == nil:
		a.Failed(failure(err), time.Now().Add(next))
	}
}

func (b *Bus) endActivities() {
	for _, a := range []*connector.Activity{b.reaching, b.claiming, b.serving} {
		a.End()
	}
}

// Close ends the connections. It waits for a publish in flight, at most until
// ctx ends, and fails with ctx's error if that had to be cut off. Commands must
// no longer be served. Calling it again does nothing.
func (b *Bus) Close(ctx context.Context) error {
	if b.stop != nil {
		b.stop()
	}
	var err error
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		err = fmt.Errorf("close: %w", ctx.Err())
	}
	b.wire.close()
	b.wg.Wait()
	b.endActivities()
	return err
}

func (b *Bus) topicNames() []string {
	return []string{b.config.Topic, b.config.ControlTopic, b.config.ResultTopic, b.config.DeadletterTopic}
}

func (b *Bus) setTopics(topics map[string]topic) {
	b.topicsMu.Lock()
	defer b.topicsMu.Unlock()
	b.topics = topics
}

func (b *Bus) topic(name string) topic {
	b.topicsMu.Lock()
	defer b.topicsMu.Unlock()
	return b.topics[name]
}

// topicFor is the topic of a class of events.
func (b *Bus) topicFor(c connector.Class) string {
	switch c {
	case connector.ClassResult:
		return b.config.ResultTopic
	case connector.ClassDeadLetter:
		return b.config.DeadletterTopic
	default:
		return b.config.Topic
	}
}

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
	// over from a running connector: for [Bus.Checks] and [Bus.SendCommand].
	// Open does then no I/O on the network.
	ReadOnly bool

	// Name is the Kafka client id; empty means pushover-connector.
	Name string

	// Logger may be nil, to discard.
	Logger *slog.Logger

	// OnState, unless nil, is told of every change: when the cluster is
	// reached, when it is lost (with one of the Reason constants), when the
	// reason changes. It must not block and not call the bus.
	OnState func(connected bool, reason string, err error)

	// OnDuplicate, unless nil, is told of events that were not published
	// because the log holds them already.
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
	health health

	stop context.CancelFunc // ends the keeper
	wg   sync.WaitGroup     // for the keeper

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
)

// Open reaches the brokers, verifies or creates the topics, takes the device's
// producer over, which fences an older connector off, and reads back what the
// topics already hold. When it returns nil, an older connector for the same
// device can no longer append anything.
//
// It waits until ctx ends for a cluster that takes no connection. Any other error
// is final for this attempt; the caller may try again. One that wraps
// [connector.ErrFenced] means that another connector took over in the meantime.
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
	b := &Bus{config: c, opts: o, log: o.Logger, turn: make(chan struct{}, 1), remember: windowSize}
	b.health.notify = o.OnState
	b.wire = newWire(d, c.brokers(), b.topicNames())
	b.client = &kafka.Client{
		Addr:      kafka.TCP(c.brokers()...), // unused: the wire knows its brokers
		Transport: b.wire, Timeout: requestTimeout,
	}
	if o.ReadOnly {
		return b, nil
	}
	if o.Source == "" {
		return nil, errors.New("kafka: an event source is needed to publish")
	}
	if exposure := c.exposure(); exposure != "" {
		b.log.Warn("kafka credentials travel in the clear", "detail", exposure)
	}
	if err := b.openReachable(ctx); err != nil {
		b.wire.close()
		return nil, fmt.Errorf("kafka: %w", err)
	}
	keeper, stop := context.WithCancel(context.WithoutCancel(ctx)) // the bus outlives the call
	b.stop = stop
	b.wg.Go(func() { b.keep(keeper) })
	return b, nil
}

// openReachable opens, and tries again while nobody takes the connection: the
// cluster may be starting as well.
func (b *Bus) openReachable(ctx context.Context) error {
	for pause := newPause(backoffMin, backoffMax); ; {
		err := b.open(ctx)
		if err == nil || reasonOf(err) != ReasonDial {
			return err
		}
		if pause.current == 0 {
			b.log.Warn("kafka cannot be reached yet", "error", err)
		}
		if ended := sleep(ctx, pause.next()); ended != nil {
			return fmt.Errorf("%w: %w", ended, err)
		}
	}
}

func (b *Bus) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := b.prepareTopics(ctx); err != nil {
		b.health.set(jobPublish, err)
		return err
	}
	if err := b.takeOver(ctx); err != nil {
		b.health.set(jobPublish, err)
		return err
	}
	b.health.set(jobPublish, nil)
	return nil
}

// Connected returns nil while the last request of every kind succeeded, else
// what fails.
func (b *Bus) Connected() error { return b.health.connected() }

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
		err = fmt.Errorf("kafka: close: %w", ctx.Err())
	}
	b.wire.close()
	b.wg.Wait()
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

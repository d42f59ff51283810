package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	*cluster
	opts Options

	stop context.CancelFunc // ends the keeper
	wg   sync.WaitGroup     // for the keeper

	mu        sync.Mutex
	source    string // of the device that the bus writes for now
	producers []*producer
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
	k, err := newCluster(c, o)
	if err != nil {
		return nil, err
	}
	b := &Bus{cluster: k, opts: o}
	if o.ReadOnly {
		return b, nil
	}
	if o.Source == "" {
		return nil, errors.New("an event source is needed to publish")
	}
	if exposure := c.exposure(); exposure != "" {
		b.log.Warn("credentials sent unencrypted", "detail", exposure)
	}
	b.reaching = o.Health.Activity(connector.PartBus)
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
	if err := b.prepareTopics(ctx, b.config.Topic); err != nil {
		return err
	}
	if err := b.producer(b.config.Topic, b.opts.Source).takeOver(ctx); err != nil {
		return err
	}
	b.reaching.OK()
	return nil
}

func (b *Bus) endActivities() {
	b.reaching.End()
	for _, pr := range b.all() {
		pr.claiming.End()
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
	for _, pr := range slices.Backward(b.all()) { // those of messages last: the others use them in their turn
		select {
		case pr.turn <- struct{}{}:
			defer func() { <-pr.turn }()
		case <-ctx.Done():
			err = fmt.Errorf("close: %w", ctx.Err())
		}
	}
	b.wire.close()
	b.wg.Wait()
	b.endActivities()
	return err
}

func (b *Bus) all() []*producer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.producers)
}

// producer returns the producer for a topic and a source: that of the device, or of
// one that it has become under new credentials.
func (b *Bus) producer(topic, source string) *producer {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := b.find(b.config.Topic, source)
	if first == nil {
		first = b.add(b.config.Topic, source, nil)
		b.leave(b.source)
		b.source = source
	}
	if topic == b.config.Topic {
		return first
	}
	if pr := b.find(topic, source); pr != nil {
		return pr
	}
	return b.add(topic, source, first)
}

func (b *Bus) find(topic, source string) *producer {
	if i := slices.IndexFunc(b.producers, func(pr *producer) bool { return pr.to == topic && pr.source == source }); i >= 0 {
		return b.producers[i]
	}
	return nil
}

func (b *Bus) add(topic, source string, first *producer) *producer {
	pr := &producer{
		cluster: b.cluster, to: topic, source: source, first: first,
		mode: b.opts.Mode, onDuplicate: b.opts.OnDuplicate, remember: windowSize,
		claiming: b.opts.Health.Activity(connector.PartBus), turn: make(chan struct{}, 1),
	}
	if first != nil {
		pr.lost = first.lost
	} else {
		pr.lost = new(atomic.Bool)
	}
	b.producers = append(b.producers, pr)
	return pr
}

// leave gives up the claim to a device that the connector no longer is. Its last
// events may still come; another connector may have it.
func (b *Bus) leave(source string) {
	for _, pr := range b.producers {
		if pr.source == source {
			pr.claiming.End()
		}
	}
}

// current returns the producers of the device that the bus writes for now.
func (b *Bus) current() []*producer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.producers), func(pr *producer) bool { return pr.source != b.source })
}

// fenced tells whether another connector took over the device that the bus writes
// for now.
func (b *Bus) fenced() bool {
	for _, pr := range b.current() {
		return pr.lost.Load()
	}
	return false
}

// each calls f for the events of one producer after the other, as long as f says that
// all of them went well.
func (b *Bus) each(ctx context.Context, events []connector.Event, f func(*producer, []connector.Event) (int, error)) (done int, err error) {
	if b.opts.ReadOnly {
		return 0, errReadOnly
	}
	for done < len(events) {
		topic, source := b.topicFor(events[done].Class), events[done].Source
		n := done + 1
		for n < len(events) && b.topicFor(events[n].Class) == topic && events[n].Source == source {
			n++
		}
		pr, run := b.producer(topic, source), events[done:n]
		m, err := pr.inTurn(ctx, func() (int, error) { return f(pr, run) })
		done += m
		if err != nil || m < len(run) {
			return done, err
		}
	}
	return done, nil
}

// Publish implements [connector.Sink]. Each event goes to the partition its key
// maps to, in batches as large as the topic allows; a batch is appended as a
// whole or not at all.
//
// A repeat of an event is recognised as long as the topic's retention keeps the
// event, except where the topic holds some five million records after it, ours
// or foreign: so far back nothing is looked for, and the log says so once.
func (b *Bus) Publish(ctx context.Context, events []connector.Event) (int, error) {
	return b.each(ctx, events, func(pr *producer, run []connector.Event) (int, error) { return pr.publish(ctx, run) })
}

// Holds implements [connector.Verifier]. It reads the records where they were
// written, or, where that is not known, searches the tail of the partition.
func (b *Bus) Holds(ctx context.Context, events []connector.Event) (int, error) {
	return b.each(ctx, events, func(pr *producer, run []connector.Event) (int, error) { return pr.holds(ctx, run) })
}

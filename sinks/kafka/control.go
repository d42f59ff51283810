package kafka

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	// maxInHand bounds the commands of one partition that are being carried out
	// or wait to be carried out again. While there are as many, later ones stay
	// in the topic.
	maxInHand = 256

	controlWait  = 5 * time.Second // of one fetch; a new command ends it at once
	controlGrace = 4 * time.Second // for the answer after it

	// A group's offset is forgotten seven days after its last commit
	// (offsets.retention.minutes), commands or not.
	recommitInterval = 6 * time.Hour

	// How often partitions added to the control topic are looked for.
	partitionsInterval = 5 * time.Minute

	backoffMin = 250 * time.Millisecond
	backoffMax = 10 * time.Second

	// finalCommit bounds the last commit when serving ends.
	finalCommit = 2 * time.Second
)

// ServeCommands hands every command of the control topic to h until ctx ends,
// and then returns nil, with all handlers ended. On the group's first start it
// begins with the first command in the topic. A command's offset is committed
// once it and all before it in the partition are settled, so a crash repeats
// commands, but loses none.
//
// Commands with the same [connector.CommandKey] are handed over one after the
// other, others side by side, 256 per partition at most. Whatever fails between
// us and the cluster is retried, a missing topic included, and reported to
// [Options].Health.
//
// A control topic that is deleted and recreated is read from its first command
// on. Commands of transactions that were aborted are passed over, and those of
// a transaction that is open are waited for, as are all that follow them.
//
// No group is joined: the connector is the only consumer. If several connectors
// share a control topic, each needs a group of its own. One that was fenced off
// commits nothing any more.
func (b *Bus) ServeCommands(ctx context.Context, h connector.CommandHandler) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	serving := 0
	for pause := newBackOff(backoffMin, backoffMax); ctx.Err() == nil; {
		topics, err := b.describe(ctx, []string{b.config.ControlTopic})
		if err == nil {
			err = topics[b.config.ControlTopic].err
		}
		if err != nil {
			b.wire.forget()
			wait := pause.NextBackOff()
			b.failed(ctx, b.serving, b.explain(err, b.config.ControlTopic), wait)
			_ = sleep(ctx, wait)
			continue
		}
		b.serving.OK()
		pause.Reset()
		if serving < topics[b.config.ControlTopic].partitions {
			b.wire.forget() // the layout may be older than the topic
		}
		for ; serving < topics[b.config.ControlTopic].partitions; serving++ {
			s := &server{
				bus: b, handler: h, partition: serving, queues: map[string][]item{},
				reading: b.opts.Health.Activity(connector.PartCommands), committing: b.opts.Health.Activity(connector.PartCommands),
			}
			wg.Go(func() { s.run(ctx) })
		}
		_ = sleep(ctx, partitionsInterval)
	}
	return nil
}

// A server serves one partition of the control topic.
type server struct {
	bus       *Bus
	handler   connector.CommandHandler
	partition int

	reading, committing *connector.Activity

	workers sync.WaitGroup

	mu     sync.Mutex
	queues map[string][]item // by command key; the first is in hand
}

type item struct {
	offset  int64
	body    []byte
	time    time.Time
	settled chan<- int64 // never blocks
}

func (s *server) run(ctx context.Context) {
	defer s.committing.End()
	defer s.reading.End()
	defer s.workers.Wait()
	s.committing.OK()
	var st *stretch
	for pause := newBackOff(backoffMin, backoffMax); ctx.Err() == nil; {
		begun, err := s.begin(ctx, st)
		switch {
		case errors.Is(err, protocol.ErrNoPartition) && s.vanished(ctx):
			s.bus.log.Info("control partition gone", "partition", s.partition)
			s.reading.OK()
			_ = sleep(ctx, partitionsInterval)
			continue
		case err == nil:
			s.committing.OK()
			if st == nil {
				s.reading.OK()
			}
			st = begun
			var read bool
			if read, err = s.serve(ctx, st); read {
				pause.Reset()
			}
		}
		wait := pause.NextBackOff()
		s.bus.failed(ctx, s.reading, err, wait)
		_ = sleep(ctx, wait)
	}
}

// failed reports a failure, if it is one, and has the keeper look at the cluster.
func (b *Bus) failed(ctx context.Context, a *connector.Activity, err error, next time.Duration) {
	if err != nil && ctx.Err() == nil {
		b.report(ctx, a, err, next)
		b.suspect()
	}
}

// vanished tells whether the topic has fewer partitions than it had, having been
// recreated, rather than more than we know of.
func (s *server) vanished(ctx context.Context) bool {
	name := s.bus.config.ControlTopic
	topics, err := s.bus.describe(ctx, []string{name})
	return err == nil && topics[name].err == nil && s.partition >= topics[name].partitions
}

// begin finds where to begin: at the committed offset, or at the first command
// if there is none or the log does not reach there. When that shows the topic to
// be the one that was served before, that goes on.
func (s *server) begin(ctx context.Context, before *stretch) (*stretch, error) {
	first, end, err := s.bus.bounds(ctx, s.bus.config.ControlTopic, s.partition)
	if err != nil {
		return nil, err
	}
	at, err := s.bus.committed(ctx, s.partition)
	if err != nil {
		return nil, err
	}
	// A group's offsets are deleted with the topic.
	if before != nil && at >= 0 && at == before.committed && first <= before.next && before.next <= end {
		return before, nil
	}
	next := at
	if at < first || at > end {
		next = first
	}
	switch {
	case at >= 0 && next != at:
		s.bus.log.Warn("committed offset out of range, continuing from the first one",
			"partition", s.partition, "offset", at, "first", first)
	case before != nil && before.next != next:
		s.bus.log.Warn("control topic probably recreated, starting from its first offset",
			"partition", s.partition, "offset", before.next, "first", next)
	}
	return &stretch{
		ledger: newLedger(next), next: next, committed: at,
		settled: make(chan int64, maxInHand), slots: make(chan struct{}, maxInHand),
	}, nil
}

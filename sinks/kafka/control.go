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
	// maxInHand bounds the commands of one partition from the first that is not
	// settled on: those that are being carried out, or wait to be carried out again,
	// or were settled out of turn. While there are as many, later ones stay in the
	// topic. It is half of tailOwn, the results that are read back at a start.
	maxInHand = 500

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
// Commands are handed over side by side, in no order, some hundred per partition at
// most. Whatever fails between us and the cluster is retried, a missing topic
// included, and reported to [Options].Health.
//
// A control topic that is deleted and recreated is read from its first command
// on. Commands of transactions that were aborted are passed over, and those of
// a transaction that is open are waited for, as are all that follow them.
//
// No group is joined. Of several connectors with one group, one carries commands out
// and the others stand by. One that was fenced off commits nothing any more.
func (b *Bus) ServeCommands(ctx context.Context, h connector.CommandHandler) error {
	b.commands(h).serve(ctx)
	return nil
}

func (b *Bus) commands(h connector.CommandHandler) *commandServer {
	return &commandServer{cluster: b.cluster, health: b.opts.Health, fenced: b.fenced, handler: h}
}

// A commandServer serves the control topic.
type commandServer struct {
	*cluster
	health  *connector.Health
	fenced  func() bool // another connector has taken the device over
	handler connector.CommandHandler
}

func (c *commandServer) serve(ctx context.Context) {
	looking := c.health.Activity(connector.PartCommands) // at the topic
	defer looking.End()
	for c.awaitTurn(ctx, looking) {
		serving, lost := context.WithCancel(ctx)
		var keeping sync.WaitGroup
		keeping.Go(func() { c.keepTurn(serving, lost) })
		c.servePartitions(serving, looking)
		lost()
		keeping.Wait()
		c.leaveTurn(ctx)
	}
}

// servePartitions serves all partitions of the topic until ctx ends.
func (c *commandServer) servePartitions(ctx context.Context, looking *connector.Activity) {
	var wg sync.WaitGroup
	defer wg.Wait()
	name, serving := c.config.ControlTopic, 0
	for pause := newBackOff(backoffMin, backoffMax); ctx.Err() == nil; {
		topics, err := c.describe(ctx, []string{name})
		if err == nil {
			err = topics[name].err
		}
		if err != nil {
			c.wire.forget()
			wait := pause.NextBackOff()
			c.failed(ctx, looking, c.explain(err, name), wait)
			_ = sleep(ctx, wait)
			continue
		}
		looking.OK()
		pause.Reset()
		if serving < topics[name].partitions {
			c.wire.forget() // the layout may be older than the topic
		}
		for ; serving < topics[name].partitions; serving++ {
			s := &server{
				commandServer: c, partition: serving,
				reading: c.health.Activity(connector.PartCommands), committing: c.health.Activity(connector.PartCommands),
			}
			wg.Go(func() { s.run(ctx) })
		}
		_ = sleep(ctx, partitionsInterval)
	}
}

// A server serves one partition of the control topic.
type server struct {
	*commandServer
	partition           int
	reading, committing *connector.Activity
	workers             sync.WaitGroup
}

type item struct {
	offset  int64
	body    []byte
	time    time.Time
	arrived time.Time    // when the topic did not have it yet; zero if that is not known
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
			s.log.Info("control partition gone", "partition", s.partition)
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
		s.failed(ctx, s.reading, err, wait)
		_ = sleep(ctx, wait)
	}
}

// vanished tells whether the topic has fewer partitions than it had, having been
// recreated, rather than more than we know of.
func (s *server) vanished(ctx context.Context) bool {
	name := s.config.ControlTopic
	topics, err := s.describe(ctx, []string{name})
	return err == nil && topics[name].err == nil && s.partition >= topics[name].partitions
}

// begin finds where to begin: at the committed offset, or at the first command
// if there is none or the log does not reach there. When that shows the topic to
// be the one that was served before, that goes on.
func (s *server) begin(ctx context.Context, before *stretch) (*stretch, error) {
	looked := time.Now()
	first, end, err := s.bounds(ctx, s.config.ControlTopic, s.partition)
	if err != nil {
		return nil, err
	}
	at, _, err := s.fetchOffset(ctx, s.config.Group, s.partition)
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
		s.log.Warn("committed offset out of range, continuing from the first one",
			"partition", s.partition, "offset", at, "first", first)
	case before != nil && before.next != next:
		s.log.Warn("control topic probably recreated, starting from its first offset",
			"partition", s.partition, "offset", before.next, "first", next)
	}
	return &stretch{
		ledger: newLedger(next), next: next, end: end, looked: looked, committed: at,
		settled: make(chan int64, maxInHand), slots: make(chan struct{}, maxInHand),
	}, nil
}

package kafka

import (
	"context"
	"errors"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	// maxInHand bounds the commands of one partition that are being carried out
	// or wait to be carried out again. While there are as many, later ones stay
	// in the topic.
	maxInHand = 256

	controlWait = 5 * time.Second // of one fetch; a new command ends it at once

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
// us and the cluster is waited out, a missing topic included; the log tells of
// the first failure, of each change and of the end of it.
//
// A control topic that is deleted and made anew is read from its first command
// on. Commands of transactions that were aborted are passed over, and those of
// a transaction that is open are waited for, as are all that follow them.
//
// No group is joined: the connector is the only consumer. If several connectors
// share a control topic, each needs a group of its own. One that was fenced off
// commits nothing any more.
func (b *Bus) ServeCommands(ctx context.Context, h connector.CommandHandler) error {
	trouble := newTrouble(b)
	var wg sync.WaitGroup
	defer wg.Wait()
	serving := 0
	for pause := newPause(backoffMin, backoffMax); ctx.Err() == nil; {
		topics, err := b.describe(ctx, []string{b.config.ControlTopic})
		if err == nil {
			err = topics[b.config.ControlTopic].err
		}
		if err != nil {
			b.wire.forget()
			trouble.note(ctx, wholeTopic, b.explain(err, b.config.ControlTopic))
			_ = sleep(ctx, pause.next())
			continue
		}
		trouble.note(ctx, wholeTopic, nil)
		pause.reset()
		for ; serving < topics[b.config.ControlTopic].partitions; serving++ {
			s := &server{bus: b, handler: h, partition: serving, trouble: trouble, queues: map[string][]item{}}
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
	trouble   *trouble

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

// A stretch is the serving of a partition from one offset on, as long as offsets
// mean the same. It outlives moments in which the topic is not to be seen. When
// the topic is made anew another stretch begins; commands of the old one that
// are in hand are carried out, but say nothing about what to commit.
type stretch struct {
	ledger    *ledger
	next      int64 // to fetch
	committed int64 // the group's offset, −1 = none
	dirty     bool  // the ledger is ahead of it
	settled   chan int64
	slots     chan struct{} // taken by commands in hand
}

func (s *server) run(ctx context.Context) {
	defer s.workers.Wait()
	var st *stretch
	for pause := newPause(backoffMin, backoffMax); ctx.Err() == nil; {
		begun, err := s.begin(ctx, st)
		switch {
		case errors.Is(err, protocol.ErrNoPartition) && s.vanished(ctx):
			s.bus.log.Info("the control topic no longer has this partition", "partition", s.partition)
			s.trouble.note(ctx, s.partition, nil)
			_ = sleep(ctx, partitionsInterval)
			continue
		case err != nil:
			s.trouble.note(ctx, s.partition, err)
			_ = sleep(ctx, pause.next())
			continue
		}
		s.trouble.note(ctx, committing(s.partition), nil)
		if st == nil {
			s.trouble.note(ctx, s.partition, nil)
		}
		st = begun
		if s.serve(ctx, st) {
			pause.reset()
		}
		_ = sleep(ctx, pause.next())
	}
}

// vanished tells whether the topic has fewer partitions than it had, having been
// made anew, rather than more than was known.
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
		s.bus.log.Warn("the control topic no longer has the next command's offset; going on with the first it has",
			"partition", s.partition, "offset", at, "first", first)
	case before != nil && before.next != next:
		s.bus.log.Warn("the control topic was made anew, or cannot be told from one that was", "partition", s.partition, "offset", before.next, "first", next)
	}
	return &stretch{
		ledger: newLedger(next), next: next, committed: at,
		settled: make(chan int64, maxInHand), slots: make(chan struct{}, maxInHand),
	}, nil
}

// serve fetches and commits until ctx ends, or the topic does not have the next
// offset. It returns whether anything was read. Fetching goes on beside it in a
// goroutine of its own, because a fetch waits for the next command.
func (s *server) serve(ctx context.Context, st *stretch) (read bool) {
	fetched := make(chan item)
	stopped := make(chan bool, 1)
	s.workers.Go(func() { stopped <- s.fetchLoop(ctx, st, fetched) })

	committed := time.Now()
	pause := newPause(backoffMin, backoffMax)
	var retry <-chan time.Time
	if st.dirty {
		retry = time.After(pause.next())
	}
	recommit := time.NewTicker(recommitInterval)
	defer recommit.Stop()
	for {
		select {
		case it := <-fetched:
			st.ledger.take(it.offset)
			s.hand(ctx, it)
		case offset := <-st.settled:
			st.settle(offset)
			st.settleMore()
		case <-recommit.C:
			st.dirty = st.dirty || st.ledger.next > 0 && time.Since(committed) >= recommitInterval/2
		case <-retry:
			retry = nil
		case read = <-stopped:
			if ctx.Err() == nil {
				return read
			}
			s.finish(ctx, st)
			return read
		case <-ctx.Done():
			s.finish(ctx, st)
			return true
		}
		if st.dirty && retry == nil {
			err := s.bus.commit(ctx, s.partition, st.ledger.next)
			s.trouble.note(ctx, committing(s.partition), err)
			switch {
			case errors.Is(err, connector.ErrFenced):
				st.dirty = false
				continue
			case err != nil:
				retry = time.After(pause.next())
				continue
			}
			st.dirty, st.committed, committed = false, st.ledger.next, time.Now()
			pause.reset()
		}
	}
}

// settle notes that a command has ended and makes room for another.
func (st *stretch) settle(offset int64) {
	<-st.slots
	st.dirty = st.ledger.settle(offset) || st.dirty
}

// settleMore settles what else has ended by now.
func (st *stretch) settleMore() {
	for {
		select {
		case offset := <-st.settled:
			st.settle(offset)
		default:
			return
		}
	}
}

// finish waits for the handlers, whose context has ended, and commits what they
// settled. It uses a context of its own for that, since the one it serves under
// is over; not committing would merely repeat commands.
func (s *server) finish(ctx context.Context, st *stretch) {
	s.workers.Wait()
	st.settleMore()
	if !st.dirty {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalCommit)
	defer cancel()
	if err := s.bus.commit(ctx, s.partition, st.ledger.next); err != nil {
		s.bus.log.Warn("last commit of the control topic failed; the last commands will be carried out again", "error", err)
	}
}

// fetchLoop reads commands and passes them on, no more than there are slots,
// until ctx ends or the topic does not have the next offset. It returns whether
// anything was read.
func (s *server) fetchLoop(ctx context.Context, st *stretch, out chan<- item) (read bool) {
	pause := newPause(backoffMin, backoffMax)
	for ctx.Err() == nil {
		var items []item
		after, err := s.bus.fetch(ctx, s.bus.config.ControlTopic, s.partition, st.next, controlWait, kafka.ReadCommitted, func(r *kafka.Record) error {
			body, err := readAll(r.Value)
			if err != nil {
				return err
			}
			items = append(items, item{offset: r.Offset, body: body, time: r.Time, settled: st.settled})
			return nil
		})
		if errors.Is(err, kafka.OffsetOutOfRange) {
			return read // retention deleted it, or the topic was made anew
		}
		s.trouble.note(ctx, s.partition, err)
		if missingTopic(err) {
			return read
		}
		if err != nil {
			_ = sleep(ctx, pause.next())
			continue
		}
		pause.reset()
		read = true
		for _, it := range items {
			select {
			case st.slots <- struct{}{}:
			case <-ctx.Done():
				return read
			}
			select {
			case out <- it:
				st.next = it.offset + 1
			case <-ctx.Done():
				return read
			}
		}
		st.next = after
	}
	return read
}

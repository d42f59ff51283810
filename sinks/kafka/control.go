package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"

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

	// handBackMin and handBackMax pace a command whose handler failed without
	// saying when to try again.
	handBackMin = time.Second
	handBackMax = 30 * time.Second

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
// No group is joined: the connector is the only consumer. If several connectors
// share a control topic, each needs a group of its own.
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
			s := &server{bus: b, handler: h, partition: serving, trouble: trouble, queues: map[string][]item{}, settled: make(chan int64, maxInHand)}
			wg.Go(func() { s.run(ctx) })
		}
		_ = sleep(ctx, partitionsInterval)
	}
	return nil
}

// A server serves one partition of the control topic. Its run method owns the
// ledger; goroutines that carry out commands report to it.
type server struct {
	bus       *Bus
	handler   connector.CommandHandler
	partition int
	trouble   *trouble

	ledger  *ledger
	settled chan int64
	workers sync.WaitGroup

	mu     sync.Mutex
	queues map[string][]item // by command key; the first is in hand
}

type item struct {
	offset int64
	body   []byte
	time   time.Time
}

func (s *server) run(ctx context.Context) {
	defer s.workers.Wait()
	pause := newPause(backoffMin, backoffMax)
	for ctx.Err() == nil {
		next, err := s.start(ctx)
		s.trouble.note(ctx, s.partition, err)
		if err != nil {
			_ = sleep(ctx, pause.next())
			continue
		}
		s.ledger = newLedger(next)
		s.serve(ctx, next)
		return
	}
}

// start finds the offset to begin with: the committed one, else the first.
func (s *server) start(ctx context.Context) (int64, error) {
	at, err := s.bus.committed(ctx, s.partition)
	if err != nil || at >= 0 {
		return at, err
	}
	return s.bus.listOffset(ctx, s.bus.config.ControlTopic, s.partition, kafka.FirstOffset)
}

// serve fetches and commits until ctx ends. Fetching goes on beside it in a
// goroutine of its own, because a fetch waits for the next command.
func (s *server) serve(ctx context.Context, next int64) {
	fetched := make(chan []item)
	slots := make(chan struct{}, maxInHand)
	s.workers.Go(func() { s.fetchLoop(ctx, next, fetched, slots) })

	committed := time.Now()
	dirty := false
	var retry <-chan time.Time
	pause := newPause(backoffMin, backoffMax)
	recommit := time.NewTicker(recommitInterval)
	defer recommit.Stop()
	for {
		select {
		case items := <-fetched:
			for _, it := range items {
				s.ledger.take(it.offset)
				s.hand(ctx, it)
			}
		case offset := <-s.settled:
			<-slots
			dirty = s.ledger.settle(offset) || dirty
			for more := true; more; {
				select {
				case offset := <-s.settled:
					<-slots
					dirty = s.ledger.settle(offset) || dirty
				default:
					more = false
				}
			}
		case <-recommit.C:
			dirty = dirty || s.ledger.next > 0 && time.Since(committed) >= recommitInterval/2
		case <-retry:
			retry = nil
		case <-ctx.Done():
			s.finish(ctx, dirty)
			return
		}
		if dirty && retry == nil {
			err := s.bus.commit(ctx, s.partition, s.ledger.next)
			s.trouble.note(ctx, committing(s.partition), err)
			if err != nil {
				retry = time.After(pause.next())
				continue
			}
			dirty, committed = false, time.Now()
			pause.reset()
		}
	}
}

// finish waits for the handlers, whose context has ended, and commits what they
// settled. It uses a context of its own for that, since the one it serves under
// is over; not committing would merely repeat commands.
func (s *server) finish(ctx context.Context, dirty bool) {
	ended := make(chan struct{})
	go func() { s.workers.Wait(); close(ended) }()
	for waiting := true; waiting; {
		select {
		case offset := <-s.settled:
			dirty = s.ledger.settle(offset) || dirty
		case <-ended:
			waiting = false
		}
	}
	for more := true; more; {
		select {
		case offset := <-s.settled:
			dirty = s.ledger.settle(offset) || dirty
		default:
			more = false
		}
	}
	if !dirty {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalCommit)
	defer cancel()
	if err := s.bus.commit(ctx, s.partition, s.ledger.next); err != nil {
		s.bus.log.Warn("last commit of the control topic failed; the last commands will be carried out again", "error", err)
	}
}

// fetchLoop reads commands and passes them on, no more than there are slots.
func (s *server) fetchLoop(ctx context.Context, next int64, out chan<- []item, slots chan struct{}) {
	b, name := s.bus, s.bus.config.ControlTopic
	pause := newPause(backoffMin, backoffMax)
	for ctx.Err() == nil {
		var items []item
		after, err := b.fetch(ctx, name, s.partition, next, controlWait, func(r *kafka.Record) error {
			body, err := readAll(r.Value)
			if err != nil {
				return err
			}
			items = append(items, item{offset: r.Offset, body: body, time: r.Time})
			return nil
		})
		if errors.Is(err, kafka.OffsetOutOfRange) {
			after, err = s.reset(ctx, next)
		}
		s.trouble.note(ctx, s.partition, err)
		if err != nil {
			_ = sleep(ctx, pause.next())
			continue
		}
		pause.reset()
		next = after
		for _, it := range items {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			select {
			case out <- []item{it}:
			case <-ctx.Done():
				return
			}
		}
	}
}

// reset finds where to go on when the broker no longer, or not yet, has the
// offset: retention deleted it, or the topic was made anew.
func (s *server) reset(ctx context.Context, lost int64) (int64, error) {
	first, err := s.bus.listOffset(ctx, s.bus.config.ControlTopic, s.partition, kafka.FirstOffset)
	if err == nil {
		s.bus.log.Warn("the control topic no longer has the next command's offset; going on with the first it has",
			"partition", s.partition, "offset", lost, "first", first)
	}
	return first, err
}

// hand queues a command behind those with the same key, and starts a worker for
// the key if there is none.
func (s *server) hand(ctx context.Context, it item) {
	key := connector.CommandKey(it.body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues[key] = append(s.queues[key], it)
	if len(s.queues[key]) == 1 {
		s.workers.Go(func() { s.work(ctx, key) })
	}
}

// work carries out the commands of one key, in order, until there are none.
func (s *server) work(ctx context.Context, key string) {
	for {
		s.mu.Lock()
		queue := s.queues[key]
		if len(queue) == 0 {
			delete(s.queues, key)
			s.mu.Unlock()
			return
		}
		it := queue[0]
		s.mu.Unlock()

		if !s.carryOut(ctx, it) {
			return
		}
		s.settled <- it.offset

		s.mu.Lock()
		s.queues[key] = s.queues[key][1:]
		s.mu.Unlock()
	}
}

// carryOut hands one command over as often as it takes. It returns false when
// ctx ended first.
func (s *server) carryOut(ctx context.Context, it item) bool {
	pause := newPause(handBackMin, handBackMax)
	for attempt := 1; ; attempt++ {
		_, err := s.handler(ctx, connector.Command{
			ID: commandID(s.bus.config.ControlTopic, s.partition, it.offset), Body: it.body, Time: it.time, Attempt: attempt,
		})
		if err == nil {
			return true
		}
		wait := pause.next()
		var again *connector.RetryError
		if errors.As(err, &again) {
			wait = again.After
		}
		if sleep(ctx, wait) != nil {
			return false
		}
	}
}

// commandID names a command by its place, which no other command ever has.
func commandID(topic string, partition int, offset int64) string {
	return fmt.Sprintf("%s/%d@%d", topic, partition, offset)
}

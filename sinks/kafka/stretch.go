package kafka

import (
	"bytes"
	"context"
	"errors"
	"time"

	kafka "github.com/segmentio/kafka-go"

	"github.com/pushover-connector/pushover-connector/connector"
)

// A stretch is the serving of a partition from one offset on, as long as offsets
// mean the same. It outlives moments in which the topic cannot be seen. When the
// topic is recreated another stretch begins; commands of the old one that
// are in hand are carried out, but say nothing about what to commit.
type stretch struct {
	ledger    *ledger
	next      int64 // to fetch
	end       int64 // of the topic when it was looked at
	looked    time.Time
	committed int64 // the group's offset, −1 = none
	dirty     bool  // the ledger is ahead of it
	settled   chan int64
	slots     chan struct{} // taken by commands from next on, settled or not
}

// serve fetches and commits until ctx ends, or the topic does not have the next
// offset. It returns whether anything was read, and what is wrong with the topic.
// Fetching goes on beside it in a goroutine of its own, because a fetch waits for
// the next command.
func (s *server) serve(ctx context.Context, st *stretch) (read bool, err error) {
	fetched := make(chan item)
	stopped := make(chan struct{})
	s.workers.Go(func() {
		defer close(stopped)
		read, err = s.fetchLoop(ctx, st, fetched)
	})

	committed := time.Now()
	pause := newBackOff(backoffMin, backoffMax)
	var retry <-chan time.Time
	if st.dirty {
		retry = time.After(pause.NextBackOff())
	}
	recommit := time.NewTicker(recommitInterval)
	defer recommit.Stop()
	for {
		select {
		case it := <-fetched:
			st.ledger.take(it.offset)
			s.workers.Go(func() { s.carryOut(ctx, it) })
		case offset := <-st.settled:
			st.settle(offset)
			st.settleMore()
		case <-recommit.C:
			st.dirty = st.dirty || st.ledger.next > 0 && time.Since(committed) >= recommitInterval/2
		case <-retry:
			retry = nil
		case <-stopped:
			if ctx.Err() != nil {
				s.finish(ctx, st)
			}
			return read, err
		case <-ctx.Done():
			s.finish(ctx, st)
			return true, nil
		}
		if st.dirty && retry == nil {
			err := s.commit(ctx, s.partition, st.ledger.next)
			wait := pause.NextBackOff()
			s.failed(ctx, s.committing, err, wait)
			switch {
			case errors.Is(err, connector.ErrFenced):
				st.dirty = false
				continue
			case err != nil:
				retry = time.After(wait)
				continue
			}
			s.committing.OK()
			st.dirty, st.committed, committed = false, st.ledger.next, time.Now()
			pause.Reset()
		}
	}
}

// settle notes that a command has ended, and makes room for others if all before it
// have: what would be repeated after a crash must be less than the results that
// are read back then.
func (st *stretch) settle(offset int64) {
	for range st.ledger.settle(offset) {
		<-st.slots
		st.dirty = true
	}
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
	if err := s.commit(ctx, s.partition, st.ledger.next); err != nil {
		s.log.Warn("final commit failed, the last commands will be carried out again",
			"partition", s.partition, "error", err)
	}
}

// fetchLoop reads commands and passes them on, no more than there are slots,
// until ctx ends, or the topic is missing or does not have the next offset. It
// returns whether anything was read.
func (s *server) fetchLoop(ctx context.Context, st *stretch, out chan<- item) (read bool, err error) {
	pause := newBackOff(backoffMin, backoffMax)
	for patience := controlWait; ctx.Err() == nil; {
		at, err := s.fetchOnce(ctx, st, patience, out)
		if ctx.Err() != nil {
			continue
		}
		if errors.Is(err, kafka.OffsetOutOfRange) {
			return read, nil // retention deleted it, or the topic was recreated
		}
		if missingTopic(err) {
			return read, err
		}
		if err != nil {
			wait := pause.NextBackOff()
			s.failed(ctx, s.reading, err, wait)
			_ = sleep(ctx, wait)
			patience = 0 // to say at once that it works again
			continue
		}
		s.reading.OK()
		pause.Reset()
		patience = controlWait
		read = true
		st.next, st.end, st.looked = at.next, at.end, at.time
	}
	return read, nil
}

// fetchOnce reads once, waits for a first command as long as patience says, and
// hands on each command as it is decoded: all that an answer holds may be more than
// there is memory for.
func (s *server) fetchOnce(ctx context.Context, st *stretch, patience time.Duration, out chan<- item) (fetched, error) {
	fetching, cancel := context.WithTimeout(ctx, patience+controlGrace)
	defer cancel()
	began := time.Now()
	// After an outage the last look was too long ago to tell when a command came.
	news := st.next >= st.end && began.Sub(st.looked) < controlGrace
	return s.fetch(fetching, s.config.ControlTopic, s.partition, st.next, patience, kafka.ReadCommitted, func(r *logRecord) error {
		s.reading.OK()
		body := r.value
		if len(body) > connector.MaxCommand { // it is rejected, and many may wait for that
			body = bytes.Clone(body[:connector.MaxCommand+1])
		}
		it := item{offset: r.offset, body: body, time: r.time, settled: st.settled}
		if news {
			it.arrived = began
		}
		select {
		case st.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case out <- it:
			st.next = it.offset + 1
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// A ledger keeps the books of one partition of the control topic: which
// commands are in hand, and up to where all are settled. Offsets may have holes.
type ledger struct {
	open []int64 // in hand or settled out of turn, ascending
	done map[int64]bool
	next int64 // what to commit: every command below is settled
}

func newLedger(next int64) *ledger {
	return &ledger{next: next, done: map[int64]bool{}}
}

// take notes a command that was handed out. Offsets must ascend.
func (l *ledger) take(offset int64) { l.open = append(l.open, offset) }

// settle notes that a command has ended, and returns how many more are settled with
// all before them.
func (l *ledger) settle(offset int64) (moved int) {
	l.done[offset] = true
	for len(l.open) > 0 && l.done[l.open[0]] {
		delete(l.done, l.open[0])
		l.next = l.open[0] + 1
		l.open = l.open[1:]
		moved++
	}
	return moved
}

package connector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// minSyncRetry is the least pause after a failed sync.
const minSyncRetry = 5 * time.Second

// emptyRetry is the pause before a second look when the stream announced a
// message and the queue was empty: the signal can be ahead of the queue.
const emptyRetry = 1500 * time.Millisecond

// delivery carries the messages of one session from the server's queue to the
// sink, and deletes what the sink has confirmed. One goroutine runs it, in
// [delivery.loop]; it owns all of the delivery's fields.
type delivery struct {
	c      *Connector
	client *pushover.Client
	device string
	hinted *atomic.Bool // set by the stream when it announces a message
	held   clearQueue   // confirmed, and not yet cleared because of the clear delay

	syncTrouble    trouble
	publishTrouble trouble
	clearTrouble   trouble
}

func newDelivery(c *Connector, client *pushover.Client, device string, hinted *atomic.Bool) *delivery {
	return &delivery{
		c: c, client: client, device: device, hinted: hinted,
		syncTrouble:    trouble{log: c.log, what: "download"},
		publishTrouble: trouble{log: c.log, what: "publish"},
		clearTrouble:   trouble{log: c.log, what: "clear"},
	}
}

// loop syncs whenever it is woken: after every connect of the stream, at every
// signal of a new message, when a clear is due, and now and then in case a
// signal was lost. A wake-up during a sync causes one more. It returns when ctx
// ends, or with an error that ends the session.
func (d *delivery) loop(ctx context.Context) error {
	const beat = 10 * time.Second
	work, cancel := outlive(ctx, d.c.o.ShutdownBudget)
	defer cancel()
	d.c.board.publishing(nil) // the session before may have ended in the middle of trouble
	next := time.Now().Add(d.c.o.SafetySync)
	pace := syncPace()
	for {
		d.c.emergencies.expire(time.Now())
		wait := min(beat, time.Until(next))
		if due, ok := d.held.due(); ok {
			wait = min(wait, time.Until(due))
		}
		d.c.board.beat(beat)
		timer := time.NewTimer(max(0, wait))
		woken := false
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-d.c.wake:
			woken = true
		case <-timer.C:
		}
		timer.Stop()

		cleared, err := d.clearDue(ctx, work)
		if err != nil && (final(err) || ctx.Err() != nil) {
			return err
		}
		if err != nil {
			d.clearTrouble.note(err, 0)
		}
		if cleared || errors.Is(err, errLogLost) {
			next = time.Now() // there may be room for more, or something to publish again
		}
		if !woken && time.Now().Before(next) {
			continue
		}
		again, err := d.sync(ctx, work)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			d.syncTrouble.over()
			pace.Reset()
			next = time.Now().Add(min(again, d.c.o.SafetySync))
		case final(err):
			return err
		default:
			d.c.m.syncFailures.Inc()
			wait := max(pushover.RetryAfter(err), minSyncRetry)
			if !pushover.Retryable(err) { // the client paces the others
				wait = max(wait, pace.NextBackOff())
			}
			d.syncTrouble.note(err, wait)
			next = time.Now().Add(wait)
		}
	}
}

// final reports whether an error ends the session.
func final(err error) bool {
	return errors.Is(err, pushover.ErrSessionRejected) || errors.Is(err, ErrFenced)
}

// sync downloads until the queue is empty, and delivers each batch before it
// asks for the next: nothing is held here that the server holds for us. ctx
// ends the taking of new work; work outlives it by the shutdown budget and
// carries what must be finished. It returns when to look again.
func (d *delivery) sync(ctx, work context.Context) (again time.Duration, err error) {
	began := time.Now()
	again = d.c.o.SafetySync
	hinted := d.hinted.Swap(false)
	var cleared pushover.MessageID
	for first := true; ; first = false {
		var batch *pushover.Batch
		err := d.c.board.beating(func() (err error) {
			batch, err = d.client.Download(ctx)
			return err
		})
		if err != nil {
			return 0, err
		}
		d.c.board.downloaded()
		if batch.User.DesktopLicensed != nil {
			d.c.m.licensed.Set(boolGauge(*batch.User.DesktopLicensed))
		}
		fresh := d.held.fresh(batch.Messages)
		if len(fresh) == 0 {
			if first && hinted && len(batch.Messages) == 0 {
				again = emptyRetry
			}
			break
		}
		if fresh[0].ID <= cleared {
			return 0, fmt.Errorf("message %s is still in the queue after it was deleted through %s", fresh[0].ID, cleared)
		}
		d.c.m.received.Add(float64(len(fresh)))
		if err := d.deliver(ctx, work, fresh); err != nil {
			return 0, err
		}
		if d.c.o.ClearDelay > 0 {
			if !batch.More {
				break
			}
			continue
		}
		cleared = fresh[len(fresh)-1].ID
	}
	d.c.m.syncDuration.Observe(time.Since(began).Seconds())
	return again, nil
}

// deliver publishes messages oldest first, and clears the server through each
// confirmed prefix: never further, since the service only knows how to delete
// everything up to an id. It goes on until all are confirmed, or ctx ends, or
// the session must.
func (d *delivery) deliver(ctx, work context.Context, messages []pushover.Message) error {
	defer d.c.m.oldestWaiting.Store(0)
	ahead, stop := d.encodeAhead(messages)
	defer stop()
	left := len(messages)
	for p := range ahead {
		switch {
		case p.err != nil:
			return p.err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		left -= len(p.messages)
		if err := d.deliverPiece(ctx, work, p, left); err != nil {
			return err
		}
	}
	return nil
}

// deliverPiece publishes one piece of a batch of which left messages follow.
func (d *delivery) deliverPiece(ctx, work context.Context, p piece, left int) error {
	began, pace := time.Now(), publishPace()
	var refused Event // what the dead letter in hand stands for
	form := 0         // of that dead letter
	messages, events := p.messages, p.events
	for len(events) > 0 {
		d.c.m.oldestWaiting.Store(heardAt(messages[0], began).UnixNano())
		d.c.m.clearLag.Set(float64(len(events) + left + d.held.len()))
		confirmed, err := d.publish(work, events)
		if confirmed > 0 {
			form = 0
			d.c.m.oldestWaiting.Store(0) // what is confirmed does not wait for the bus any more
			if err := d.confirmed(ctx, work, messages[:confirmed], events[:confirmed]); err != nil {
				return err
			}
			events, messages = events[confirmed:], messages[confirmed:]
			pace.Reset()
		}
		switch {
		case err == nil:
			d.publishTrouble.over()
			d.c.board.publishing(nil)
			continue
		case errors.Is(err, ErrFenced):
			return err
		case errors.Is(err, ErrRejected) && form < deadLetterForms:
			d.c.log.Error("event rejected by the bus, publishing a dead letter instead",
				slog.String("message_id", messages[0].ID.String()), slog.Any("error", err))
			if form == 0 {
				refused = events[0]
			}
			if events[0], err = deadLetter(refused, messages[0], d.device, err, form); err != nil {
				return err
			}
			form++
			continue
		}
		wait := pace.NextBackOff()
		d.publishTrouble.note(err, wait)
		d.c.board.publishing(err)
		d.c.board.beat(wait)
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
	return nil
}

// publishPace is how attempts at one bus are spaced: quick at first, since a
// broker's restart takes seconds and an alarm is waiting.
func publishPace() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 250 * time.Millisecond
	b.MaxInterval = 15 * time.Second
	return b
}

// syncPace is how syncs are spaced that fail in the same way each time, such as
// on an answer that is too large or a deletion that is refused.
func syncPace() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = minSyncRetry
	b.MaxInterval = 10 * time.Minute
	return b
}

// publish makes one publish call and counts its outcome.
func (d *delivery) publish(work context.Context, events []Event) (int, error) {
	attempt, cancel := context.WithTimeout(work, d.c.o.PublishTimeout)
	defer cancel()
	d.c.board.beat(d.c.o.PublishTimeout)
	return d.c.publish(attempt, events)
}

// publish hands events to the sink and counts the outcome.
func (c *Connector) publish(ctx context.Context, events []Event) (int, error) {
	began := time.Now()
	confirmed, err := c.sink.Publish(ctx, events)
	if confirmed > 0 && errors.Is(err, context.DeadlineExceeded) {
		err = nil // slow, but getting on: the rest is for the next call
	}
	c.m.publishDuration.WithLabelValues(c.m.sink).Observe(time.Since(began).Seconds())
	for _, e := range events[:confirmed] {
		c.m.published.WithLabelValues(c.m.sink, e.Class.String()).Inc()
	}
	if err != nil {
		c.m.publishFailures.WithLabelValues(c.m.sink, failureReason(err)).Inc()
	} else {
		c.board.published()
	}
	return confirmed, err
}

func failureReason(err error) string {
	switch {
	case errors.Is(err, ErrRejected):
		return "rejected"
	case errors.Is(err, ErrFenced):
		return "fenced"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	default:
		return "error"
	}
}

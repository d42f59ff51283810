package connector

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

const (
	// safetySync is the pause between downloads that nothing asked for, against
	// lost signals. Shorter would be polling.
	safetySync = 20 * time.Minute

	// firstSync is when the queue is read if no stream has come up by then, and
	// the shortest pause between such reads while there is none.
	firstSync = 30 * time.Second

	// minSyncRetry is the shortest pause after a failed sync.
	minSyncRetry = 5 * time.Second

	// emptyRetry is the pause before a second download when the stream announced a
	// message and the last download brought nothing new: the signal can be ahead
	// of the queue.
	emptyRetry = 1500 * time.Millisecond
)

// delivery carries the messages of one session from the server's queue to the
// sink, and deletes what the sink has confirmed. One goroutine runs it, in
// [delivery.loop]; it owns all of the delivery's fields.
type delivery struct {
	c       *Connector
	client  *pushover.Client
	device  string
	session *session
	held    clearQueue // confirmed, and not yet cleared
	removed clearQueue // what the latest deletion took, until a download has shown that it did

	lost      map[pushover.MessageID]bool // was to be read back when the log had lost events: whether its own was missing
	effective bool                        // the latest deletion was
	settling  time.Time                   // when a download settles what is held; zero if nothing is to be settled

	downloading, publishing, clearing *Activity
}

func newDelivery(c *Connector, client *pushover.Client, device string, s *session) *delivery {
	return &delivery{
		c: c, client: client, device: device, session: s, lost: map[pushover.MessageID]bool{},
		downloading: c.health.Activity(PartDownload),
		publishing:  c.health.idleActivity(PartPublish),
		clearing:    c.health.idleActivity(PartClear),
	}
}

// end withdraws the delivery's activities: its failures end with it.
func (d *delivery) end() {
	d.downloading.End()
	d.publishing.End()
	d.clearing.End()
}

// loop syncs whenever it is woken: after every connect of the stream, at every
// signal of a new message, when a clear is due, and now and then in case a
// signal was lost or there is no stream. A wake-up during a sync causes one more.
// It returns when ctx ends, or with an error that ends the session.
func (d *delivery) loop(ctx context.Context) error {
	const beat = 10 * time.Second
	work, cancel := withGrace(ctx, d.c.o.ShutdownBudget)
	defer cancel()
	next := time.Now().Add(firstSync)
	pace, streamless := syncPace(), streamlessPace()
	clearPace := syncPace()
	for {
		d.c.expire(time.Now())
		if api := d.client.APIState(); !api.Open && api.RetryAt.Before(next) && !d.c.commands.probing() {
			next = api.RetryAt // nothing else would show that the service is well again
		}
		due, ok := d.held.due()
		if ok && d.c.o.ClearDelay == 0 && due.Before(next) {
			next = due // a sync clears
		}
		wait := min(beat, time.Until(next))
		if ok {
			wait = min(wait, time.Until(due))
		}
		d.c.health.beat(beat)
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
		switch {
		case err != nil && (final(err) || ctx.Err() != nil):
			return err
		case errors.Is(err, errLogLost):
			next = time.Now() // to publish again
			d.clearing.Failed(err, next)
		case err != nil:
			retry := time.Now().Add(max(d.c.o.ClearDelay, clearPace.NextBackOff()))
			d.clearing.Failed(err, retry)
			d.held.postpone(retry)
		case cleared:
			next = time.Now() // there may be room for more
		}
		if !woken && time.Now().Before(next) {
			continue
		}
		again, err := d.sync(ctx, work)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			pace.Reset()
			if d.effective {
				clearPace.Reset()
			}
			if d.session.streaming() {
				streamless.Reset()
			} else {
				again = min(again, streamless.NextBackOff())
			}
			next = time.Now().Add(again)
		case final(err):
			return err
		default:
			d.c.m.syncFailures.Inc()
			wait := max(pushover.RetryAfter(err), minSyncRetry)
			var step *stepError
			clearing := errors.As(err, &step) && step.activity == d.clearing
			switch {
			case pushover.Retryable(err): // the client paces it, and reports it
			case clearing:
				wait = max(wait, clearPace.NextBackOff(), d.c.o.ClearDelay)
			default:
				wait = max(wait, pace.NextBackOff())
			}
			next = time.Now().Add(wait)
			if clearing {
				d.held.postpone(next)
			}
			switch {
			case step == nil:
			case pushover.Retryable(err):
				step.activity.doubt(err, next)
			default:
				step.activity.Failed(err, next)
			}
		}
	}
}

// final reports whether an error ends the session.
func final(err error) bool {
	return errors.Is(err, pushover.ErrSessionRejected) || errors.Is(err, ErrFenced)
}

// A stepError says which activity of a sync failed.
type stepError struct {
	activity *Activity
	err      error
}

func (e *stepError) Error() string { return e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// sync downloads until the queue is empty, and delivers each batch before it
// asks for the next: nothing is held here that the server holds for us. ctx
// ends the taking of new work; work outlives it by the shutdown budget and
// carries what must be finished. It returns when to look again.
func (d *delivery) sync(ctx, work context.Context) (again time.Duration, err error) {
	began := time.Now()
	again = safetySync
	signalled := d.session.signalled.Swap(false)
	report := newDrainReport(d.c.log)
	defer report.end()
	if !began.Before(d.settling) {
		d.settling = time.Time{}
	}
	for {
		batch, err := d.download(ctx)
		if err != nil {
			return 0, err
		}
		seen := time.Now()
		stuck := d.checkRemoved(batch.Messages)
		fresh := d.held.fresh(batch.Messages)
		d.c.health.waiting(fresh, batch.More || len(fresh) > 0) // only an empty answer says that it was all
		d.c.m.received.Add(float64(len(fresh)))
		if err := d.deliver(ctx, work, batch, fresh, report); err != nil {
			return 0, err
		}
		d.held.settle(batch.Settled)
		if stuck != nil {
			d.c.health.waiting(nil, batch.More)
			return 0, stuck
		}
		if d.c.o.ClearDelay == 0 { // else clearDue does it
			if err := d.clearReady(ctx, work); err != nil {
				return 0, err
			}
			if d.removed.len() > 0 { // in this round
				continue // there may be more
			}
		}
		if !batch.More {
			d.c.health.waiting(nil, false)
		}
		if batch.SettlesIn > 0 {
			d.settling = d.held.settlesAt(seen.Add(batch.SettlesIn))
		}
		break
	}
	if !d.settling.IsZero() {
		again = min(again, time.Until(d.settling))
	}
	if signalled {
		again = min(again, emptyRetry)
	}
	d.c.m.syncDuration.Observe(time.Since(began).Seconds())
	return again, nil
}

// download reads the queue once. It is always urgent: while the service is in
// trouble nobody can know whether an alarm waits.
func (d *delivery) download(ctx context.Context) (batch *pushover.Batch, err error) {
	signals := d.c.health.signals()
	err = d.c.health.during(func() error {
		batch, err = d.client.Download(pushover.Urgent(ctx))
		return err
	})
	if err != nil {
		return nil, &stepError{d.downloading, err}
	}
	d.c.health.downloaded(batch, signals)
	d.downloading.OK()
	d.session.downloadAccepted()
	return batch, nil
}

// deliver publishes messages oldest first, and clears the server through each
// confirmed prefix: never further, since the service only knows how to delete
// everything up to an id. It goes on until all are confirmed, or ctx ends, or
// the session must.
func (d *delivery) deliver(ctx, work context.Context, batch *pushover.Batch, messages []pushover.Message, report *drainReport) error {
	if len(messages) == 0 {
		return nil
	}
	defer d.c.m.oldestWaiting.Store(0)
	d.held.settle(0) // nothing that is held may take a message along that is not confirmed
	ahead, stop := d.encodeAhead(newReception(d.device, batch, time.Now()), messages)
	defer stop()
	left := messages
	for p := range ahead {
		switch {
		case p.err != nil:
			return &stepError{d.publishing, p.err}
		case ctx.Err() != nil:
			return ctx.Err()
		}
		left = left[len(p.messages):]
		if err := d.deliverPiece(ctx, work, p, len(left), batch.Settled, report); err != nil {
			return err
		}
		d.c.health.waiting(left, true)
	}
	return nil
}

// deliverPiece publishes one piece of a batch of which left messages follow.
func (d *delivery) deliverPiece(ctx, work context.Context, p piece, left int, settled pushover.MessageID, report *drainReport) error {
	began, pace := time.Now(), publishPace()
	letters := deadLetters{device: d.device}
	messages, events, places := p.messages, p.events, placesOf(p.events)
	for i, m := range messages {
		_, events[i].Lost = d.lost[m.ID]
	}
	for len(events) > 0 {
		d.c.m.oldestWaiting.Store(heardAt(messages[0], began).UnixNano())
		d.c.m.clearLag.Set(float64(len(events) + left + d.held.len()))
		confirmed, err := d.publish(work, events)
		if confirmed > 0 {
			d.c.m.oldestWaiting.Store(0) // what is confirmed no longer waits for the bus
			report.published(d.c.health.confirmed(messages[:confirmed], places), len(events)-confirmed+left)
			if err := d.confirmed(ctx, work, messages[:confirmed], events[:confirmed], settled); err != nil {
				return err
			}
			events, messages, places = events[confirmed:], messages[confirmed:], places[confirmed:]
			pace.Reset()
		}
		switch {
		case err == nil:
			d.publishing.OK()
			continue
		case errors.Is(err, ErrFenced):
			return err
		case errors.Is(err, ErrRejected):
			letter, lettered, encoding := letters.next(events[0], messages[0], err)
			if encoding != nil {
				return &stepError{d.publishing, encoding}
			}
			if lettered {
				d.c.log.Error("event rejected, publishing a dead letter",
					slog.String("message_id", messages[0].ID.String()), slog.Any("error", err))
				events[0] = letter
				continue
			}
		}
		wait := pace.NextBackOff()
		d.publishing.Failed(err, time.Now().Add(wait))
		d.c.health.beat(wait)
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
	return nil
}

// placesOf records the places of the last few events, which the status shows.
func placesOf(events []Event) []string {
	places := make([]string, len(events))
	for i := max(0, len(events)-maxRecent); i < len(events); i++ {
		events[i].Stored = func(place string) { places[i] = place }
	}
	return places
}

// publish makes one publish call and counts its outcome.
func (d *delivery) publish(work context.Context, events []Event) (int, error) {
	attempt, cancel := context.WithTimeout(work, d.c.o.PublishTimeout)
	defer cancel()
	d.c.health.beat(d.c.o.PublishTimeout)
	return d.c.publish(attempt, events)
}

// publish hands events to the sink and counts the outcome.
func (c *Connector) publish(ctx context.Context, events []Event) (int, error) {
	began := time.Now()
	confirmed, err := c.sink.Publish(ctx, events)
	if confirmed > 0 && errors.Is(err, context.DeadlineExceeded) {
		err = nil // slow, but making progress: the rest is for the next call
	}
	c.m.publishDuration.WithLabelValues(c.m.sink).Observe(time.Since(began).Seconds())
	for _, e := range events[:confirmed] {
		c.m.published.WithLabelValues(c.m.sink, e.Class.String()).Inc()
	}
	if err != nil {
		c.m.publishFailures.WithLabelValues(c.m.sink, failureReason(err)).Inc()
	} else {
		c.health.published()
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

package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// confirmed takes note of messages whose events are durable: their deletion
// follows at once, or after the clear delay.
func (d *delivery) confirmed(ctx, work context.Context, messages []pushover.Message, events []Event) error {
	if d.c.o.ClearDelay > 0 {
		d.held.add(messages, events, time.Now().Add(d.c.o.ClearDelay))
		return nil
	}
	return d.clear(ctx, work, messages[len(messages)-1].ID, len(messages))
}

// clear deletes n messages through id from the server's queue. This is the only
// place from which anything is deleted, and id is always the last of a prefix
// that the sink has confirmed. A call that fails temporarily is repeated: while the
// service is in trouble there is nothing better to do. After ctx has ended one
// more try is made within work.
func (d *delivery) clear(ctx, work context.Context, id pushover.MessageID, n int) error {
	for {
		err := d.c.health.during(func() error { return d.client.DeleteThrough(work, id) })
		if err == nil {
			d.clearing.OK()
			d.c.health.cleared(id)
			d.c.m.cleared.Add(float64(n))
			d.c.m.clearLag.Sub(float64(n))
			return nil
		}
		if !pushover.Retryable(err) || ctx.Err() != nil {
			return &stepError{d.clearing, fmt.Errorf("clear through %s: %w", id, err)}
		}
		wait := pushover.RetryAfter(err)
		d.clearing.Failed(err, time.Now().Add(wait))
		d.c.health.beat(wait)
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// clearDue clears what has been held back for the clear delay, after the sink
// has read its events back from the log. Events that the log has lost are
// forgotten here, so that the next sync, which finds their messages still on
// the server, publishes them again. It reports whether anything was cleared.
func (d *delivery) clearDue(ctx, work context.Context) (cleared bool, err error) {
	events := d.held.ready(time.Now())
	if len(events) == 0 {
		return false, nil
	}
	check, cancel := context.WithTimeout(work, d.c.o.PublishTimeout)
	defer cancel()
	held, err := d.c.sink.(Verifier).Holds(check, events)
	if held > 0 {
		if err := d.clear(ctx, work, d.held.idAt(held-1), held); err != nil {
			return false, err
		}
		d.held.drop(held)
	}
	if err != nil {
		return held > 0, fmt.Errorf("read back before clearing: %w", err)
	}
	if held < len(events) {
		d.held.forget()
		d.c.log.Error("confirmed events lost from the log, publishing them again")
		return held > 0, errLogLost
	}
	return true, nil
}

var errLogLost = errors.New("the log has lost confirmed events")

// clearQueue holds confirmed messages whose deletion is held back, ascending by
// id. Its length is bounded by what one download keeps, since what it holds is
// not delivered again.
type clearQueue []heldClear

type heldClear struct {
	id    pushover.MessageID
	event Event
	due   time.Time
}

// add keeps the queue ascending even if a late message has a lower id than
// those held: then they wait for it, since a deletion takes all before it too.
func (q *clearQueue) add(messages []pushover.Message, events []Event, due time.Time) {
	for i, m := range messages {
		*q = append(*q, heldClear{m.ID, events[i], due})
	}
	slices.SortFunc(*q, func(a, b heldClear) int { return cmp.Compare(a.id, b.id) })
}

func (q clearQueue) len() int { return len(q) }

// due is when the first deletion may be made.
func (q clearQueue) due() (time.Time, bool) {
	if len(q) == 0 {
		return time.Time{}, false
	}
	return q[0].due, true
}

// ready returns the events of the prefix that is due.
func (q clearQueue) ready(now time.Time) []Event {
	var events []Event
	for _, h := range q {
		if h.due.After(now) {
			break
		}
		events = append(events, h.event)
	}
	return events
}

// fresh returns the messages that are not held here. All that is held was
// confirmed, but a message with a lower id than those may still turn up, and
// must not be taken for delivered.
func (q clearQueue) fresh(messages []pushover.Message) []pushover.Message {
	if len(q) == 0 {
		return messages
	}
	held := make(map[pushover.MessageID]struct{}, len(q))
	for _, h := range q {
		held[h.id] = struct{}{}
	}
	var fresh []pushover.Message
	for _, m := range messages {
		if _, ok := held[m.ID]; !ok {
			fresh = append(fresh, m)
		}
	}
	return fresh
}

func (q clearQueue) idAt(i int) pushover.MessageID { return q[i].id }

func (q *clearQueue) drop(n int) { *q = (*q)[n:] }

func (q *clearQueue) forget() { *q = nil }

func (q clearQueue) postpone(due time.Time) {
	for i := range q {
		q[i].due = due
	}
}

package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// confirmed takes note of messages whose events are durable, the first of what a
// download showed and the queue does not hold yet. Their deletion follows at once
// if they have settled and there is no clear delay.
func (d *delivery) confirmed(ctx, work context.Context, messages []pushover.Message, events []Event, settled pushover.MessageID) error {
	if d.c.o.ClearDelay == 0 {
		events = nil // they are not read back
	}
	d.held.add(messages, events, time.Now().Add(d.c.o.ClearDelay))
	d.held.settle(min(settled, messages[len(messages)-1].ID))
	if d.c.o.ClearDelay > 0 {
		return nil // clearDue does it
	}
	return d.clearReady(ctx, work)
}

// clearReady clears what has settled, if anything has.
func (d *delivery) clearReady(ctx, work context.Context) error {
	if n := d.held.ready(time.Now()); n > 0 {
		return d.clearFirst(ctx, work, n)
	}
	return nil
}

// clearFirst clears the first n of what is held.
func (d *delivery) clearFirst(ctx, work context.Context, n int) error {
	if err := d.clear(ctx, work, d.held.entries[n-1].id, n); err != nil {
		return err
	}
	d.removed.entries = d.held.take(n)
	for _, h := range d.removed.entries {
		delete(d.lost, h.id)
	}
	return nil
}

// checkRemoved looks in what a download shows for what the latest deletion has
// removed. If it is still there, it is held again, and not cleared at once: its
// events are confirmed.
func (d *delivery) checkRemoved(shown []pushover.Message) error {
	removed := d.removed
	if removed.len() == 0 {
		return nil
	}
	d.removed = clearQueue{}
	i := slices.IndexFunc(shown, func(m pushover.Message) bool { return removed.has(m.ID) })
	d.effective = i < 0
	if d.effective {
		d.clearing.OK()
		return nil
	}
	d.held.entries = slices.Concat(removed.entries, d.held.entries)
	d.held.postpone(time.Now().Add(minSyncRetry)) // at least: the loop decides
	return &stepError{d.clearing, fmt.Errorf("message %s is still in the queue after it was deleted", shown[i].ID)}
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
// the server, publishes them again. It reports whether all that was due was
// cleared.
func (d *delivery) clearDue(ctx, work context.Context) (cleared bool, err error) {
	n := d.held.ready(time.Now())
	if n == 0 || d.c.o.ClearDelay == 0 {
		return false, nil
	}
	events := make([]Event, n)
	for i, h := range d.held.entries[:n] {
		events[i] = h.event
	}
	held, missing, err := d.holds(work, events)
	if held > 0 {
		if err := d.clearFirst(ctx, work, held); err != nil {
			return false, err
		}
	}
	if err != nil {
		return false, fmt.Errorf("read back before clearing: %w", err)
	}
	if len(missing) > 0 {
		for _, h := range d.held.entries {
			d.lost[h.id] = d.lost[h.id] || slices.Contains(missing, h.id)
		}
		d.held.forget()
		d.c.log.Error("confirmed events lost from the log, publishing them again")
		return false, errLogLost
	}
	return true, nil
}

// holds reads back how many of the first events the log holds, and which of the
// others are missing, as far as there is time to look. One that was missing before,
// was published again and is missing again was removed by the log's own rules or by
// its owner: it counts as held, or its message would come back for ever.
func (d *delivery) holds(work context.Context, events []Event) (held int, missing []pushover.MessageID, err error) {
	check, cancel := context.WithTimeout(work, d.c.o.PublishTimeout)
	defer cancel()
	for i := 0; ; i++ {
		n, err := d.c.sink.(Verifier).Holds(check, events[i:])
		i += n
		if len(missing) == 0 {
			held = i
		}
		switch {
		case len(missing) > 0 && err != nil:
			return held, missing, nil // enough is known
		case err != nil || i == len(events):
			return held, missing, err
		case !d.lost[d.held.entries[i].id]:
			missing = append(missing, d.held.entries[i].id)
		case len(missing) == 0:
			d.c.log.Warn("event removed from the log again, clearing its message all the same", slog.String("message_id", events[i].ID))
		}
	}
}

var errLogLost = errors.New("the log has lost confirmed events")

// clearQueue holds confirmed messages whose deletion is held back, ascending by
// id: until they have settled ([pushover.Batch.Settled]), and for the clear delay.
// Its length is bounded by what one download keeps, since what it holds is not
// delivered again.
type clearQueue struct {
	entries []heldClear
	settled pushover.MessageID // a deletion may go through this id
}

type heldClear struct {
	id    pushover.MessageID
	event Event // only with a clear delay
	due   time.Time
}

// add keeps the queue ascending even if a late message has a lower id than
// those held: then they wait for it, since a deletion takes all before it too.
func (q *clearQueue) add(messages []pushover.Message, events []Event, due time.Time) {
	for i, m := range messages {
		h := heldClear{id: m.ID, due: due}
		if events != nil {
			h.event = events[i]
		}
		q.entries = append(q.entries, h)
	}
	byID := func(a, b heldClear) int { return cmp.Compare(a.id, b.id) }
	if !slices.IsSortedFunc(q.entries, byID) {
		slices.SortFunc(q.entries, byID)
	}
}

// settle says through which id a deletion may go: all below it has settled, and
// what any download showed of it is confirmed.
func (q *clearQueue) settle(id pushover.MessageID) { q.settled = id }

func (q *clearQueue) len() int { return len(q.entries) }

// due is when the first deletion may be made, if its message has settled.
func (q *clearQueue) due() (time.Time, bool) {
	if len(q.entries) == 0 || q.entries[0].id > q.settled {
		return time.Time{}, false
	}
	return q.entries[0].due, true
}

// settlesAt is when a download is needed that settles what has not settled yet,
// which it can from the time at on, but need not before a deletion is due.
func (q *clearQueue) settlesAt(at time.Time) time.Time {
	i := slices.IndexFunc(q.entries, func(h heldClear) bool { return h.id > q.settled })
	if i < 0 || q.entries[i].due.Before(at) {
		return at
	}
	return q.entries[i].due
}

// ready returns how many have settled and are due, from the first on.
func (q *clearQueue) ready(now time.Time) int {
	i := slices.IndexFunc(q.entries, func(h heldClear) bool { return h.id > q.settled || h.due.After(now) })
	if i < 0 {
		return len(q.entries)
	}
	return i
}

// fresh returns the messages that are not held here. All that is held was
// confirmed, but a message with a lower id than those may still turn up, and
// must not be taken for delivered.
func (q *clearQueue) fresh(messages []pushover.Message) []pushover.Message {
	if len(q.entries) == 0 {
		return messages
	}
	var fresh []pushover.Message
	for _, m := range messages {
		if !q.has(m.ID) {
			fresh = append(fresh, m)
		}
	}
	return fresh
}

func (q *clearQueue) has(id pushover.MessageID) bool {
	_, found := slices.BinarySearchFunc(q.entries, id, func(h heldClear, id pushover.MessageID) int { return cmp.Compare(h.id, id) })
	return found
}

// take removes the first n.
func (q *clearQueue) take(n int) (removed []heldClear) {
	removed, q.entries = q.entries[:n], q.entries[n:]
	return removed
}

func (q *clearQueue) forget() { q.entries = nil }

func (q *clearQueue) postpone(due time.Time) {
	for i := range q.entries {
		q.entries[i].due = due
	}
}

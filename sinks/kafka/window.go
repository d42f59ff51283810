package kafka

import (
	"crypto/sha256"
	"strconv"
)

// windowSize bounds how many of our own events a partition's window remembers: more
// than a queue can hold, since senders may send 10 000 a month and application, and
// Pushover keeps a message for 21 days.
const windowSize = 1 << 18

// An eventKey stands for an event's source and id. It is a digest, because a
// window may hold many and a collision would lose a message.
type eventKey [16]byte

func keyOf(source, id string) eventKey {
	sum := sha256.Sum256([]byte(source + "#" + id))
	return eventKey(sum[:])
}

// A window is what is known of our events at the end of one partition: all of
// them from an offset on. Since one connector at a time writes a device's
// messages, and writes them in the order of their ids, an event with an id above
// the oldest in the window is in the window or not in the log.
type window struct {
	limit   int   // of entries, for [window.append]
	from    int64 // the window reaches back to this offset
	whole   bool  // and there is nothing of ours before it
	entries []entry
	offsets map[eventKey]int64
}

type entry struct {
	key eventKey
	id  uint64 // 0 = not a number
}

func newWindow(end int64, limit int) *window {
	return &window{limit: limit, from: end, offsets: map[eventKey]int64{}}
}

func numericID(id string) uint64 {
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// place tells where in the log an event stands.
func (w *window) place(k eventKey) (offset int64, ok bool) {
	offset, ok = w.offsets[k]
	return offset, ok
}

func (w *window) has(k eventKey) bool {
	_, ok := w.place(k)
	return ok
}

// covers tells whether the window is enough to say whether an event with this
// id is in the log. Ids that are not numbers have no order; for them only
// what was read back at first counts.
func (w *window) covers(id string) bool {
	n := numericID(id)
	if w.whole || n == 0 {
		return true
	}
	return len(w.entries) > 0 && w.entries[0].id != 0 && n > w.entries[0].id
}

// append adds an event that was just written.
func (w *window) append(k eventKey, id string, offset int64) {
	if w.has(k) {
		return
	}
	w.offsets[k] = offset
	w.entries = append(w.entries, entry{k, numericID(id)})
	if len(w.entries) > w.limit {
		w.evict()
	}
}

// evict forgets the oldest event.
func (w *window) evict() {
	oldest := w.entries[0]
	w.from = max(w.from, w.offsets[oldest.key]+1)
	w.whole = false
	w.entries = w.entries[1:]
	delete(w.offsets, oldest.key)
}

// prepend adds older events, in log order, found from the offset from on.
func (w *window) prepend(found []found, from int64) {
	older := make([]entry, 0, len(found)+len(w.entries))
	for _, f := range found {
		k := keyOf(f.source, f.id)
		if _, ok := w.offsets[k]; ok {
			continue
		}
		w.offsets[k] = f.offset
		older = append(older, entry{k, numericID(f.id)})
	}
	w.entries = append(older, w.entries...)
	w.from = from
}

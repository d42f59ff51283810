package kafka

import (
	"crypto/sha256"
	"math"
	"strconv"
)

// windowSize bounds how many of our own events a partition's window remembers,
// and how many a page of it does. It bounds memory, not correctness: older ones
// are looked up in the log.
const windowSize = 1 << 17

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
	page    *page // what was looked up beyond it last; may be nil
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
	if offset, ok = w.offsets[k]; !ok && w.page != nil {
		offset, ok = w.page.offsets[k]
	}
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
	if len(w.entries) > 0 && w.entries[0].id != 0 && n > w.entries[0].id {
		return true
	}
	return w.page != nil && w.page.low <= n && n <= w.page.high
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
	if w.page != nil && oldest.id != 0 {
		w.page.endBefore(oldest.id) // it was made when this one was not missing
	}
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

// A page is what is known of our events before a window: all with an id from
// low to high. It serves repeats of a backlog that is larger than the window,
// which come in the order of their ids.
type page struct {
	limit     int
	low, high uint64
	entries   []pageEntry // until the page is bound
	offsets   map[eventKey]int64
	passed    bool // an event older than low was seen, so none wanted is further back
}

type pageEntry struct {
	key    eventKey
	id     uint64
	offset int64
}

func newPage(low uint64, limit int) *page {
	return &page{limit: limit, low: low, high: math.MaxUint64}
}

// prepend adds older events, in log order. When there are too many, those
// written last are left out.
func (p *page) prepend(found []found) {
	var older []pageEntry
	for _, f := range found {
		switch n := numericID(f.id); {
		case n == 0:
		case n < p.low:
			p.passed = true
		default:
			older = append(older, pageEntry{keyOf(f.source, f.id), n, f.offset})
		}
	}
	p.entries = append(older, p.entries...)
	if len(p.entries) > p.limit {
		for _, e := range p.entries[p.limit:] {
			p.endBefore(e.id)
		}
		p.entries = p.entries[:p.limit]
	}
}

// bind makes the page fit to be asked.
func (p *page) bind() {
	p.offsets = make(map[eventKey]int64, len(p.entries))
	for _, e := range p.entries {
		p.offsets[e.key] = e.offset
	}
	p.entries = nil
}

// endBefore takes the events from id on out of what the page answers for.
func (p *page) endBefore(id uint64) { p.high = min(p.high, id-1) }

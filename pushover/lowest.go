package pushover

import (
	"cmp"
	"slices"
)

// lowest keeps the messages with the lowest ids of all that are added, at most
// max of them and maxBytes of JSON, but at least one. It is a max-heap: the
// first to go is on top.
type lowest struct {
	max, maxBytes int
	heap          []Message
	bytes         int
	full          bool // something was turned away or thrown out
	ordered       bool // heap order holds; not needed until something must go
}

// wants reports whether a message of that id would be kept for now.
func (l *lowest) wants(id MessageID) bool {
	return !l.full || id < l.top()
}

func (l *lowest) top() MessageID {
	l.order()
	return l.heap[0].ID
}

func (l *lowest) add(m Message) {
	l.heap = append(l.heap, m)
	l.bytes += len(m.Raw)
	if l.ordered {
		l.up(len(l.heap) - 1)
	}
	for len(l.heap) > 1 && (len(l.heap) > l.max || l.bytes > l.maxBytes) {
		l.full = true
		l.order()
		l.bytes -= len(l.heap[0].Raw)
		end := len(l.heap) - 1
		l.heap[0] = l.heap[end]
		l.heap[end] = Message{}
		l.heap = l.heap[:end]
		l.down(0)
	}
}

// sorted ends the collection: ascending, an id that came twice only once.
func (l *lowest) sorted() (messages []Message, more bool) {
	byID := func(a, b Message) int { return cmp.Compare(a.ID, b.ID) }
	if !slices.IsSortedFunc(l.heap, byID) { // as it usually is
		slices.SortFunc(l.heap, byID)
	}
	return slices.CompactFunc(l.heap, func(a, b Message) bool { return a.ID == b.ID }), l.full
}

func (l *lowest) order() {
	if l.ordered {
		return
	}
	l.ordered = true
	for i := len(l.heap)/2 - 1; i >= 0; i-- {
		l.down(i)
	}
}

func (l *lowest) up(i int) {
	for i > 0 && l.heap[i].ID > l.heap[(i-1)/2].ID {
		l.heap[i], l.heap[(i-1)/2] = l.heap[(i-1)/2], l.heap[i]
		i = (i - 1) / 2
	}
}

func (l *lowest) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(l.heap) {
			return
		}
		if child+1 < len(l.heap) && l.heap[child+1].ID > l.heap[child].ID {
			child++
		}
		if l.heap[i].ID >= l.heap[child].ID {
			return
		}
		l.heap[i], l.heap[child] = l.heap[child], l.heap[i]
		i = child
	}
}

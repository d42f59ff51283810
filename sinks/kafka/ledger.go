package kafka

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

// settle notes that a command has ended and tells whether that moved next.
func (l *ledger) settle(offset int64) bool {
	l.done[offset] = true
	moved := false
	for len(l.open) > 0 && l.done[l.open[0]] {
		delete(l.done, l.open[0])
		l.next = l.open[0] + 1
		l.open = l.open[1:]
		moved = true
	}
	return moved
}

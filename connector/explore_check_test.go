package connector_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pushover-connector/pushover-connector/connector"
)

// What must hold, checked where it could break.

// learnConfirmed is what a process knows from an answer of the bus: these are durable.
func (p *process) learnConfirmed(events []connector.Event) {
	for _, e := range events {
		p.confirmed[e.ID] = true
		delete(p.verified, e.ID)
		delete(p.decided, place(e))
	}
}

// learnHeld is what a process knows from reading n of these events back.
func (p *process) learnHeld(events []connector.Event, n int) {
	for _, e := range events[:n] {
		p.verified[e.ID] = true
	}
	if n < len(events) && p.confirmed[events[n].ID] {
		id := events[n].ID
		delete(p.confirmed, id)
		delete(p.verified, id)
		p.missing[id]++
	}
}

// checkDelete: a message is deleted only after the bus has confirmed it to whoever
// deletes. With a clear delay, only after it was read back since; or if it was
// missing twice, and stored again in between: then its owner has removed it.
func (w *world) checkDelete(p *process, through int64) {
	for _, m := range w.queue {
		id := m.id.String()
		switch {
		case int64(m.id) > through:
		case p.missing[id] > 1 && m.copies > 1:
			m.removed = true
		case !p.confirmed[id]:
			w.fail("%s deletes %s, which the bus has not confirmed to it", p.name, m.name)
		case w.cfg.delay > 0 && !p.verified[id]:
			w.fail("%s deletes %s, which it has not read back", p.name, m.name)
		}
	}
}

// checkStored: exactly once, in the order of the ids of one download, and an
// emergency that comes again says so.
func (w *world) checkStored(p *process, e connector.Event) {
	for _, s := range w.log {
		if s.Source == e.Source && (s.ID == e.ID || place(e) != "" && place(e) == place(s.Event)) {
			w.fail("%s is in the log twice", w.name(e.ID))
		}
	}
	m := w.message(e.ID)
	if m == nil {
		return
	}
	for _, lower := range p.shown {
		if lower.id < m.id && !lower.stored {
			w.fail("%s is in the log before %s, of the same download", m.name, lower.name)
		}
	}
	first := m.first
	if first == nil || e.Class != connector.ClassMessage || first.id > m.id {
		return
	}
	knows := p.seen[first] || slices.Contains(p.recalled, first.id.String())
	if want := fmt.Sprintf(`"repeat_of":"%s"`, first.id); knows && !strings.Contains(string(e.Data), want) {
		w.fail("%s does not say that it repeats %s: %s", m.name, first.name, e.Data)
	}
}

// checkFenced: who was told that it is fenced publishes no further message.
func (w *world) checkFenced(c *pendingCall) {
	if c.events[0].Class == connector.ClassResult {
		return
	}
	if c.p.fenced++; c.p.fenced > 1 {
		w.fail("%s publishes although it was told that it is fenced", c.p.name)
	}
}

// checkDecided: a command is not decided again because its result was not taken.
func (w *world) checkDecided(c *pendingCall) {
	at := place(c.events[0])
	before, again := c.p.decided[at]
	switch now := string(c.events[0].Data); {
	case at == "":
	case again && before != now:
		w.fail("%s has decided %s twice: %s, then %s", c.p.name, at, before, now)
	default:
		c.p.decided[at] = now
	}
}

// place is the command's place on the bus that a result belongs to.
func place(e connector.Event) string {
	if e.Class != connector.ClassResult {
		return ""
	}
	at, _, _ := strings.Cut(e.ID, "@")
	return at
}

func (w *world) resultOf(k *sentCommand) *connector.Event {
	for i := range w.log {
		if place(w.log[i].Event) == k.place {
			return &w.log[i].Event
		}
	}
	return nil
}

// checkSettled: a command is settled only when its result is in the log, and says
// acknowledged only if it is.
func (w *world) checkSettled(k *sentCommand) {
	e := w.resultOf(k)
	switch {
	case e == nil && !w.purged:
		w.fail("%s is settled without a result", k.place)
	case e != nil && strings.HasSuffix(e.Type, ".acknowledged") && !w.acked[k.receipt]:
		w.fail("the result of %s says acknowledged, and it is not", k.place)
	}
}

// checkAck: nothing is acknowledged without a command.
func (w *world) checkAck(receipt string) {
	if !slices.ContainsFunc(w.commands, func(k *sentCommand) bool { return k.receipt == receipt }) {
		w.fail("%s was acknowledged without a command", receipt)
	}
}

// checkState: every message is with the service or in the log, unless the log's
// owner has removed it.
func (w *world) checkState() {
	for _, m := range w.sent {
		if !m.removed && !slices.Contains(w.queue, m) && !w.holds(m) {
			w.fail("%s is neither with the service nor in the log", m.name)
		}
	}
}

func (w *world) holds(m *sentMessage) bool {
	return slices.ContainsFunc(w.log, func(s stored) bool { return s.ID == m.id.String() })
}

// checkEnd: in the end every command has one result, and the emergencies that are
// outstanding are those that nobody has acknowledged.
func (w *world) checkEnd() {
	for _, k := range w.commands {
		w.checkSettled(k)
	}
	if w.purged || len(w.refused) > 0 || len(w.gone) > 0 || len(w.alive()) > 1 {
		return // what a process can know then is another matter
	}
	p := w.alive()[0]
	w.mu.Unlock()
	status := p.Status().Emergencies
	w.mu.Lock()
	var want, got []string
	for _, m := range w.sent {
		if m.receipt != "" && m.first == nil && !w.acked[m.receipt] {
			want = append(want, m.receipt)
		}
	}
	for _, e := range status.Outstanding {
		got = append(got, e.Receipt)
	}
	if slices.Sort(got); !status.Known || !slices.Equal(got, want) {
		w.fail("outstanding are %v (known: %t), want %v", got, status.Known, want)
	}
}

// state sums up what the world is like, for counting and for the story.
func (w *world) state() string {
	var b strings.Builder
	for _, m := range w.queue {
		b.WriteString(m.name + " ")
	}
	b.WriteString("|")
	for _, s := range w.log {
		b.WriteString(" " + w.name(s.ID))
	}
	b.WriteString("|")
	for _, k := range w.commands {
		fmt.Fprintf(&b, " %s:%t:%t", k.place, k.settled, k.to != nil)
	}
	b.WriteString("|")
	for _, c := range w.pending {
		fmt.Fprintf(&b, " %s:%s(%s)", c.p.name, c.op, c.what)
	}
	fmt.Fprintf(&b, "|%d %v %v", len(w.alive()), w.acked, w.gone)
	return b.String()
}

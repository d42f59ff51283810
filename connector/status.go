package connector

import (
	"slices"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// A Status is the present state of a connector. It holds neither secrets nor message
// texts. It is the answer to a status request and command, /status.json, and
// what the status page shows.
type Status struct {
	Device       string            `json:"device"`
	Version      string            `json:"version"`
	State        State             `json:"state"` // of the session
	Ready        bool              `json:"ready"` // every part is ok, and it is not stopped
	Since        time.Time         `json:"since"` // of the state
	Started      time.Time         `json:"started"`
	Parts        []PartStatus      `json:"parts"`
	Sink         SinkStatus        `json:"sink"`
	Queue        QueueStatus       `json:"queue"`
	LastSignal   *time.Time        `json:"last_signal,omitempty"`
	LastDownload *time.Time        `json:"last_download,omitempty"` // that succeeded
	LastPublish  *time.Time        `json:"last_publish,omitempty"`  // that was confirmed
	Emergencies  EmergenciesStatus `json:"emergencies"`
	Recent       Recent            `json:"recent"`
	Licence      LicenceStatus     `json:"licence"`
}

// A PartStatus is the account of one part.
type PartStatus struct {
	Part        Part       `json:"part"`
	OK          bool       `json:"ok"`
	Reason      Reason     `json:"reason,omitempty"` // absent when ok, like all that follows but since
	Detail      string     `json:"detail,omitempty"` // one sentence
	Since       time.Time  `json:"since"`
	Attempts    int        `json:"attempts,omitempty"`     // failed in a row
	NextAttempt *time.Time `json:"next_attempt,omitempty"` // absent when it waits for a person
	Remedy      string     `json:"remedy,omitempty"`       // what mends this cause, if a person has to
}

// A SinkStatus says where the events go.
type SinkStatus struct {
	Name       string   `json:"name"`                 // nats, kafka or stdout
	Address    string   `json:"address,omitempty"`    // absent until known
	Durability string   `json:"durability,omitempty"` // what a confirmation survives, see [Grade]; absent until known
	Warnings   []string `json:"warnings,omitempty"`   // settings of the bus that can lose or repeat an event
}

// A QueueStatus says what is known to wait on Pushover's server.
type QueueStatus struct {
	Waiting        int        `json:"waiting"`
	AtLeast        bool       `json:"at_least"` // there may be more
	OldestQueuedAt *time.Time `json:"oldest_queued_at,omitempty"`
}

// EmergenciesStatus lists the outstanding emergencies. While Known is false, those
// from before this process are not known, and there may be more.
type EmergenciesStatus struct {
	Known       bool        `json:"known"`
	Outstanding []Emergency `json:"outstanding"` // oldest first, never null
}

// Recent is what happened last, newest first.
type Recent struct {
	Events  []RecentEvent  `json:"events"`  // never null
	Changes []RecentChange `json:"changes"` // never null

	// EventsLastHour counts the messages that became events in the last hour, or
	// since the start if that is shorter.
	EventsLastHour int `json:"events_last_hour"`
}

// A RecentEvent is a message that became an event.
type RecentEvent struct {
	ID        string    `json:"id"`
	Time      time.Time `json:"time"` // when it was confirmed
	Priority  string    `json:"priority"`
	App       string    `json:"app"`
	Stored    string    `json:"stored,omitempty"` // its place in the log, such as PUSHOVER#8123
	LatencyMS int64     `json:"latency_ms"`       // since it was queued
	Cleared   bool      `json:"cleared"`          // deleted on Pushover's server
}

// A RecentChange is a change of the session's state, or of another part.
type RecentChange struct {
	At   time.Time `json:"at"`
	Part Part      `json:"part"`
	To   string    `json:"to"` // a state, "ok", or a reason
}

// A LicenceStatus says what the last download said about the account.
type LicenceStatus struct {
	Desktop *bool `json:"desktop,omitempty"` // absent until known
}

// Status returns the present status. It can be asked for from the start.
func (c *Connector) Status() Status {
	s := c.health.snapshot()
	s.Device, s.Version = c.commands.deviceName(), c.o.Version
	s.Emergencies = c.emergencies.status(time.Now())
	return s
}

// snapshot returns the document without the emergencies.
func (h *Health) snapshot() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.doc
	s.Sink.Name = h.m.sink
	s.Sink.Warnings = slices.Clone(s.Sink.Warnings)
	s.Recent.Events = append([]RecentEvent{}, s.Recent.Events...)
	s.Recent.Changes = append([]RecentChange{}, s.Recent.Changes...)
	s.Recent.EventsLastHour = h.hour.sum(time.Now())
	s.Ready = s.State != StateStopped && !s.State.halted() // before its cause is known too
	for _, name := range Parts() {
		if p := h.parts[name]; p != nil {
			part := p.status()
			s.Ready = s.Ready && part.OK
			s.Parts = append(s.Parts, part)
		}
	}
	return s
}

// part returns the account of one part.
func (s Status) part(name Part) PartStatus {
	for _, p := range s.Parts {
		if p.Part == name {
			return p
		}
	}
	return PartStatus{Part: name}
}

// change applies one to the document and wakes those who watch.
func (h *Health) change(to func(s *Status)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	to(&h.doc)
	h.announce()
}

func (h *Health) state() State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.doc.State
}

func (h *Health) setState(to State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.doc.State == to {
		return
	}
	h.doc.State, h.doc.Since = to, time.Now()
	h.noteChange(PartSession, string(to), h.doc.Since)
	h.m.setState(to)
	h.announce()
}

// noteChange is called with the lock held.
func (h *Health) noteChange(p Part, to string, at time.Time) {
	h.doc.Recent.Changes = pushRecent(h.doc.Recent.Changes, RecentChange{At: at, Part: p, To: to})
}

func pushRecent[T any](all []T, newest T) []T {
	all = slices.Insert(all, 0, newest)
	return all[:min(len(all), maxRecent)]
}

// SetSink records where the events go and how durable what it confirms is.
func (h *Health) SetSink(address string, d Durability) {
	h.m.SinkDurability(d.Grade)
	h.change(func(s *Status) {
		s.Sink.Address, s.Sink.Durability, s.Sink.Warnings = address, d.Grade.String(), d.Warnings
	})
}

func (h *Health) licensed() *bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.doc.Licence.Desktop
}

func (h *Health) heard() {
	now := time.Now()
	h.change(func(s *Status) { s.LastSignal = &now })
}

// A queue is what is known to wait on Pushover's server.
type queue struct {
	left     int       // of the last download, not on the bus yet
	more     bool      // there may be messages that it did not show
	oldest   time.Time // of those left, when it was queued; zero if none is left
	signals  int       // heard since the last download that succeeded began
	signalAt time.Time // the first of them
}

// updateQueue is called with the lock held.
func (h *Health) updateQueue() {
	q := h.queue
	// What a signal that came during the download announced may be among what it showed.
	s := QueueStatus{Waiting: max(q.left, q.signals), AtLeast: q.more || q.signals > 0}
	oldest := q.oldest
	if q.signals > 0 && (oldest.IsZero() || q.signalAt.Before(oldest)) {
		oldest = q.signalAt
	}
	h.m.oldestQueued.Store(0)
	if !oldest.IsZero() {
		s.OldestQueuedAt = &oldest
		h.m.oldestQueued.Store(oldest.UnixNano())
	}
	h.doc.Queue = s
	h.announce()
}

// signalled records that the stream has announced a message, which waits until a
// download shows what there is.
func (h *Health) signalled() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.queue.signals == 0 {
		h.queue.signalAt = time.Now()
	}
	h.queue.signals++
	h.updateQueue()
}

// signals is the number of signals that a download beginning now may answer.
func (h *Health) signals() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.queue.signals
}

// downloaded records what a download showed. It answers that many signals; others
// came while it was running.
func (h *Health) downloaded(b *pushover.Batch, signals int) {
	now := time.Now()
	if licensed := b.User.DesktopLicensed; licensed != nil {
		h.m.licensed.Set(gaugeOf(*licensed))
		h.change(func(s *Status) { s.Licence.Desktop = licensed })
	}
	h.m.lastDownload.Store(now.UnixNano())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.doc.LastDownload = &now
	h.queue.signals -= signals
	h.queue.signalAt = now
	h.updateQueue()
}

// waiting records which of the messages downloaded are not on the bus yet, the
// oldest first, and whether more may wait.
func (h *Health) waiting(messages []pushover.Message, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue.left, h.queue.more, h.queue.oldest = len(messages), more, time.Time{}
	if len(messages) > 0 {
		h.queue.oldest = heardAt(messages[0], time.Now())
	}
	h.updateQueue()
}

func (h *Health) published() {
	now := time.Now()
	h.change(func(s *Status) { s.LastPublish = &now })
}

// confirmed records messages whose events are durable, and their places in the
// log where the bus told them, and returns those for which that is news: a message
// whose deletion failed is published again, and not stored again. Only the last few
// are shown.
func (h *Health) confirmed(messages []pushover.Message, places []string) []pushover.Message {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(messages) > 0 && h.known.has(messages[0].ID) {
		messages, places = messages[1:], places[1:]
	}
	for _, m := range messages {
		h.known.add(m.ID)
	}
	for _, m := range messages {
		if at := heardAt(m, now); at != now {
			h.m.eventDelay.Observe(now.Sub(at).Seconds())
		}
	}
	h.hour.add(now, len(messages))
	for i := max(0, len(messages)-maxRecent); i < len(messages); i++ {
		m := messages[i]
		h.doc.Recent.Events = pushRecent(h.doc.Recent.Events, RecentEvent{
			ID: m.ID.String(), Time: now, Priority: clampPriority(m.Priority).String(), App: m.App,
			Stored: places[i], LatencyMS: now.Sub(heardAt(m, now)).Milliseconds(),
		})
	}
	h.announce()
	return messages
}

// cleared records that everything through id was deleted on the server.
func (h *Health) cleared(id pushover.MessageID) {
	h.change(func(s *Status) {
		for i, e := range s.Recent.Events {
			if of, err := pushover.ParseMessageID(e.ID); err == nil && of <= id {
				s.Recent.Events[i].Cleared = true
			}
		}
	})
}

// An idSet remembers the last so many ids. More than a batch cannot come again.
type idSet struct {
	ids  map[pushover.MessageID]struct{}
	ring [8192]pushover.MessageID
	n    int
}

func (s *idSet) has(id pushover.MessageID) bool {
	_, ok := s.ids[id]
	return ok
}

func (s *idSet) add(id pushover.MessageID) {
	if s.ids == nil {
		s.ids = make(map[pushover.MessageID]struct{})
	}
	delete(s.ids, s.ring[s.n%len(s.ring)])
	s.ring[s.n%len(s.ring)] = id
	s.ids[id] = struct{}{}
	s.n++
}

// An hourly counts what happened in the last hour, to the minute.
type hourly struct {
	minute int64 // the newest counted, since 1970
	counts [60]int
}

func (h *hourly) add(now time.Time, n int) {
	h.roll(now)
	h.counts[h.minute%60] += n
}

func (h *hourly) sum(now time.Time) (n int) {
	h.roll(now)
	for _, c := range h.counts {
		n += c
	}
	return n
}

// roll forgets the minutes of an hour ago. After the clock was set back, the newest
// minute takes the counts until the clock has caught up.
func (h *hourly) roll(now time.Time) {
	to := now.Unix() / 60
	for h.minute = max(h.minute, to-60); h.minute < to; {
		h.minute++
		h.counts[h.minute%60] = 0
	}
}

package connector

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

const (
	// remindEvery is the pause between log lines about a failure that lasts.
	remindEvery = 5 * time.Minute

	// livenessGrace is granted on top of what a step of the loop says it may take.
	livenessGrace = time.Minute

	maxRecent = 20 // events and changes kept for the status
)

// A Health knows for each [Part] whether it works, and if not, why, since when,
// how often it was tried, when it is tried next, and what a person can do. It is
// the only account of this: log, metrics, /readyz, the status document and the
// status page are taken from it, so that they cannot disagree.
//
// Its methods are safe for concurrent use.
type Health struct {
	log *slog.Logger
	m   *Metrics

	mu         sync.Mutex
	parts      map[Part]*partState // those that exist
	doc        Status              // all but what is derived in Status
	hour       hourly              // events confirmed
	queue      queue
	known      idSet         // of messages whose events are confirmed
	apiMu      sync.Mutex    // one report at a time
	api        *Activity     // the service's REST side
	changed    chan struct{} // closed and replaced at every change
	aliveUntil time.Time     // the loop promises to turn again by then
	calls      int           // under way, whose length the service decides
}

// NewHealth returns an account in which every part is starting. log and m get
// every change; either may be nil. extra names the parts that not every bus has:
// [PartCommands], [PartStore].
func NewHealth(log *slog.Logger, m *Metrics, extra ...Part) *Health {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if m == nil {
		m = NewMetrics(nil, "", "", "")
	}
	now := time.Now()
	h := &Health{
		log: log, m: m, parts: make(map[Part]*partState), changed: make(chan struct{}),
		doc: Status{State: StateStarting, Since: now, Started: now}, aliveUntil: now.Add(livenessGrace),
	}
	for _, name := range Parts() {
		optional := name == PartCommands || name == PartStore
		if !optional || slices.Contains(extra, name) {
			idle := name == PartPublish || name == PartClear
			h.parts[name] = &partState{name: name, idle: idle, since: now}
			h.m.setPart(h.parts[name].status())
		}
	}
	return h
}

// partState is the account of one part. Several activities may make it up; it is
// ok while all of them are.
type partState struct {
	name       Part
	idle       bool // having nothing to do is ok
	activities []*Activity
	since      time.Time // start of the present verdict
	attempts   int       // failures since it was last ok
	logged     string    // reasons that the log was given, "" = none since it was ok
	loggedAt   time.Time
	remedies   []string // that the log was given since it was ok
	told       string   // verdict last announced to those who watch
}

// An Activity is one thing that a part does, such as reading one partition of a
// topic. Whoever does it reports how each attempt went. Its methods are safe for
// concurrent use; those of a nil *Activity do nothing.
type Activity struct {
	h    *Health
	part *partState

	// Guarded by h.mu.
	ok       bool
	failure  Failure
	since    time.Time // of the first failure in a row, or of the start
	attempts int       // failures in a row
	next     time.Time
}

var starting = Failure{Reason: ReasonStarting, Detail: "starting"}

// Activity adds an activity to a part. Until its first report it counts as
// starting. It is nil if h is nil or the part does not exist on this bus.
func (h *Health) Activity(name Part) *Activity { return h.activity(name, false) }

// idleActivity adds one that is ok until it fails: having nothing to do is fine.
func (h *Health) idleActivity(name Part) *Activity { return h.activity(name, true) }

func (h *Health) activity(name Part, ok bool) *Activity {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.parts[name]
	if p == nil {
		return nil
	}
	a := &Activity{h: h, part: p, ok: ok, since: time.Now(), failure: starting}
	p.activities = append(p.activities, a)
	h.update(p)
	return a
}

// Failed reports a failed attempt, and when the next one will be made; the zero
// time means not before a person has done what the remedy says. The log gets a
// line for the first failure of a part, each change of its reasons, each remedy that
// it was not given yet, and every few minutes while it lasts.
func (a *Activity) Failed(err error, next time.Time) {
	if a == nil {
		return
	}
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	a.failed(err, next, a.attempts+1)
}

// failed is called with the lock held, after so many failures in a row.
func (a *Activity) failed(err error, next time.Time, attempts int) {
	if a.attempts == 0 {
		a.since = time.Now()
	}
	a.ok, a.failure, a.next = false, failureOf(err), next
	a.part.attempts += attempts - a.attempts
	a.attempts = attempts
	a.h.update(a.part)
}

// doubt takes back the OK of an activity whose failure another one reports, and
// which has not succeeded when that one has.
func (a *Activity) doubt(err error, next time.Time) {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	if a.ok {
		a.ok, a.since = false, time.Now()
	}
	a.failure, a.next = failureOf(err), next
	a.h.update(a.part)
}

// OK reports success. The log gets a line if the part had failed and is ok now.
func (a *Activity) OK() {
	if a == nil {
		return
	}
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	if !a.ok {
		a.ok, a.attempts = true, 0
		a.h.update(a.part)
	}
}

// restart has the activity begin again, with other means than those that failed.
// If they fail alike, that is news.
func (a *Activity) restart() {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	a.ok, a.attempts, a.since, a.next = false, 0, time.Now(), time.Time{}
	a.failure = starting
	a.part.loggedAt, a.part.remedies = time.Time{}, nil
	a.h.update(a.part)
}

// End withdraws the activity: there is nothing to do any more. A failure that is
// withdrawn has not recovered, and the log does not say so.
func (a *Activity) End() {
	if a == nil {
		return
	}
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	a.part.activities = slices.DeleteFunc(a.part.activities, func(b *Activity) bool { return a == b })
	if !a.ok && a.part.reasons() == "" {
		a.part.logged = ""
	}
	a.h.update(a.part)
}

// APIState takes over what the Pushover client reports about the service's REST
// side: while it is closed, no download can be made. It is meant for
// [pushover.Options].OnAPIState.
func (h *Health) APIState(s pushover.APIState) {
	h.apiMu.Lock()
	defer h.apiMu.Unlock()
	if s.Open {
		h.api.OK()
		h.api.End()
		h.api = nil
		return
	}
	if h.api == nil {
		h.api = h.Activity(PartDownload)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.api.failed(s.Err, s.RetryAt, max(1, s.Attempts)) // not every change is an attempt
}

// status is the part's present account: that of the activity that matters most,
// which is one that waits for a person, else the one that has failed for longest.
func (p *partState) status() PartStatus {
	if len(p.activities) == 0 && !p.idle {
		s := PartStatus{Part: p.name, Reason: ReasonStarting, Detail: "starting", Since: p.since}
		if p.name == PartDownload {
			s.Detail = "waiting for the session"
		}
		return s
	}
	var worst *Activity
	for _, a := range p.activities {
		if !a.ok && (worst == nil || a.rank() > worst.rank() || a.rank() == worst.rank() && a.since.Before(worst.since)) {
			worst = a
		}
	}
	if worst == nil {
		return PartStatus{Part: p.name, OK: true, Since: p.since}
	}
	s := PartStatus{
		Part: p.name, Reason: worst.failure.Reason, Detail: worst.failure.Detail, Remedy: worst.failure.Remedy,
		Since: worst.since, Attempts: worst.attempts,
	}
	if next := worst.next; !next.IsZero() {
		s.NextAttempt = &next // a copy: the status is read without the lock
	}
	return s
}

func (a *Activity) rank() int {
	switch {
	case a.attempts == 0: // starting
		return 0
	case a.next.IsZero(): // halted
		return 2
	default:
		return 1
	}
}

// reasons are those of all activities that have failed. The set does not depend
// on which failed last, so two that fail differently are not a change each time.
func (p *partState) reasons() string {
	var all []string
	for _, a := range p.activities {
		if !a.ok && a.attempts > 0 {
			all = append(all, string(a.failure.Reason))
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}

// update brings log, metrics and watchers up to date with a part. The lock is
// held.
func (h *Health) update(p *partState) {
	now := time.Now()
	s, reasons := p.status(), p.reasons()
	verdict := "ok"
	if !s.OK {
		verdict = string(s.Reason)
	}
	recovered := s.OK && p.logged != ""
	if s.OK && p.told != verdict {
		if recovered {
			h.sayRecovered(p, now)
		}
		p.since, p.attempts, p.logged, p.remedies = now, 0, "", nil
		s = p.status()
	}
	if p.told != verdict && len(p.activities) == 0 {
		p.since = now // nothing is done for it any more
		s = p.status()
	}
	remedied := s.Remedy != "" && !slices.Contains(p.remedies, s.Remedy)
	if reasons != "" && (reasons != p.logged || remedied || now.Sub(p.loggedAt) >= remindEvery) {
		h.sayFailed(p, s, reasons, now)
	}
	if p.told != verdict {
		p.told = verdict
		// The session's changes are those of its state; that a part has started is
		// not news.
		if p.name != PartSession && (recovered || reasons != "") {
			h.noteChange(p.name, verdict, now)
		}
	}
	h.m.setPart(s)
	h.announce()
}

// One spelling for every part: "download failed, retrying", "session halted",
// "bus recovered".
func (h *Health) sayFailed(p *partState, s PartStatus, reasons string, now time.Time) {
	if p.logged == "" {
		p.since = s.Since
	}
	p.logged, p.loggedAt = reasons, now
	message, level := string(p.name)+" halted", slog.LevelError
	attrs := []slog.Attr{slog.String("reason", string(s.Reason)), slog.String("error", s.Detail)}
	if s.Remedy != "" {
		p.remedies = append(p.remedies, s.Remedy)
		attrs = append(attrs, slog.String("remedy", s.Remedy))
	}
	if s.NextAttempt != nil {
		message, level = string(p.name)+" failed, retrying", slog.LevelWarn
		attrs = append(attrs, slog.Int("attempts", s.Attempts),
			slog.Duration("retry_in", max(0, s.NextAttempt.Sub(now)).Round(time.Millisecond)))
		if s.Reason == ReasonReconnecting {
			level = slog.LevelInfo // Pushover asked for it
		}
	}
	if lasting := now.Sub(s.Since); lasting >= time.Second {
		attrs = append(attrs, slog.Duration("failing_for", lasting.Round(time.Second)))
	}
	h.log.LogAttrs(context.Background(), level, message, attrs...) //nolint:sloglint // the set of parts is closed; a golden list has every message
}

func (h *Health) sayRecovered(p *partState, now time.Time) {
	h.log.LogAttrs(context.Background(), slog.LevelInfo, string(p.name)+" recovered", //nolint:sloglint // as above
		slog.Int("attempts", p.attempts), slog.Duration("after", now.Sub(p.since).Round(time.Millisecond)))
}

// announce wakes those who watch. The lock is held.
func (h *Health) announce() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change of anything that
// the status shows.
func (h *Health) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// Watch repeats in the log what keeps failing, until ctx ends: a part that waits
// for a person makes no attempts that would.
func (h *Health) Watch(ctx context.Context) {
	for pause(ctx, remindEvery/10) {
		h.mu.Lock()
		for _, name := range Parts() {
			if p := h.parts[name]; p != nil && p.logged != "" {
				h.update(p)
			}
		}
		h.mu.Unlock()
	}
}

// beat promises that the loop turns again within d.
func (h *Health) beat(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.aliveUntil = time.Now().Add(d + livenessGrace)
}

// during runs a call to the service. The client bounds each of its requests, but
// delays one for as long as the service has asked for, which may be hours.
func (h *Health) during(call func() error) error {
	h.mu.Lock()
	h.calls++
	h.mu.Unlock()
	defer func() {
		h.beat(0)
		h.mu.Lock()
		h.calls--
		h.mu.Unlock()
	}()
	return call()
}

// overdue is how late the loop is, 0 or less if it is on time.
func (h *Health) overdue() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.calls > 0 {
		return 0
	}
	return time.Since(h.aliveUntil)
}

package connector

import (
	"log/slog"
	"strconv"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// progressEvery is the pause between log lines about a long drain.
const progressEvery = 5 * time.Second

// aBacklog is how many events make one: a few that took long have waited for an
// outage to end.
const aBacklog = 100

// A drainReport shows in the log that a sync published something: a line at its
// end, and during a long one a line every few seconds.
type drainReport struct {
	log         *slog.Logger
	began, said time.Time
	events      int
	highest     pushover.Priority
	delay       time.Duration // the longest from being queued to being confirmed
}

func newDrainReport(log *slog.Logger) *drainReport {
	now := time.Now()
	return &drainReport{log: log, began: now, said: now, highest: pushover.PriorityLowest}
}

// published adds confirmed messages. So many are known to follow, and there may
// be more: a download does not say that it was all.
func (r *drainReport) published(messages []pushover.Message, waiting int) {
	now := time.Now()
	r.events += len(messages)
	for _, m := range messages {
		r.highest = max(r.highest, clampPriority(m.Priority))
		r.delay = max(r.delay, now.Sub(heardAt(m, now)))
	}
	if now.Sub(r.said) < progressEvery || r.events < aBacklog {
		return
	}
	r.said = now
	r.log.Info("publishing a backlog", slog.Int("published", r.events), slog.Int("per_second", r.rate(now)),
		slog.String("waiting", strconv.Itoa(waiting)+" or more"))
}

func (r *drainReport) rate(now time.Time) int {
	return int(float64(r.events) / max(now.Sub(r.began).Seconds(), 0.001))
}

// end says what the sync published, if anything.
func (r *drainReport) end() {
	if r.events > 0 {
		r.log.Info("published", slog.Int("events", r.events), slog.String("highest_priority", r.highest.String()),
			slog.Duration("queued_to_bus", r.delay.Round(time.Millisecond)))
	}
}

package kafka

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// A trouble tells the log about failures of a loop that goes on trying: the
// first, each change of reason, and the end of it with what it took.
type trouble struct {
	log    *slog.Logger
	health *health
	topic  string

	mu     sync.Mutex
	bad    map[int]error // by job: see below
	reason string        // last logged, empty = none
	since  time.Time
	tries  int
}

// Jobs whose outcomes a trouble tells apart: reading a partition has the
// partition's number. Kept apart, a job that fails all the time is not taken for
// cured whenever another succeeds.
const wholeTopic = -1

// committing is the job of committing a partition's offset.
func committing(partition int) int { return -2 - partition }

func newTrouble(b *Bus) *trouble {
	return &trouble{log: b.log, health: &b.health, topic: b.config.ControlTopic, bad: map[int]error{}}
}

// note records the outcome of a job. Failures that merely follow from ctx's end
// are none.
func (t *trouble) note(ctx context.Context, job int, err error) {
	if err != nil && ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		delete(t.bad, job)
		if len(t.bad) > 0 {
			return
		}
		t.health.set(jobControl, nil)
		if t.reason != "" {
			t.log.Info("control topic is served again", "topic", t.topic, "reason", t.reason,
				"after", time.Since(t.since).Round(time.Millisecond), "failures", t.tries)
			t.reason, t.tries = "", 0
		}
		return
	}
	t.bad[job] = err
	t.tries++
	reason := t.reasons()
	if t.reason == "" {
		t.since = time.Now()
	}
	if reason != t.reason {
		t.reason = reason
		t.log.Warn("control topic cannot be served", "topic", t.topic, "reason", reason, "error", err)
	}
	t.health.set(jobControl, err)
}

// reasons sums up why jobs fail at present. It does not depend on which failed
// last, so that two that fail differently are not a change at every try.
func (t *trouble) reasons() string {
	var out []string
	for _, err := range t.bad {
		out = append(out, reasonOf(err))
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ",")
}

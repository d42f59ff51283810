package connector

import (
	"context"
	"log/slog"
	"strings"
	"time"
)

// trouble logs a run of failures of one activity without flooding: the first
// failure, each change of failure, and the recovery with its count. One
// goroutine uses it at a time.
type trouble struct {
	log   *slog.Logger
	what  string // the activity, such as "publish"
	kind  string // of the last failure
	count int
	since time.Time
}

// note records a failure that will be tried again after wait.
func (t *trouble) note(err error, wait time.Duration) {
	t.count++
	if t.count == 1 {
		t.since = time.Now()
	}
	// Ports, addresses and times differ between failures of one kind.
	kind := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, err.Error())
	if kind == t.kind {
		return
	}
	t.kind = kind
	t.log.LogAttrs(context.Background(), slog.LevelWarn, "failed, will retry",
		slog.String("activity", t.what), slog.Any("error", err),
		slog.Duration("retry_in", wait), slog.Int("failures", t.count))
}

// over records that the activity works again.
func (t *trouble) over() {
	if t.count == 0 {
		return
	}
	t.log.LogAttrs(context.Background(), slog.LevelInfo, "recovered",
		slog.String("activity", t.what), slog.Int("failures", t.count),
		slog.Duration("after", time.Since(t.since).Round(time.Millisecond)))
	*t = trouble{log: t.log, what: t.what}
}

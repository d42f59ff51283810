package pushover

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	shortPause, longPause = time.Second, 5 * time.Second
	maxReloads            = 3 // in a row, before they count as trouble
)

// A pause decides how long to wait between streams.
type pause struct {
	ladder  *backoff.ExponentialBackOff
	reloads int // in a row, of streams that did not hold
}

func newPause() pause { return pause{ladder: newLadder()} }

func (p *pause) next(e ending) time.Duration {
	if e.held {
		p.ladder.Reset()
		p.reloads = 0
		return between(shortPause, longPause)
	}
	if e.reason == ReasonReload && p.reloads < maxReloads {
		p.reloads++
		return between(shortPause, longPause)
	}
	return p.ladder.NextBackOff()
}

// A troubleLog says when trouble begins, changes and ends, not every time it is
// met.
type troubleLog struct {
	log      *slog.Logger
	what     string
	failures int
	last     string
}

func (t *troubleLog) failed(ctx context.Context, reason string, err error) {
	t.failures++
	text := errText(err)
	if t.failures > 1 && t.last == reason+text {
		return
	}
	t.last = reason + text
	level := slog.LevelWarn
	if err == nil { // asked to reload, or slept
		level = slog.LevelInfo
	}
	t.log.Log(ctx, level, "pushover trouble, will retry", "what", t.what, "reason", reason, "error", text, "failures", t.failures)
}

func (t *troubleLog) recovered(ctx context.Context) {
	if t.failures > 0 {
		t.log.InfoContext(ctx, "pushover recovered", "what", t.what, "failures", t.failures)
	}
	t.failures, t.last = 0, ""
}

package pushover

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// remindEvery is how often lasting trouble is logged although nothing changed.
const remindEvery = 5 * time.Minute

// A trouble is an activity of [Client.Listen] that fails and is tried again. It is
// logged when it begins, when it changes, now and then while it lasts and when it
// is over, not every time.
type trouble struct {
	log      *slog.Logger
	activity string // such as stream
	attempts int
	since    time.Time
	last     string
	logged   time.Time
}

func (t *trouble) failed(ctx context.Context, reason string, err error, retryIn time.Duration) {
	now := time.Now()
	if t.attempts == 0 {
		t.since = now
	}
	t.attempts++
	text := errText(err)
	if t.last == reason+text && now.Sub(t.logged) < remindEvery {
		return
	}
	t.last, t.logged = reason+text, now
	t.log.WarnContext(ctx, t.activity+" failed, retrying", //nolint:sloglint // the activities are few and fixed
		"reason", reason, "error", text, "attempts", t.attempts, "retry_in", retryIn)
}

func (t *trouble) recovered(ctx context.Context) {
	if t.attempts > 0 {
		t.log.InfoContext(ctx, t.activity+" recovered", //nolint:sloglint // as above
			"after", time.Since(t.since), "attempts", t.attempts)
	}
	t.attempts, t.last = 0, ""
}

// reasonToRepeat classifies what makes Listen download again.
func reasonToRepeat(err error) string {
	answer := (*APIError)(nil)
	switch {
	case errors.Is(err, errLater):
		return "handler"
	case errors.Is(err, ErrStalled):
		return "stalled"
	case errors.Is(err, ErrRateLimited):
		return "rate_limited"
	case errors.As(err, &answer):
		return "server_error"
	default:
		return ReasonNetwork
	}
}

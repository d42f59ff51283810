package connector

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// publishPace is how attempts at one bus are spaced: quick at first, since a
// broker's restart takes seconds and an alarm is waiting, and never more than nine
// seconds apart, jitter included: after an outage of any length the event is to be
// through within 15 seconds, of which a sink may need five to connect.
func publishPace() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 250 * time.Millisecond
	b.MaxInterval = 6 * time.Second
	return b
}

// syncPace is how syncs are spaced that fail in the same way each time, such as
// on an answer that is too large or a deletion that is refused.
func syncPace() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = minSyncRetry
	b.MaxInterval = 5 * time.Minute
	return b
}

// streamlessPace is how often the queue is looked at while there is no stream.
func streamlessPace() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = firstSync
	b.MaxInterval = 5 * time.Minute
	return b
}

// withGrace returns a context that is cancelled grace after ctx is, and carries
// its values. It bounds what a shutdown may still finish.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(grace):
			cancel()
		case <-out.Done():
		}
	})
	return out, func() { stop(); cancel() }
}

// pause waits for d, or until ctx ends, and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

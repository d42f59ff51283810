package pushover

import (
	"context"
	"time"
)

const (
	sleepCheck = 5 * time.Second
	sleepJump  = 30 * time.Second // more than a clock is set by in the ordinary way
)

// awaitWakeUp returns true when the machine has been asleep: the wall clock went
// on while the monotonic clock, which drives all timers, did not. A connection
// is then dead more often than not, and would show it only after the time of
// silence. It returns false when ctx ends. wall is [time.Now] except in tests.
func awaitWakeUp(ctx context.Context, wall func() time.Time) bool {
	t := time.NewTicker(sleepCheck)
	defer t.Stop()
	lastWall, last := wall(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
		w, now := wall(), time.Now()
		// Round strips the monotonic reading, so that wall times are compared.
		if w.Round(0).Sub(lastWall.Round(0))-now.Sub(last) > sleepJump {
			return true
		}
		lastWall, last = w, now
	}
}

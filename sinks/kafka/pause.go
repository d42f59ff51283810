package kafka

import (
	"context"
	"math/rand/v2"
	"time"
)

// A pause grows from min to max, with jitter, until it is reset.
type pause struct {
	min, max, current time.Duration
}

func newPause(lowest, highest time.Duration) *pause {
	return &pause{min: lowest, max: highest}
}

func (p *pause) next() time.Duration {
	p.current = min(max(2*p.current, p.min), p.max)
	return p.current/2 + rand.N(p.current/2+1) //nolint:gosec // jitter need not be secret
}

func (p *pause) reset() { p.current = 0 }

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

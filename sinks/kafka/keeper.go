package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	// keepInterval is how often an idle producer proves that it is alive. A
	// partition forgets an idle producer after a day (producer.id.expiration.ms),
	// the coordinator its transactional id after seven
	// (transactional.id.expiration.ms); a forgotten one cannot be fenced.
	keepInterval = 6 * time.Hour
	keepRetry    = 10 * time.Second
)

// keep renews the fence now and then, so that neither the coordinator nor the
// partitions forget an idle producer, and looks after a cluster that may be out
// of reach.
func (b *Bus) keep(ctx context.Context) {
	renewal := time.NewTimer(keepInterval)
	defer renewal.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.suspicion:
			b.awaitReachable(ctx)
		case <-renewal.C:
			if next := b.keepClaim(ctx); next > 0 {
				renewal.Reset(next)
			}
		}
	}
}

// keepClaim renews the fence and returns when to do so again, 0 for never.
func (b *Bus) keepClaim(ctx context.Context) (next time.Duration) {
	err := b.renew(ctx)
	b.report(ctx, b.claiming, err, keepRetry)
	switch {
	case err == nil:
		return keepInterval
	case errors.Is(err, connector.ErrFenced):
		return 0
	default:
		return keepRetry
	}
}

// suspect has the keeper see whether the cluster can be reached.
func (b *Bus) suspect() {
	select {
	case b.suspicion <- struct{}{}:
	default:
	}
}

// awaitReachable looks at the cluster and the event topics until they are there.
// It uses nothing that a publish waits for.
func (b *Bus) awaitReachable(ctx context.Context) {
	for pause := newBackOff(backoffMin, backoffMax); ; {
		err := b.probe(ctx)
		wait := pause.NextBackOff()
		b.report(ctx, b.reaching, err, wait)
		if err == nil || sleep(ctx, wait) != nil {
			return
		}
	}
}

func (b *Bus) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	topics, err := b.describe(ctx, b.topicNames())
	if err != nil {
		return err
	}
	for _, name := range b.topicNames() {
		if err := topics[name].err; err != nil && name != b.config.ControlTopic {
			return b.explain(err, name)
		}
	}
	return nil
}

// renew writes the fence again, or takes the device over again if the producer is
// not ready.
func (b *Bus) renew(ctx context.Context) error {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	switch {
	case b.fenced != nil:
		return b.fenced
	case !b.ready:
		return b.retake(ctx)
	case !b.transactional:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	err := b.fence(ctx)
	switch {
	case err == nil:
		b.ready = true
	case errors.Is(err, connector.ErrFenced):
		b.markFenced(err)
	default:
		b.invalidateOn(err)
	}
	return err
}

// newBackOff returns growing pauses between attempts.
func newBackOff(first, longest time.Duration) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = first, longest, 2
	return b
}

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

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

// keep renews the fences now and then, so that neither the coordinator nor the
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
			next := time.Now().Add(keepInterval)
			for _, pr := range b.current() {
				if !time.Now().Before(pr.renewAt) {
					pr.renewAt = time.Now().Add(pr.keepClaim(ctx))
				}
				if pr.renewAt.Before(next) {
					next = pr.renewAt
				}
			}
			renewal.Reset(time.Until(next))
		}
	}
}

// keepClaim renews the fence and returns when to do so again.
func (pr *producer) keepClaim(ctx context.Context) (next time.Duration) {
	err := pr.renew(ctx)
	pr.report(ctx, pr.claiming, err, keepRetry)
	if err == nil || errors.Is(err, connector.ErrFenced) {
		return keepInterval
	}
	return keepRetry
}

// renew writes the fence again, or takes the device over again if the producer is
// not ready.
func (pr *producer) renew(ctx context.Context) error {
	select {
	case pr.turn <- struct{}{}:
		defer func() { <-pr.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	switch {
	case pr.state == fenced:
		return pr.fencedBy
	case pr.state != ready:
		return pr.retake(ctx)
	case pr.txnID == "":
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	err := pr.fence(ctx)
	if err == nil {
		pr.state = ready
		return nil
	}
	pr.invalidateOn(err)
	return pr.fencedOff(err)
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

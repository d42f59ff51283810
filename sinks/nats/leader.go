package nats

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// lookInterval is how often the stream of messages is looked at while all is
// well: it can be changed or deleted under a connection that stays.
const lookInterval = 30 * time.Second

// ensureStreams creates what is missing of both streams and verifies what is
// there. It returns what is known of the stream of messages.
func (b *Bus) ensureStreams(ctx context.Context) (*streamInfo, error) {
	messages, control := b.needs()[0], b.needs()[1]
	info, err := b.awaitStream(ctx, messages)
	if err != nil {
		_, controlErr := b.ensureStream(ctx, control) // its fault, too, is told at once
		return nil, errors.Join(err, controlErr)
	}
	_, err = b.awaitStream(ctx, control)
	return info, err
}

// awaitStream is ensureStream for a cluster that may not be able to answer just
// now, as after a restart of its servers: it asks again until ctx ends.
func (b *Bus) awaitStream(ctx context.Context, need streamNeed) (*streamInfo, error) {
	for attempt := 1; ; attempt++ {
		info, err := b.ensureStream(ctx, need)
		if err == nil || !b.leaderless(err) {
			return info, err
		}
		wait := backoff(attempt)
		b.streams.Failed(b.classify(err), time.Now().Add(wait))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// leaderless reports whether a request to the JetStream API may have failed only
// because there was no leader to answer it.
func (b *Bus) leaderless(err error) bool {
	var api *jetstream.APIError
	switch {
	case b.apiDenial() != nil:
		return false
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		// A server on its own has no JetStream then. One in a cluster may
		// speak for others that have.
		return b.nc.ConnectedClusterName() != ""
	case errors.As(err, &api):
		return api.ErrorCode == codeClusterNotAvailable
	}
	return timedOut(err) || errors.Is(err, errNotConnected)
}

// watchStreams reports until ctx ends whether the stream of messages is there and
// fits: at each new connection, and now and then. Of the control stream nothing
// is asked: messages go on without it, and the commands have a report of their own.
func (b *Bus) watchStreams(ctx context.Context) {
	for failures := 0; ; {
		wait := lookInterval
		if failures > 0 {
			wait = backoff(failures)
		}
		select {
		case <-time.After(wait):
		case <-b.link.session():
		case <-ctx.Done():
		}
		if !b.link.await(ctx) {
			return
		}
		asking, cancel := b.link.while(ctx)
		info, err := b.ensureStream(asking, b.needs()[0])
		lost := asking.Err() != nil
		cancel()
		switch {
		case lost: // which is reported as such
		case err != nil:
			failures++
			b.streams.Failed(b.classify(err), time.Now().Add(backoff(failures)))
		default:
			failures = 0
			b.pub.stream.Store(info)
			b.streams.OK()
		}
	}
}

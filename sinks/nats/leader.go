package nats

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// electionTime is how long a cluster may take to find a leader.
	electionTime = time.Minute

	// restartTime is how long no server of a cluster may have JetStream, as
	// while the only ones that have it restart.
	restartTime = 20 * time.Second
)

// errClusterNotAvailable is the server's code for "JetStream system temporarily
// unavailable", which nats.go has no name for.
const errClusterNotAvailable jetstream.ErrorCode = 10008

// ensureStreams makes what is missing of both streams and verifies what is
// there. It returns what is known of the stream of messages.
func (b *Bus) ensureStreams(ctx context.Context) (*jetstream.StreamInfo, error) {
	messages, control := b.needs()[0], b.needs()[1]
	info, err := b.awaitStream(ctx, messages)
	if err != nil {
		_, controlErr := b.ensureStream(ctx, control) // its fault, too, is told at once
		return nil, errors.Join(err, controlErr)
	}
	_, err = b.awaitStream(ctx, control)
	return info, err
}

// awaitStream is ensureStream for a cluster that may have nobody to answer just
// now, as after a restart of its servers: it asks again until the patience with
// one cause after the other, or ctx, ends.
func (b *Bus) awaitStream(ctx context.Context, need streamNeed) (*jetstream.StreamInfo, error) {
	var since time.Time // of the cause
	var limit time.Duration
	for attempt := 1; ; attempt++ {
		info, err := b.ensureStream(ctx, need)
		if err == nil {
			return info, nil
		}
		if p := b.patience(err); p != limit {
			since, limit = time.Now(), p
		}
		left := limit - time.Since(since)
		if left <= 0 {
			return nil, err
		}
		if attempt == 1 {
			b.log.Info("nats jetstream does not answer yet", "error", err)
		}
		select {
		case <-time.After(min(backoff(attempt), left)):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// patience is how long a request to the JetStream API is worth repeating that
// failed with err: not at all unless it may have failed only because there was
// no leader to answer it.
func (b *Bus) patience(err error) time.Duration {
	var api *jetstream.APIError
	switch {
	case b.link.denial("") != nil:
		return 0
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		// A server on its own has no JetStream then. One in a cluster may
		// speak for others that have.
		if b.nc.ConnectedClusterName() == "" {
			return 0
		}
		return restartTime
	case errors.As(err, &api):
		if api.ErrorCode != errClusterNotAvailable {
			return 0
		}
		return electionTime
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return electionTime
	}
	return 0
}

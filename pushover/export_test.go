package pushover

import (
	"context"
	"io"
	"time"
)

// Seams for the external tests.

func ReadBatch(r io.Reader, maxMessages, maxBytes int) (*Batch, error) {
	return readBatch(r, maxMessages, maxBytes)
}

func (c *Client) FollowWithClock(ctx context.Context, f Follower, wall func() time.Time) error {
	return c.follow(ctx, f, wall)
}

const (
	MaxRejections = maxRejections
	MaxRemembered = maxRemembered
	SafetySync    = safetySync
)

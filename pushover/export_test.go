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

// LimitBody reads at most limit bytes, as the body of an answer is read.
func LimitBody(r io.Reader, limit int64) io.Reader { return &bodyReader{r: r, left: limit} }

const (
	MaxRejections = maxRejections
	MaxRemembered = maxRemembered
	SafetySync    = safetySync
)

// Untold is how many states of the REST side are kept to be reported.
func (c *Client) Untold() int {
	c.link.gate.mu.Lock()
	defer c.link.gate.mu.Unlock()
	return len(c.link.gate.untold)
}

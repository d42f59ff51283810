package pushover

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

// The service blocks an address that sends many bad requests within minutes
// (https://pushover.net/api#friendly). So after ten rejections in a row an
// operation goes on slowly. It does so alone: a download must not wait because
// somebody acknowledges receipts that the service does not know.
const (
	maxRejections = 10
	slowest       = 30 * time.Second // between calls that are likely to be rejected
)

// A brake slows one operation down.
type brake struct {
	rejected int       // in a row
	until    time.Time // the next call's time
	ladder   *backoff.ExponentialBackOff
}

func newBrake() *brake { return &brake{ladder: newLadder(slowest)} }

func (b *brake) reject() {
	b.rejected++
	if b.rejected >= maxRejections {
		b.slow(0)
	}
}

// slow keeps the next call at a distance.
func (b *brake) slow(atLeast time.Duration) {
	b.until = time.Now().Add(max(b.ladder.NextBackOff(), atLeast))
}

func (b *brake) release() {
	b.rejected, b.until = 0, time.Time{}
	b.ladder.Reset()
}

// AcknowledgeDelay returns how long an acknowledgement would be held back now
// because the service has rejected so many, unless its context is from [Sure].
func (c *Client) AcknowledgeDelay() time.Duration {
	c.link.gate.mu.Lock()
	defer c.link.gate.mu.Unlock()
	return max(0, time.Until(c.link.gate.brake(opAcknowledge).until))
}

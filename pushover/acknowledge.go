package pushover

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Acknowledge acknowledges an emergency message on behalf of the user. It stops
// the repetition on all of the user's devices, or of a whole group, and tells the
// sender the device's name. Do it on somebody's decision only.
// Acknowledging again is harmless. See https://pushover.net/api/client#p2.
func (c *Client) Acknowledge(ctx context.Context, r Receipt) error {
	if _, err := ParseReceipt(string(r)); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	secret := c.o.Credentials.Secret.Reveal()
	if secret == "" {
		return errors.New("acknowledge: no session secret; log in first")
	}
	return c.call(ctx, &request{
		op: opAcknowledge, method: http.MethodPost,
		path:    []string{"1", "receipts", string(r), "acknowledge.json"},
		form:    []field{{"secret", secret}},
		private: []string{string(r)}, limit: maxDocument,
		read: readStatus,
	})
}

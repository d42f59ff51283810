package pushover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// DeleteThrough deletes every message of the device whose id is id or less. It
// cannot be undone, and there is no way to delete a single message in the middle:
// pass the id of the last message before the first that is not safely dealt with.
// Deleting again is harmless. See https://pushover.net/api/client#delete.
func (c *Client) DeleteThrough(ctx context.Context, id MessageID) error {
	if id <= 0 {
		return errors.New("delete: message id must be positive")
	}
	if err := c.usable(opDelete); err != nil {
		return err
	}
	cr := c.o.Credentials
	return c.call(ctx, &request{
		op: opDelete, method: http.MethodPost,
		path:  []string{"1", "devices", cr.DeviceID.Reveal(), "update_highest_message.json"},
		form:  []field{{"secret", cr.Secret.Reveal()}, {"message", id.String()}},
		limit: maxDocument,
		read:  readStatus,
	})
}

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

func readStatus(body io.Reader, _ http.Header) error {
	_, err := readSuccess(body)
	return err
}

// usable checks the credentials of a call that needs both parts.
func (c *Client) usable(op string) error {
	if err := c.o.Credentials.Validate(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

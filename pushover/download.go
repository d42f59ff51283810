package pushover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"
)

// Download fetches the messages that wait for the device, lowest ids first. It
// changes nothing on the server: messages wait until [Client.DeleteThrough], or
// for 21 days. An empty queue gives an empty Batch. One download need not bring
// the whole backlog even if More is not set; [Client.Messages] repeats it.
//
// Memory stays within [Options.MaxBatch] and [Options.MaxBatchBytes] and one
// message of at most 1 MiB, however long the list is. What is odd in a message
// does not stop the others: a field of an unexpected type counts as absent and is
// still in [Message.Raw]. Only a message whose id cannot be read makes the
// download fail, since deleting past it would lose it; so does a list that is
// not JSON. A larger message or body fails with [ErrTooLarge].
// See https://pushover.net/api/client#download.
func (c *Client) Download(ctx context.Context) (*Batch, error) {
	if err := c.usable(opMessages); err != nil {
		return nil, err
	}
	cr := c.o.Credentials
	urges := c.link.gate.urged()
	begun := time.Now()
	var b *Batch
	err := c.call(ctx, &request{
		op: opMessages, method: http.MethodGet, path: []string{"1", "messages.json"},
		form:  []field{{"secret", cr.Secret.Reveal()}, {"device_id", cr.DeviceID.Reveal()}},
		limit: c.o.MaxBody, long: true,
		read: func(body io.Reader, h http.Header) (err error) {
			if b, err = readBatch(body, c.o.MaxBatch, c.o.MaxBatchBytes); err == nil {
				c.settler.settle(b, begun, h)
			}
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	if len(b.Messages) == 0 {
		c.link.gate.calm(urges)
	}
	return b, nil
}

// Messages downloads until the queue is empty and yields each batch. The loop
// body handles the messages and deletes what it handled with
// [Client.DeleteThrough], as far as it has settled; the next download then brings
// what is left, those that had not settled once more, after [Batch.SettlesIn]. It
// ends when the queue is empty (or holds only ids that can never settle), after an
// error, and with [ErrStalled] when a
// download brings the same messages as the one before and none besides, though
// they could have been deleted. An empty batch is not yielded.
func (c *Client) Messages(ctx context.Context) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		var first, last, settled MessageID
		for {
			b, err := c.Download(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(b.Messages) == 0 {
				return
			}
			if id := b.Messages[0].ID; id == first && b.Last() <= last && id <= settled {
				yield(nil, fmt.Errorf("messages: %w", ErrStalled))
				return
			}
			first, last, settled = b.Messages[0].ID, b.Last(), b.Settled
			if !yield(b, nil) {
				return
			}
			switch {
			case first <= settled:
			case b.SettlesIn == 0:
				return
			case !wait(ctx, b.SettlesIn):
				yield(nil, fmt.Errorf("messages: %w", context.Cause(ctx)))
				return
			}
		}
	}
}

// DeleteThrough deletes every message of the device whose id is id or less. It
// cannot be undone, and there is no way to delete a single message in the middle:
// pass the id of the last message before the first that is not safely dealt with,
// and none above [Batch.Settled]. Deleting again is harmless. See https://pushover.net/api/client#delete.
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

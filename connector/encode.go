package connector

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// pieceSize is how many messages are encoded, published and cleared together: a
// long queue is not held in memory as events, and encoding goes on while the bus
// confirms.
const pieceSize = 2000

// A piece is a part of a download and its events.
type piece struct {
	messages []pushover.Message
	events   []Event
	err      error
}

// encodeAhead encodes messages piece by piece, one piece ahead of its receiver.
// stop ends it and waits until it has ended.
func (d *delivery) encodeAhead(rc reception, messages []pushover.Message) (pieces <-chan piece, stop func()) {
	out, quit := make(chan piece), make(chan struct{})
	var task sync.WaitGroup
	task.Go(func() {
		defer close(out)
		for part := range slices.Chunk(messages, pieceSize) {
			part = slices.Clone(part) // opened in place, while the receiver counts what is left
			events, err := d.events(rc, part)
			select {
			case out <- piece{part, events, err}:
			case <-quit:
				return
			}
		}
	})
	return out, func() {
		close(quit)
		task.Wait()
	}
}

// events encodes messages, and opens those that are end-to-end encrypted in
// place.
func (d *delivery) events(rc reception, messages []pushover.Message) ([]Event, error) {
	now := time.Now()
	events := make([]Event, len(messages))
	for i, m := range messages {
		if m.Encrypted || len(d.c.o.Keys) > 0 { // the flag may not reach a receiver
			opened, err := m.Decrypt(d.c.o.Keys)
			if err != nil {
				d.c.m.undecryptable.Inc()
				d.c.log.Warn("message not fully decrypted", slog.String("message_id", m.ID.String()), slog.Any("error", err))
			}
			m, messages[i] = opened, opened
		}
		repeatOf := d.c.emergencies.seen(m, now)
		var err error
		if events[i], err = messageEvent(rc, m, repeatOf, now); err != nil {
			return nil, err
		}
	}
	return events, nil
}

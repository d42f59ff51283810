package connector

import (
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// What the external tests look at directly.
var (
	ResultEvent = resultEvent
	DeadLetter  = deadLetter
	AppSlug     = appSlug
)

// MessageEvent makes the event of a message that a download of the named device
// brought, one without quiet hours.
func MessageEvent(device string, m pushover.Message, repeatOf string, now time.Time) (Event, error) {
	return messageEvent(newReception(device, new(pushover.Batch), now), m, repeatOf, now)
}

// MessageEvents makes events of the messages of one download, as MessageEvent does.
func MessageEvents(device string, now time.Time) func(m pushover.Message) (Event, error) {
	rc := newReception(device, new(pushover.Batch), now)
	return func(m pushover.Message) (Event, error) { return messageEvent(rc, m, "", now) }
}

// DecodeCommand returns the parts of a decoded command.
func DecodeCommand(body []byte) (verb, receipt, id string, err error) {
	c, err := decodeCommand(body)
	return c.verb, string(c.receipt), c.id, err
}

// RenderStatus returns what the status page shows: all of it, and the part that
// an event of /events carries.
func RenderStatus(s Status, now time.Time) (whole, live []byte, err error) {
	p := newPage(s, now)
	if whole, err = p.html("page"); err != nil {
		return nil, nil, err
	}
	live, err = p.event(true)
	return whole, live, err
}

// MaxStreams is the bound on open event streams.
const MaxStreams = maxStreams

// EventsLastHour is what the status counts of events at these times.
func EventsLastHour(now time.Time, times ...time.Time) int {
	var h hourly
	for _, t := range times {
		h.add(t, 1)
	}
	return h.sum(now)
}

// CountWhileEncoding counts what waits while it is encoded, as a delivery does,
// and returns how many messages were opened.
func CountWhileEncoding(c *Connector, messages []pushover.Message) (opened int) {
	ahead, stop := (&delivery{c: c}).encodeAhead(newReception("", &pushover.Batch{}, time.Time{}), messages)
	defer stop()
	left := messages
	for p := range ahead {
		left = left[len(p.messages):]
		c.health.waiting(left, true)
		for _, m := range p.messages {
			if m.Decrypted {
				opened++
			}
		}
	}
	return opened
}

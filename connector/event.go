package connector

import (
	"encoding/json"
	"time"
)

// Class says what an event is, and so which subject or topic it belongs on.
type Class int

// The classes of event a connector publishes.
const (
	ClassMessage    Class = iota // a Pushover message
	ClassResult                  // the outcome of a command
	ClassDeadLetter              // a message the bus refused in its ordinary form
)

// String returns the lower-case name used in logs and metric labels.
func (c Class) String() string {
	switch c {
	case ClassMessage:
		return "message"
	case ClassResult:
		return "result"
	case ClassDeadLetter:
		return "deadletter"
	default:
		return "unknown"
	}
}

// An Event is one CloudEvents 1.0 event together with what a [Sink] needs to
// route it. Events are values: a sink must not modify what they point to.
type Event struct {
	// ID never changes for a message, however often it is published: with
	// Source it is the key by which a bus, or a consumer, recognises a repeat.
	ID      string
	Source  string
	Type    string
	Subject string
	Time    time.Time // zero = absent

	// Extensions in the order they are encoded. Names are lower-case letters
	// and digits, 20 at most.
	Extensions []Extension

	// Data is the event's payload, always a JSON object on one line. Whoever makes
	// an event vouches for it: encoding looks only at its two ends.
	Data json.RawMessage

	// Schema is the name of the schema that Data keeps to: see [Schema].
	Schema string

	// Class, Route and Key address the event; they are not part of its
	// envelope. Route holds the subject's tokens after the prefix, such as
	// "messages", "high", "grafana"; each is a legal NATS token. Key is what
	// must stay in one order: the source of a message, the receipt of a result.
	Class Class
	Route []string
	Key   string

	// Stored, unless nil, is called once the event is confirmed, with its place in
	// the log if the bus told it: before Publish returns, by the goroutine that
	// called it.
	Stored func(place string)

	// Lost says that the log confirmed the event before and did not hold it when it
	// was read back: it is to be stored again if it is still not there, even by a bus
	// that remembers it.
	Lost bool
}

// An Extension is one CloudEvents extension attribute. CloudEvents knows
// integers only up to 32 bits, so an id is always a string here.
type Extension struct {
	Name  string
	Value any // string, int32 or bool
}

// DedupKey identifies the event among all events ever published to one log.
// It is stable across restarts: NATS carries it as Nats-Msg-Id, and a repeat
// with the same key adds nothing to the log. A dead letter has a key of its
// own, since the message it stands for never reached the log.
func (e Event) DedupKey() string {
	key := e.Source + "#" + e.ID
	if e.Class == ClassDeadLetter {
		key += "#deadletter"
	}
	return key
}

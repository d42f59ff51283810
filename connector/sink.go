package connector

import (
	"context"
	"errors"
	"time"
)

// ErrRejected is wrapped by a [Sink]'s error when the first unconfirmed event
// will never be accepted in its present form, for instance because it is larger
// than the broker allows. Trying it again is pointless; the connector publishes
// it as a dead letter instead.
var ErrRejected = errors.New("event rejected by the bus")

// ErrFenced is wrapped by a [Sink]'s error when another connector for the same
// device has taken over the log. It is final: the caller must stop publishing.
var ErrFenced = errors.New("another connector took over")

// A Sink makes events durable.
//
// Publish appends events to the log, in the order given, and returns the length
// of the prefix that is now durable: events[:confirmed] would survive the loss
// of this process and, as far as [Durability] grades the bus, of the broker.
// confirmed is len(events) exactly when err is nil.
//
// An event the log already holds (the same [Event.DedupKey]) counts as
// confirmed and adds nothing, whoever published it and however long ago, as far
// back as the sink's documentation says it can tell.
//
// A plain error means that the outcome of events[confirmed:] is unknown or
// negative: the caller tries again from events[confirmed], and the sink ensures
// that this causes no duplicate, no gap and no change of order. An error that wraps [ErrRejected] says that events[confirmed] itself can never be
// accepted. One that wraps [ErrFenced] says that the sink must not be used again.
//
// Publish retries nothing: the caller owns retry and its pace. When ctx ends,
// Publish returns soon, reports what was confirmed by then, and wraps ctx.Err().
// An empty batch is confirmed at once. Publish is safe for concurrent use; calls
// are carried out one after the other.
type Sink interface {
	Publish(ctx context.Context, events []Event) (confirmed int, err error)
}

// A Verifier is a [Sink] that can read its log back.
//
// Holds returns the length of the prefix of events that the log holds at the
// moment of asking, read from the log and not from memory. It is what stands
// between a confirmation that a power cut could take back and the deletion of
// the only other copy: see the connector's clear delay.
type Verifier interface {
	Holds(ctx context.Context, events []Event) (held int, err error)
}

// A Reader is a [Sink] whose log can be read.
//
// Read calls f for each event that q selects, oldest first, and returns nil when
// it has reached what was the log's end at the start or, if q.Follow is set,
// only when ctx ends. An error of f ends it and is returned. Records that are not
// events of a connector are passed over. It may be called concurrently with
// any other method, and changes nothing on the bus.
type Reader interface {
	Read(ctx context.Context, q Query, f func(Stored) error) error
}

// A Query selects events of a log.
type Query struct {
	Classes  []Class   // of these classes; none means all
	Priority string    // only messages of this priority, by name; "" means all. Other classes are not affected
	Since    time.Time // taken in by the bus at this time or later; zero means from the beginning
	Last     int       // only this many, the newest; 0 means all
	Follow   bool      // keep going with new events
}

// A Stored event is one that a log holds.
type Stored struct {
	Event           // as published, but without Route and Key
	Place string    // in the log, such as "PUSHOVER#8123" or "pushover.messages/0@8123"
	At    time.Time // when the bus took it in
}

// Grade sums up how far a confirmation of a bus can be relied upon.
type Grade int

// Grades, worst first.
const (
	GradeNone    Grade = iota // confirms without keeping anything, such as a terminal
	GradeProcess              // survives the connector, not the broker's process
	GradeCrash                // survives the broker's process, perhaps not a power cut
	GradePower                // survives a power cut of one machine, or the loss of one
)

// String returns the grade's name as it appears in logs, metrics and check.
func (g Grade) String() string {
	switch g {
	case GradeNone:
		return "none"
	case GradeProcess:
		return "process"
	case GradeCrash:
		return "crash"
	case GradePower:
		return "power"
	default:
		return "unknown"
	}
}

// Durability says how safe the events that a bus confirms are, judging by its
// configuration.
type Durability struct {
	Grade Grade

	// Facts are the settings the grade was derived from, one short phrase each,
	// such as "storage file" or "replicas 3".
	Facts []string

	// Warnings are settings that can lose or repeat an event, each a sentence
	// with the remedy.
	Warnings []string
}

// Check is the outcome of one named test of a collaborator.
type Check struct {
	Name   string
	Detail string // what was found, when Err is nil
	Err    error
}

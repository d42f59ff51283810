package connector

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// A Command is one command as a bus delivered it.
type Command struct {
	// ID names the command's place on the bus, such as "PUSHOVER_CONTROL#17".
	// It is the same at every redelivery and unique among all commands, and so
	// makes the result's event id.
	ID string

	// Body is what the sender published: JSON, a bare receipt, or a whole event
	// of ours. It is untrusted.
	Body []byte

	// Time is when the bus took the command in, the same at every redelivery. The
	// command expires three hours later. Zero means now.
	Time time.Time

	// Arrived is a time at which the bus did not have the command yet, for a bus whose
	// Time may be a sender's clock. The command expires three hours after it, if it
	// is not zero.
	Arrived time.Time

	// Progress, unless nil, is called from time to time while the command is being
	// carried out, to tell the bus that it is still in progress.
	Progress func()

	key string // its place, once Time may have been put right
}

// place tells a command from all others, also from one that has its number on a bus
// that numbers its commands anew.
func (c Command) place() string {
	switch {
	case c.key != "":
		return c.key
	case c.Time.IsZero():
		return c.ID
	}
	return numberAt(c.ID, c.Time)
}

// numberAt is a command's number on the bus with its time.
func numberAt(id string, at time.Time) string { return id + "@" + strconv.FormatInt(at.UnixNano(), 10) }

// since is when the command's life began.
func (c Command) since() time.Time {
	if !c.Arrived.IsZero() {
		return c.Arrived
	}
	return c.Time
}

// ResultStatus is how a command ended.
type ResultStatus string

// The ways a command ends.
const (
	StatusAcknowledged ResultStatus = "acknowledged" // an ack
	StatusDone         ResultStatus = "done"         // a status, sync or resume
	StatusRejected     ResultStatus = "rejected"     // will never succeed; see Reason
	StatusExpired      ResultStatus = "expired"      // too old to be carried out
)

// A Result is the outcome of a command: the data of the result event, and the
// answer to a request.
type Result struct {
	Command     string       `json:"command,omitempty"` // status, sync or resume; absent for an ack
	Receipt     string       `json:"receipt,omitempty"` // absent when the command had none
	Status      ResultStatus `json:"status"`
	Reason      string       `json:"reason,omitempty"` // why it was rejected or has expired
	Answer      *Status      `json:"answer,omitempty"` // to a status command
	Device      string       `json:"device"`           // the device that acknowledges
	CommandID   string       `json:"command_id"`       // the sender's id, else the bus's
	Attempts    int          `json:"attempts"`         // calls to Pushover made for it
	CommandedAt time.Time    `json:"commanded_at"`
	CompletedAt time.Time    `json:"completed_at"`

	// Malformed says that the command itself could not be understood, so that
	// the bus can mark it as poison. It is not published.
	Malformed bool `json:"-"`
}

// A CommandHandler carries out one command. A nil error means that the command
// has ended and its result is durable on the bus: it must now be settled there
// and never be delivered again. An error means that nothing was decided, and the
// command must be delivered again, unchanged: after [RetryError.After] if the
// error is a *[RetryError], else when it suits the bus.
//
// A handler is safe for concurrent use, and no order of commands is needed.
type CommandHandler func(ctx context.Context, cmd Command) (Result, error)

// ErrNoResult says that a command is on the bus and will be carried out, but that
// its result did not arrive in time.
var ErrNoResult = errors.New("its result has not arrived")

// RetryError asks for a command to be delivered again, no sooner than After.
type RetryError struct {
	After time.Duration
	Err   error
}

// Error implements error.
func (e *RetryError) Error() string {
	return fmt.Sprintf("try again in %v: %v", e.After, e.Err)
}

// Unwrap returns the cause.
func (e *RetryError) Unwrap() error { return e.Err }

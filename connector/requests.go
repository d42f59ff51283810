package connector

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Endpoints returns the requests this connector answers: ack, status, sync and
// resume.
func (c *Connector) Endpoints() []Endpoint {
	return []Endpoint{
		{
			Name:          "ack",
			Description:   "Acknowledge an emergency and wait for the result. For a command that must survive an outage, publish to the control subject instead.",
			RequestSchema: Schema(SchemaCommand), ResponseSchema: Schema(SchemaResult),
			Handle: c.requestAck,
		},
		{
			Name:          "status",
			Description:   "Which parts work, which fail, since when and why, and the outstanding emergencies.",
			RequestSchema: Schema(SchemaEmpty), ResponseSchema: Schema(SchemaStatus),
			Handle: func(context.Context, []byte) ([]byte, error) { return json.Marshal(c.Status()) },
		},
		{
			Name:          "sync",
			Description:   "Download now.",
			RequestSchema: Schema(SchemaEmpty), ResponseSchema: Schema(SchemaAccepted),
			Handle: func(context.Context, []byte) ([]byte, error) { return accept(c.requestSync()) },
		},
		{
			Name:          "resume",
			Description:   "Start a new session after the cause for which it was halted is gone.",
			RequestSchema: Schema(SchemaEmpty), ResponseSchema: Schema(SchemaAccepted),
			Handle: func(context.Context, []byte) ([]byte, error) { return accept(c.Resume()) },
		},
	}
}

// requestSync asks for a download, unless the session is halted: then there will
// be none.
func (c *Connector) requestSync() error {
	s := c.health.snapshot()
	if !s.State.halted() {
		c.Sync()
		return nil
	}
	p := s.part(PartSession)
	return &Failure{Reason: p.Reason, Detail: string(s.State) + ": " + p.Detail, Remedy: p.Remedy}
}

// accept answers a request that has no other answer than that it was accepted.
func accept(err error) ([]byte, error) {
	if err != nil {
		return nil, &RequestError{Code: http.StatusConflict, Description: err.Error()}
	}
	return accepted, nil
}

var accepted = []byte(`{"accepted":true}`)

// requestAck runs a command that arrived as a request. The answer to one that
// was rejected or has expired carries the result as its body too.
func (c *Connector) requestAck(ctx context.Context, body []byte) ([]byte, error) {
	cmd := Command{ID: "request#" + rand.Text(), Body: body, Time: time.Now()}
	result, err := c.HandleCommand(ctx, cmd)
	if err != nil && result.Status != "" {
		select {
		case c.commands.late <- cmd: // the sender learns the outcome now, the log later
			err = nil
		default:
			c.commands.lost(cmd)
		}
	}
	if err != nil {
		c.commands.forget(cmd)
		var retry *RetryError
		if errors.As(err, &retry) {
			err = retry.Err
		}
		what := "not acknowledged: "
		if result.Status != "" {
			what = ""
		}
		return nil, &RequestError{
			Code:        http.StatusServiceUnavailable,
			Description: what + err.Error() + "; a command on the control subject would be retried",
		}
	}
	answer, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	switch result.Status {
	case StatusAcknowledged:
		return answer, nil
	case StatusExpired:
		return nil, &RequestError{Code: http.StatusGone, Description: result.Reason, Body: answer}
	default:
		code := http.StatusNotFound
		if result.Malformed {
			code = http.StatusBadRequest
		}
		return nil, &RequestError{Code: code, Description: result.Reason, Body: answer}
	}
}

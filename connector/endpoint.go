package connector

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// Secret is a configuration value that prints as REDACTED wherever it goes.
type Secret = pushover.Secret

// An Endpoint is one request that a running connector answers. The bus only
// carries it: what is asked and answered is the same on each.
type Endpoint struct {
	Name        string // one subject token: ack, status, sync, resume
	Description string

	// RequestSchema and ResponseSchema are JSON Schemas of the two bodies.
	RequestSchema, ResponseSchema json.RawMessage

	// Handle answers one request. The answer is JSON. An error that is a
	// *[RequestError] carries the code to answer with; any other means 500.
	Handle func(ctx context.Context, body []byte) ([]byte, error)
}

// RequestError is the answer to a request that could not be met.
type RequestError struct {
	Code        int    // as in HTTP: 400, 404, 409, 503 ...
	Description string // one line, free of secrets and message text

	// Body, unless nil, is sent as the answer's JSON body.
	Body []byte
}

// Error implements error.
func (e *RequestError) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Description) }

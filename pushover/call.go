package pushover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// The operations, as they appear in errors and in RequestInfo.Op.
const (
	opLogin       = "login"
	opRegister    = "register"
	opMessages    = "messages"
	opDelete      = "delete"
	opAcknowledge = "acknowledge"
	opIcon        = "icon"
	opSound       = "sound"
	opStream      = "stream"
)

type field struct{ name, value string }

// A request is one REST call. Its form travels in the query of a GET and in the
// body of a POST.
type request struct {
	op, method string
	path       []string // segments after the root, not escaped
	form       []field
	private    []string // what no error may show, beside the credentials
	limit      int64    // of the body
	long       bool     // may take longer than Timeout while it makes progress
	sure       bool     // see Sure

	// read takes the body of a 2xx answer. For a file, any 4xx is a verdict on
	// the request; else only a JSON document in the service's form is.
	read func(body io.Reader, h http.Header) error
	file bool
}

// errAborted ends a request that took too long.
var errAborted = abortedError{}

type abortedError struct{}

func (abortedError) Error() string        { return "no reply in time" }
func (abortedError) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// A long answer must bring this many bytes within each Timeout, and end within so
// many Timeouts: else one that trickles would hold its turn, and as a probe all
// other calls, for ever.
const (
	progressStep = 64 << 10
	longestCall  = 20
)

// usable checks the credentials of a call that needs both parts.
func (c *Client) usable(op string) error {
	if err := c.o.Credentials.Validate(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// call sends a request when it may be sent, and does the bookkeeping around it.
func (c *Client) call(ctx context.Context, rq *request) error {
	rq.private = append(rq.private, c.o.Credentials.Secret.Reveal(), c.o.Credentials.DeviceID.Reveal())
	rq.sure = isSure(ctx)
	id := c.rejected.fingerprint(rq)
	if err := c.rejected.lookup(id); err != nil {
		return notSent(err)
	}
	leave, err := c.link.enter(ctx, rq.op)
	if err != nil {
		return fmt.Errorf("%s: gave up waiting to send: %w", rq.op, err)
	}
	if err := c.rejected.lookup(id); err != nil { // a twin was faster
		leave(outcome{})
		return notSent(err)
	}
	start := time.Now()
	status, err := c.send(ctx, rq)
	took := time.Since(start)

	refusal := (*APIError)(nil)
	if errors.As(err, &refusal) && refusal.rejected() {
		c.rejected.add(id, refusal)
	}
	leave(outcomeOf(ctx, rq.op, err))
	c.report(ctx, RequestInfo{Op: rq.op, Status: status, Duration: took, Err: err})
	return err
}

func notSent(e *APIError) error {
	return fmt.Errorf("not retried, the same request was rejected before: %w", e)
}

func outcomeOf(ctx context.Context, op string, err error) outcome {
	e := (*APIError)(nil)
	isAnswer := errors.As(err, &e)
	o := outcome{err: err}
	if isAnswer {
		o.retryAfter = e.RetryAfter
	}
	switch {
	case err == nil, errors.Is(err, ErrTooLarge):
		o.verdict = verdictAnswered
	case errors.Is(err, ErrRateLimited):
		o.verdict = verdictLimited
	case isAnswer && e.odd():
		o.verdict = verdictOdd
	case errors.Is(err, ErrUnavailable):
		o.verdict = verdictTrouble
	case isAnswer && e.HTTPStatus == http.StatusNotFound && (e.Op == opIcon || e.Op == opSound):
		o.verdict = verdictMissing
	case isAnswer:
		o.verdict = verdictRejected
	case errors.Is(err, errMessageID):
		o.verdict = verdictAnswered
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		o.verdict = verdictLate
		o.err = &sendError{op: op, text: "no reply before the caller's deadline"}
	default: // the caller's context was cancelled
		o.verdict = verdictNone
	}
	return o
}

func (c *Client) report(ctx context.Context, info RequestInfo) {
	c.log.DebugContext(ctx, "request",
		"op", info.Op, "status", info.Status, "duration", info.Duration, "error", errText(info.Err))
	if c.o.OnRequest != nil {
		c.o.OnRequest(info)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// send is the only place that talks HTTP, and the only one that turns the
// transport's errors into ours. It uses the transport without [http.Client]:
// nothing then follows redirects, and no *url.Error with the query in it arises.
// status is 0 if no reply came.
func (c *Client) send(ctx context.Context, rq *request) (status int, err error) {
	limited, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	timer := time.AfterFunc(c.o.Timeout, func() { abort(errAborted) })
	defer timer.Stop()
	if rq.long && c.o.Timeout < math.MaxInt64/longestCall {
		whole := time.AfterFunc(longestCall*c.o.Timeout, func() { abort(errAborted) })
		defer whole.Stop()
	}

	req, err := c.build(limited, rq)
	if err != nil {
		return 0, &sendError{op: rq.op, text: "the request cannot be built"}
	}
	resp, err := c.link.transport.RoundTrip(req)
	if err != nil {
		return 0, rq.failure(ctx, limited, err)
	}
	defer func() { _ = resp.Body.Close() }()

	body := &bodyReader{r: resp.Body, left: rq.limit}
	if rq.long {
		body.onProgress = func() { timer.Reset(c.o.Timeout) }
	}
	err = rq.answer(resp, body)
	switch {
	case body.err == nil, errors.Is(body.err, ErrTooLarge) && err == nil, resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests:
		return resp.StatusCode, err // the body cannot change what the status says
	case !errors.Is(body.err, ErrTooLarge):
		return resp.StatusCode, rq.failure(ctx, limited, body.err)
	case resp.StatusCode/100 == 2:
		return resp.StatusCode, fmt.Errorf("%s: the answer is %w (limit %d bytes)", rq.op, ErrTooLarge, rq.limit)
	}
	return resp.StatusCode, err
}

// build makes the HTTP request. It has no GetBody, and a GET has an empty body
// of a kind of its own: else net/http would by itself repeat a request at once
// when a reused connection breaks, where the service wants 5 seconds between.
func (c *Client) build(ctx context.Context, rq *request) (*http.Request, error) {
	u := *c.api
	escaped := u.Path
	for _, p := range rq.path {
		escaped += "/" + url.PathEscape(p)
		u.Path += "/" + p
	}
	u.RawPath = escaped
	form := encodeForm(rq.form)
	body := io.MultiReader()
	length := int64(-1)
	if rq.method == http.MethodGet {
		u.RawQuery = form
	} else {
		body, length = io.MultiReader(strings.NewReader(form)), int64(len(form))
	}
	req, err := http.NewRequestWithContext(ctx, rq.method, u.String(), io.NopCloser(body))
	if err != nil {
		return nil, err
	}
	req.ContentLength = length
	req.Header.Set("User-Agent", c.o.UserAgent)
	if rq.method != http.MethodGet {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if !rq.file {
		req.Header.Set("Accept", "application/json")
	}
	return req, nil
}

// encodeForm keeps the order of the fields, unlike [url.Values].
func encodeForm(form []field) string {
	var b strings.Builder
	for i, f := range form {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(f.name + "=" + url.QueryEscape(f.value))
	}
	return b.String()
}

// failure makes the error for a request that got no answer or half of one.
func (rq *request) failure(ctx, limited context.Context, cause error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", rq.op, context.Cause(ctx))
	}
	if errors.Is(context.Cause(limited), errAborted) {
		return &sendError{op: rq.op, text: errAborted.Error(), cause: errAborted}
	}
	return newSendError(rq.op, cause, rq.private)
}

// A bodyReader bounds an answer and remembers what ended it.
type bodyReader struct {
	r          io.Reader
	left       int64
	onProgress func() // after every progressStep bytes
	progress   int    // since the last one
	err        error  // other than io.EOF
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if int64(len(p))-1 > b.left {
		p = p[:b.left+1] // one more than allowed tells a full body from a longer one
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.err = ErrTooLarge
		return n - 1, b.err
	}
	if b.progress += n; b.progress >= progressStep && b.onProgress != nil {
		b.progress = 0
		b.onProgress()
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

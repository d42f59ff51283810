package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Request asks a running connector's endpoint and returns the answer. An answer
// that is an error comes as a *[connector.RequestError], one that nobody gives as
// one with code 503.
func (b *Bus) Request(ctx context.Context, endpoint string, body []byte) ([]byte, error) {
	subject := b.cfg.SubjectPrefix + ".rpc." + endpoint
	answer, err := b.nc.RequestWithContext(ctx, subject, body)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, &connector.RequestError{Code: 503, Description: "no connector answers on " + subject + " at " + b.URL()}
	}
	if err != nil {
		if denial := b.link.denial(subject); denial != nil {
			err = fmt.Errorf("%w: %w", err, denial)
		}
		return nil, fmt.Errorf("request %s: %w", subject, err)
	}
	if description := answer.Header.Get(micro.ErrorHeader); description != "" || answer.Header.Get(micro.ErrorCodeHeader) != "" {
		code, err := strconv.Atoi(answer.Header.Get(micro.ErrorCodeHeader))
		if err != nil {
			code = 500
		}
		failed := &connector.RequestError{Code: code, Description: description}
		if len(answer.Data) > 0 {
			failed.Body = answer.Data
		}
		return nil, failed
	}
	return answer.Data, nil
}

// SendCommand puts a command on the control stream and waits until ctx ends for
// its result. A command once sent is carried out whether or not anybody waits.
func (b *Bus) SendCommand(ctx context.Context, body []byte) (connector.Result, error) {
	results := make(chan *nats.Msg, 1024)
	sub, err := b.nc.ChanSubscribe(b.cfg.SubjectPrefix+".results.>", results)
	if err != nil {
		return connector.Result{}, fmt.Errorf("subscribe to results: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // it fails only if the connection is closed
	if err := b.nc.FlushWithContext(ctx); err != nil {
		return connector.Result{}, fmt.Errorf("subscribe to results: %w", err)
	}
	ack, err := b.js.PublishMsg(ctx, &nats.Msg{Subject: b.controlSubject(), Data: body})
	if err != nil {
		if denial := b.link.denial(b.controlSubject()); denial != nil {
			err = fmt.Errorf("%w: %w", err, denial)
		}
		return connector.Result{}, fmt.Errorf("send command to %s: %w", b.controlSubject(), err)
	}
	id := fmt.Sprintf("%s#%d", ack.Stream, ack.Sequence)
	for {
		select {
		case m := <-results:
			if result, ok := resultOf(m, id); ok {
				return result, nil
			}
		case <-ctx.Done():
			err := fmt.Errorf("command %s was sent, %w: %w", id, connector.ErrNoResult, ctx.Err())
			if denial := b.link.denial(b.cfg.SubjectPrefix + ".results.>"); denial != nil {
				err = fmt.Errorf("%w: %w", err, denial)
			}
			return connector.Result{}, err
		}
	}
}

// resultOf decodes a result event, in either content mode, if it is that of the
// command with the bus's id: the event's own id starts with it. The sender's id
// tells nothing, since others may use the same.
func resultOf(m *nats.Msg, command string) (connector.Result, bool) {
	var event struct {
		ID   string           `json:"id"`
		Data connector.Result `json:"data"`
	}
	if m.Header.Get("ce-specversion") != "" {
		id, err := url.PathUnescape(m.Header.Get("ce-id"))
		if err != nil || json.Unmarshal(m.Data, &event.Data) != nil {
			return connector.Result{}, false
		}
		event.ID = id
	} else if json.Unmarshal(m.Data, &event) != nil {
		return connector.Result{}, false
	}
	return event.Data, event.ID == command || strings.HasPrefix(event.ID, command+"@")
}

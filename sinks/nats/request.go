package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Request asks a running connector's endpoint and returns the answer. An answer
// that is an error comes as a *[connector.RequestError], and so does the lack of
// one, with code 503.
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
		return nil, fmt.Errorf("request %s: %w", subject, b.classify(err))
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
// Any command will do, see [connector.Command].
func (b *Bus) SendCommand(ctx context.Context, body []byte) (connector.Result, error) {
	results := make(chan *nats.Msg, 1024)
	sub, err := b.nc.ChanSubscribe(b.cfg.SubjectPrefix+".results.>", results)
	if err != nil {
		return connector.Result{}, fmt.Errorf("subscribe to results: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // it fails only if the connection is closed
	if err := b.nc.FlushTimeout(apiTimeout); err != nil {
		return connector.Result{}, fmt.Errorf("subscribe to results: %w", err)
	}
	ack, err := b.js.PublishMsg(ctx, &nats.Msg{Subject: b.controlSubject(), Data: body})
	if err != nil {
		if denial := b.link.denial(b.controlSubject()); denial != nil {
			err = fmt.Errorf("%w: %w", err, denial)
		}
		return connector.Result{}, fmt.Errorf("send command to %s: %w", b.controlSubject(), b.classify(err))
	}
	id := placeOf(ack.Stream, ack.Sequence)
	for {
		select {
		case m := <-results:
			event, err := Binding.Decode(m.Header.Get, m.Data)
			if err != nil {
				continue // not an event
			}
			if result, ok := connector.ResultOf(event, id); ok {
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

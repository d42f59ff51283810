package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafka "github.com/segmentio/kafka-go"

	"github.com/pushover-connector/pushover-connector/connector"
)

// SendCommand publishes one command of any kind and waits for its result until ctx
// ends; the error then wraps [connector.ErrNoResult]. It takes nothing over and
// works beside a running connector. A command that was published is not withdrawn
// when ctx ends: it will still be carried out.
func (b *Bus) SendCommand(ctx context.Context, body []byte) (connector.Result, error) {
	res, err := b.sendCommand(ctx, body)
	return res, outcome(ctx, err)
}

func (k *cluster) sendCommand(ctx context.Context, body []byte) (connector.Result, error) {
	control := k.config.ControlTopic
	topics, err := k.describe(ctx, []string{control})
	if err == nil {
		err = topics[control].err
	}
	if err != nil {
		return connector.Result{}, k.explain(err, control)
	}
	// The result cannot stand in the topic before the command does.
	results := &reading{cluster: k, query: connector.Query{Classes: []connector.Class{connector.ClassResult}}}
	if err := results.begin(ctx); err != nil {
		return connector.Result{}, err
	}
	for _, c := range results.cursors {
		c.next = c.end
	}
	id, err := k.produceCommand(ctx, topics[control], body)
	if err != nil {
		return connector.Result{}, fmt.Errorf("publish the command: %w", err)
	}
	var result connector.Result
	results.handle = func(s connector.Stored) (err error) {
		var ours bool
		if result, ours = connector.ResultOf(s.Event, id); ours {
			err = errFound
		}
		return err
	}
	if err := results.follow(ctx); !errors.Is(err, errFound) {
		return connector.Result{}, fmt.Errorf("command %s is published, %w: %w", id, connector.ErrNoResult, err)
	}
	return result, nil
}

// errFound ends the reading of results.
var errFound = errors.New("the result is found")

// produceCommand appends a command once, however often it has to be sent, and
// returns its id.
func (k *cluster) produceCommand(ctx context.Context, t topic, body []byte) (string, error) {
	init, err := k.client.InitProducerID(ctx, &kafka.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1, TransactionTimeoutMs: -1})
	if err != nil {
		return "", unwrapClient(err)
	}
	if init.Error != nil {
		return "", init.Error
	}
	enc := newBatchEncoder(len(body) + 256)
	enc.add(record{value: body}, defaultMaxBytes)
	raw := enc.finish(time.Now(), int64(init.Producer.ProducerID), int16(init.Producer.ProducerEpoch), 0)
	for pause := newBackOff(backoffMin, backoffMax); ; {
		offset, err := k.produce(ctx, &partitionState{partitionKey: partitionKey{t.name, 0}}, &batch{raw: raw})
		code := codeOf(err)
		switch {
		case err == nil && offset >= 0:
			return placeName(t.name, 0, offset), nil
		case err == nil:
			return "", errors.New("the broker does not say where it put the command; look at the result topic")
		case code != 0 && !code.Temporary(), refusesUs(err):
			return "", k.explain(err, t.name)
		}
		if serr := sleep(ctx, pause.NextBackOff()); serr != nil {
			return "", fmt.Errorf("%w: %w", serr, err)
		}
	}
}

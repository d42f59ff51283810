package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/pushover-connector/pushover-connector/connector"
)

// SendCommand publishes one command and waits for its result, until ctx ends.
// It takes nothing over and works beside a running connector. A command that was
// published is not taken back when ctx ends: it will still be carried out.
func (b *Bus) SendCommand(ctx context.Context, body []byte) (connector.Result, error) {
	res, err := b.sendCommand(ctx, body)
	if err != nil {
		return connector.Result{}, fmt.Errorf("kafka: %w", err)
	}
	return res, nil
}

func (b *Bus) sendCommand(ctx context.Context, body []byte) (connector.Result, error) {
	topics, err := b.describe(ctx, b.topicNames())
	if err != nil {
		return connector.Result{}, err
	}
	for _, name := range []string{b.config.ControlTopic, b.config.ResultTopic} {
		if err := topics[name].err; err != nil {
			return connector.Result{}, b.explain(err, name)
		}
	}
	// Results are looked for from here on, so that an earlier command's result
	// with the same id is not taken for this one's.
	starts := make([]int64, topics[b.config.ResultTopic].partitions)
	for i := range starts {
		if starts[i], err = b.listOffset(ctx, b.config.ResultTopic, i, kafka.LastOffset); err != nil {
			return connector.Result{}, err
		}
	}
	id, err := b.produceCommand(ctx, topics[b.config.ControlTopic], body)
	if err != nil {
		return connector.Result{}, fmt.Errorf("publish the command: %w", err)
	}
	result, err := b.awaitResult(ctx, starts, []string{id, sendersID(body)})
	if err != nil {
		return connector.Result{}, fmt.Errorf("command %s is published, %w: %w", id, connector.ErrNoResult, err)
	}
	return result, nil
}

// produceCommand appends a command once, however often it has to be sent, and
// returns its id.
func (b *Bus) produceCommand(ctx context.Context, t topic, body []byte) (string, error) {
	init, err := b.client.InitProducerID(ctx, &kafka.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1, TransactionTimeoutMs: -1})
	if err != nil {
		return "", bare(err)
	}
	if init.Error != nil {
		return "", init.Error
	}
	key := connector.CommandKey(body)
	partition := partitionOf(key, t.partitions)
	enc := newBatchEncoder(len(body) + 256)
	enc.add(record{key: key, value: body}, defaultMaxBytes)
	raw := enc.finish(time.Now(), int64(init.Producer.ProducerID), int16(init.Producer.ProducerEpoch), 0)
	for pause := newPause(backoffMin, backoffMax); ; {
		offset, err := b.produce(ctx, &partitionState{partitionKey: partitionKey{t.name, partition}}, &batch{raw: raw})
		code := codeOf(err)
		switch {
		case err == nil && offset >= 0:
			return commandID(t.name, partition, offset), nil
		case err == nil:
			return "", errors.New("the broker does not say where it put the command; look at the result topic")
		case code != 0 && !code.Temporary(), reasonOf(err) == ReasonAuth:
			return "", b.explain(err, t.name)
		}
		if serr := sleep(ctx, pause.next()); serr != nil {
			return "", fmt.Errorf("%w: %w", serr, err)
		}
	}
}

// sendersID is the id the command's sender gave it, if any.
func sendersID(body []byte) string {
	var c struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(body, &c) // a bare receipt has none
	return c.ID
}

// awaitResult reads the result topic until one of the ids' result appears.
func (b *Bus) awaitResult(ctx context.Context, from []int64, ids []string) (connector.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		result connector.Result
		err    error
	}
	outcomes := make(chan outcome, len(from))
	for i := range from {
		go func() {
			r, err := b.watchResults(ctx, i, from[i], ids)
			outcomes <- outcome{r, err}
		}()
	}
	var first outcome
	for i := range from {
		o := <-outcomes
		if i == 0 || first.err != nil && o.err == nil {
			first = o
		}
		if o.err == nil {
			cancel() // and wait for the others
		}
	}
	return first.result, first.err
}

func (b *Bus) watchResults(ctx context.Context, partition int, next int64, ids []string) (connector.Result, error) {
	var match *connector.Result
	for pause := newPause(backoffMin, backoffMax); ; {
		after, err := b.fetch(ctx, b.config.ResultTopic, partition, next, controlWait, kafka.ReadCommitted, func(r *kafka.Record) error {
			result, cause, ok := resultOf(r)
			for _, id := range ids {
				if ok && match == nil && id != "" && (cause == id || result.CommandID == id) {
					match = &result
				}
			}
			return nil
		})
		next = after
		switch {
		case match != nil:
			return *match, nil
		case ctx.Err() != nil:
			return connector.Result{}, ctx.Err()
		case err != nil && reasonOf(err) == ReasonForbidden:
			return connector.Result{}, err
		case err != nil:
			_ = sleep(ctx, pause.next())
		default:
			pause.reset()
		}
	}
}

// resultOf reads a result event in either content mode.
func resultOf(r *kafka.Record) (result connector.Result, cause string, ok bool) {
	body, err := readAll(r.Value)
	if err != nil {
		return connector.Result{}, "", false
	}
	var e struct {
		Cause string           `json:"causationid"`
		Data  *json.RawMessage `json:"data"`
	}
	for _, h := range r.Headers {
		if h.Key == "ce_causationid" {
			e.Cause = string(h.Value)
		}
	}
	data := body
	if json.Unmarshal(body, &e) == nil && e.Data != nil {
		data = *e.Data
	}
	if json.Unmarshal(data, &result) != nil || result.Status == "" {
		return connector.Result{}, "", false
	}
	return result, e.Cause, true
}

// readAll copies what a record holds; nil is empty.
func readAll(p protocol.Bytes) ([]byte, error) {
	if p == nil {
		return nil, nil
	}
	return protocol.ReadAll(p)
}

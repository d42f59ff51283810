//go:build linux

package main

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/segmentio/kafka-go"
)

// A record is an event as it lies in the log.
type record struct {
	Subject string
	Key     []byte
	Headers map[string]string
	Value   []byte
}

// A bare client publishes records with nothing but the client library, in a process of
// its own, so that its time is its own.
type bare struct {
	Kafka  bool
	Server string
	Topic  string // Kafka's
	Batch  int    // most records in a request to Kafka
	File   string // with the records
}

type bareResult struct{ Took, CPU time.Duration }

// run is called by the benchmark.
func (b bare) run(ctx context.Context, records []record) (r bareResult, err error) {
	f, err := os.Create(b.File)
	if err != nil {
		return r, err
	}
	if err := errors.Join(gob.NewEncoder(f).Encode(records), f.Close()); err != nil {
		return r, err
	}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	spec, err := json.Marshal(b)
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env, cmd.Stderr = append(os.Environ(), bareVariable+"="+string(spec)), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("bare client: %w", err)
	}
	return r, json.Unmarshal(out, &r)
}

// bareVariable makes the process a bare client.
const bareVariable = "BENCH_BARE"

// serve is what the bare client's process does.
func serveBare(ctx context.Context, spec string) error {
	var b bare
	if err := json.Unmarshal([]byte(spec), &b); err != nil {
		return err
	}
	f, err := os.Open(b.File)
	if err != nil {
		return err
	}
	defer f.Close()
	var records []record
	if err := gob.NewDecoder(f).Decode(&records); err != nil {
		return err
	}
	publish := b.toNATS
	if b.Kafka {
		publish = b.toKafka
	}
	r, err := publish(ctx, records)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// timed measures f.
func timed(f func() error) (r bareResult, err error) {
	before, err := cpu(os.Getpid())
	if err != nil {
		return r, err
	}
	began := time.Now()
	if err := f(); err != nil {
		return r, err
	}
	r.Took = time.Since(began)
	after, err := cpu(os.Getpid())
	r.CPU = after - before
	return r, err
}

func (b bare) toNATS(_ context.Context, records []record) (r bareResult, err error) {
	nc, err := nats.Connect(b.Server)
	if err != nil {
		return r, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return r, err
	}
	msgs := make([]*nats.Msg, len(records))
	for i, x := range records {
		msgs[i] = &nats.Msg{Subject: x.Subject, Header: nats.Header{}, Data: x.Value}
		for name, value := range x.Headers {
			msgs[i].Header[name] = []string{value}
		}
	}
	acks := make([]jetstream.PubAckFuture, len(msgs))
	return timed(func() (err error) {
		for i, m := range msgs {
			if acks[i], err = js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
				return err
			}
		}
		for _, a := range acks {
			select {
			case <-a.Ok():
			case err := <-a.Err():
				return err
			}
		}
		return nil
	})
}

func (b bare) toKafka(ctx context.Context, records []record) (r bareResult, err error) {
	w := &kafka.Writer{
		Addr: kafka.TCP(strings.Split(b.Server, ",")...), Topic: b.Topic, RequiredAcks: kafka.RequireAll,
		BatchSize: b.Batch, BatchBytes: 1 << 20, BatchTimeout: 10 * time.Millisecond,
	}
	defer func() { _ = w.Close() }() // all is written and confirmed by then, or has failed
	if err := w.WriteMessages(ctx, kafka.Message{Value: []byte("connected")}); err != nil {
		return r, err
	}
	msgs := make([]kafka.Message, len(records))
	for i, x := range records {
		msgs[i] = kafka.Message{Key: x.Key, Value: x.Value}
		for name, value := range x.Headers {
			msgs[i].Headers = append(msgs[i].Headers, kafka.Header{Key: name, Value: []byte(value)})
		}
	}
	return timed(func() error { return w.WriteMessages(ctx, msgs...) })
}

//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/deploy/internal/process"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// A bus is what the connector publishes to. Its methods go by clients of their own.
type bus interface {
	settings() []string                                   // variables of the connector
	pids() []int                                          // of the servers
	prepare(ctx context.Context) error                    // makes what publish and bare need, as the connector made its own
	events(ctx context.Context) (<-chan struct{}, error)  // one for each event of a message from now on, until ctx ends
	publish(ctx context.Context) error                    // a small confirmed record that is not an event
	command(ctx context.Context, receipt string) error    // acknowledges
	records(ctx context.Context, n int) ([]record, error) // the first n events of messages
	bare() bare                                           // publishes these beside them
	close()
}

type natsBus struct {
	servers  []*process.Process
	url      string
	listen   string // of the embedded server
	replicas int
	nc       *nats.Conn // nil until prepare
	js       jetstream.JetStream
}

func newNATS(ctx context.Context, kind, dir string) (*natsBus, error) {
	b := &natsBus{replicas: map[string]int{"nats": 1, "cluster": 3}[kind]}
	var addresses []string
	var err error
	if kind == "embedded" {
		if addresses, err = process.FreeAddresses(ctx, 1); err == nil {
			b.listen = addresses[0]
		}
	} else {
		b.servers, addresses, err = process.StartNATS(ctx, dir, b.replicas)
	}
	if err != nil {
		return nil, err
	}
	b.url = "nats://" + strings.Join(addresses, ",nats://")
	if kind != "embedded" {
		err = b.connect(ctx)
	}
	return b, err
}

// connect waits until JetStream answers.
func (b *natsBus) connect(ctx context.Context) (err error) {
	return errors.Join(until(ctx, "JetStream answers", func() bool {
		if b.nc == nil {
			if b.nc, err = nats.Connect(b.url, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond)); err != nil {
				b.nc = nil
				return false
			}
			b.js, _ = jetstream.New(b.nc) // only options can be wrong
		}
		asking, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = b.js.AccountInfo(asking)
		return err == nil
	}), err)
}

func (b *natsBus) settings() []string {
	if b.listen != "" {
		return []string{"NATS_LISTEN=" + b.listen}
	}
	return []string{"NATS_URL=" + b.url, fmt.Sprintf("NATS_REPLICAS=%d", b.replicas)}
}

func (b *natsBus) pids() (pids []int) {
	for _, s := range b.servers {
		pids = append(pids, s.PID())
	}
	return pids
}

func (b *natsBus) prepare(ctx context.Context) error {
	if err := b.connect(ctx); err != nil {
		return err
	}
	ours, err := b.js.Stream(ctx, "PUSHOVER")
	if err != nil {
		return err
	}
	config := ours.CachedInfo().Config
	config.Name, config.Subjects, config.Metadata = "BARECOPY", []string{"barecopy.>"}, nil
	_, err = b.js.CreateStream(ctx, config)
	return err
}

func (b *natsBus) events(ctx context.Context) (<-chan struct{}, error) {
	arrived := make(chan struct{}, 1<<16)
	if err := b.connect(ctx); err != nil {
		return nil, err
	}
	sub, err := b.nc.Subscribe("pushover.messages.>", func(*nats.Msg) { arrived <- struct{}{} })
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = sub.Unsubscribe() }) // the connection may be closed
	return arrived, b.nc.Flush()
}

func (b *natsBus) publish(ctx context.Context) error {
	_, err := b.js.Publish(ctx, "barecopy.one", []byte("{}"))
	return err
}

func (b *natsBus) command(ctx context.Context, receipt string) error {
	_, err := b.js.Publish(ctx, "pushover.control.ack", []byte(receipt))
	return err
}

func (b *natsBus) records(ctx context.Context, n int) (records []record, err error) {
	consumer, err := b.js.OrderedConsumer(ctx, "PUSHOVER", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"pushover.messages.>"}})
	if err != nil {
		return nil, err
	}
	for len(records) < n {
		batch, err := consumer.Fetch(min(5000, n-len(records)), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return nil, err
		}
		before := len(records)
		for m := range batch.Messages() {
			x := record{Subject: "barecopy" + strings.TrimPrefix(m.Subject(), "pushover"), Headers: map[string]string{}, Value: m.Data()}
			for name, values := range m.Headers() {
				if !strings.HasPrefix(name, "Nats-Expected") { // another stream has another order
					x.Headers[name] = values[0]
				}
			}
			records = append(records, x)
		}
		if len(records) == before {
			return nil, fmt.Errorf("the stream has %d events, not %d: %w", before, n, cmp.Or(batch.Error(), errors.New("no more came")))
		}
	}
	return records, nil
}

func (b *natsBus) bare() bare { return bare{Server: b.url} }

// fails kills a server, which is back after a while.
func (b *natsBus) fails(ctx context.Context, lasts time.Duration) error {
	if err := b.servers[0].End(syscall.SIGKILL); err != nil {
		return err
	}
	wait(ctx, lasts)
	if err := b.servers[0].Start(); err != nil {
		return err
	}
	return b.connect(ctx)
}

func (b *natsBus) close() {
	if b.nc != nil {
		b.nc.Close()
	}
	for _, s := range b.servers {
		_ = s.End(syscall.SIGKILL) // always ends
	}
}

// kafkaBus is topics of their own on the one node that all runs share.
type kafkaBus struct {
	cluster *kafkatest.Cluster
	topic   string
	client  *kgo.Client
}

func newKafka(cluster *kafkatest.Cluster, topic string) (*kafkaBus, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	return &kafkaBus{cluster, topic, client}, err
}

func (b *kafkaBus) settings() []string {
	return []string{
		"SINK=kafka", "KAFKA_BROKERS=" + strings.Join(b.cluster.Brokers(), ","), "KAFKA_TOPIC=" + b.topic,
		"KAFKA_CONTROL_TOPIC=" + b.topic + "-control", "KAFKA_RESULT_TOPIC=" + b.topic + "-results", "KAFKA_GROUP=" + b.topic,
	}
}

func (b *kafkaBus) pids() []int { return descendants(os.Getpid(), "java") }

func (b *kafkaBus) prepare(ctx context.Context) error {
	made, err := kadm.NewClient(b.client).CreateTopics(ctx, 1, 1, nil, b.topic+"-bare")
	return cmp.Or(err, made.Error())
}

func (b *kafkaBus) events(ctx context.Context) (<-chan struct{}, error) {
	if err := until(ctx, "the topic is made", func() bool {
		topics, err := kadm.NewClient(b.client).ListTopics(ctx, b.topic)
		return err == nil && topics.Has(b.topic) && topics[b.topic].Err == nil
	}); err != nil {
		return nil, err
	}
	end, err := kadm.NewClient(b.client).ListEndOffsets(ctx, b.topic)
	if err != nil {
		return nil, err
	}
	last, _ := end.Lookup(b.topic, 0)
	client, err := b.consumer(last.Offset)
	if err != nil {
		return nil, err
	}
	arrived := make(chan struct{}, 1<<16)
	go func() {
		defer client.Close()
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(*kgo.Record) { arrived <- struct{}{} })
		}
	}()
	return arrived, nil
}

func (b *kafkaBus) consumer(offset int64) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(b.cluster.Brokers()...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{b.topic: {0: kgo.NewOffset().At(offset)}}))
}

func (b *kafkaBus) publish(ctx context.Context) error {
	return b.client.ProduceSync(ctx, &kgo.Record{Topic: b.topic + "-bare", Value: []byte("{}")}).FirstErr()
}

func (b *kafkaBus) command(ctx context.Context, receipt string) error {
	return b.client.ProduceSync(ctx, &kgo.Record{Topic: b.topic + "-control", Value: []byte(receipt)}).FirstErr()
}

func (b *kafkaBus) records(ctx context.Context, n int) (records []record, err error) {
	client, err := b.consumer(0)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		for r := range fetches.RecordsAll() {
			x := record{Key: r.Key, Value: r.Value, Headers: map[string]string{}}
			for _, h := range r.Headers {
				x.Headers[h.Key] = string(h.Value)
			}
			records = append(records, x)
		}
	}
	return records, nil
}

func (b *kafkaBus) bare() bare {
	return bare{Kafka: true, Server: strings.Join(b.cluster.Brokers(), ","), Topic: b.topic + "-bare", Batch: 2000}
}

func (b *kafkaBus) close() { b.client.Close() }

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// A bus is what the connector publishes to. Commands and reading go past the proxy,
// by clients that are not the connector's.
type bus interface {
	settings() []string                                        // variables of the connector
	proxied() string                                           // what the connector's proxy leads to, "" without one
	command(ctx context.Context, id string, body []byte) error // once, durable when it returns nil
	read(ctx context.Context) (messages, results []event, err error)
	faults() []fault
	close()
}

// natsBus is one or three servers in processes of their own, or the connector's.
type natsBus struct {
	servers []*process.Process
	url     string // of all servers
	first   string // address of the first; "" in a cluster, where clients learn the others'
	proxy   string // address of the connector's way there
	listen  string // of the embedded server
}

func newNATS(ctx context.Context, dir string, n int) (*natsBus, error) {
	servers, addresses, err := process.StartNATS(ctx, dir, n)
	if err != nil {
		return nil, err
	}
	b := &natsBus{servers: servers, url: "nats://" + strings.Join(addresses, ",nats://")}
	if n == 1 {
		b.first = addresses[0]
	}
	return b, b.await(ctx)
}

// await waits until JetStream answers.
func (b *natsBus) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, process.Patience)
	defer cancel()
	return b.with(ctx, 5*time.Second, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.AccountInfo(ctx)
		return err
	})
}

// with calls f until it succeeds, with a connection of its own and that much time each.
func (b *natsBus) with(ctx context.Context, each time.Duration, f func(context.Context, jetstream.JetStream) error) error {
	var err error
	for ctx.Err() == nil {
		err = b.once(ctx, each, f)
		if err == nil {
			return nil
		}
		wait(ctx, 200*time.Millisecond)
	}
	return errors.Join(ctx.Err(), err)
}

func (b *natsBus) once(ctx context.Context, limit time.Duration, f func(context.Context, jetstream.JetStream) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	nc, err := nats.Connect(b.url, nats.Timeout(2*time.Second))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return f(ctx, js)
}

func (b *natsBus) settings() []string {
	switch {
	case b.listen != "":
		return []string{"NATS_LISTEN=" + b.listen}
	case len(b.servers) > 1:
		return []string{"NATS_URL=" + b.url, "NATS_REPLICAS=3"}
	default:
		return []string{"NATS_URL=nats://" + b.proxy}
	}
}

func (b *natsBus) proxied() string { return b.first }

func (b *natsBus) command(ctx context.Context, id string, body []byte) error {
	return b.with(ctx, 5*time.Second, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.Publish(ctx, "pushover.control.ack", body, jetstream.WithMsgID(id))
		return err
	})
}

func (b *natsBus) read(ctx context.Context) (messages, results []event, err error) {
	err = b.with(ctx, process.Patience, func(ctx context.Context, js jetstream.JetStream) error {
		messages, results = nil, nil
		stream, err := js.Stream(ctx, "PUSHOVER")
		if err != nil {
			return err
		}
		left := stream.CachedInfo().State.Msgs
		consumer, err := js.OrderedConsumer(ctx, "PUSHOVER", jetstream.OrderedConsumerConfig{})
		if err != nil {
			return err
		}
		for left > 0 {
			batch, err := consumer.Fetch(int(min(left, 1000)), jetstream.FetchMaxWait(5*time.Second))
			if err != nil {
				return err
			}
			before := left
			for m := range batch.Messages() {
				var e event
				if err := json.Unmarshal(m.Data(), &e); err != nil {
					return fmt.Errorf("%s: %w", m.Subject(), err)
				}
				if strings.HasPrefix(m.Subject(), "pushover.messages.") {
					messages = append(messages, e)
				} else {
					results = append(results, e)
				}
				left--
			}
			if left == before {
				return errors.Join(errors.New("the stream does not yield what it holds"), batch.Error())
			}
		}
		return nil
	})
	return messages, results, err
}

func (b *natsBus) faults() (all []fault) {
	for i, s := range b.servers {
		name := "bus"
		if len(b.servers) > 1 {
			name = fmt.Sprintf("server %d", i+1)
		}
		all = append(all, fault{name + " killed", ofBus, down(s, syscall.SIGKILL)},
			fault{name + " restarted", ofBus, down(s, syscall.SIGTERM)}, fault{name + " frozen", ofBus, frozen(s)})
	}
	return all
}

func (b *natsBus) close() {
	for _, s := range b.servers {
		_ = s.End(syscall.SIGKILL) // always ends
	}
}

// kafkaBus is one broker.
type kafkaBus struct {
	cluster *kafkatest.Cluster
	proxy   string
}

func newKafka(proxy string) (*kafkaBus, error) {
	cluster, err := kafkatest.New(kafkatest.Options{
		Listeners: []kafkatest.Listener{{Name: "PROXIED", Protocol: "PLAINTEXT", Advertise: proxy}},
	})
	if err != nil {
		return nil, err
	}
	return &kafkaBus{cluster, proxy}, nil
}

func (b *kafkaBus) settings() []string { return []string{"SINK=kafka", "KAFKA_BROKERS=" + b.proxy} }
func (b *kafkaBus) proxied() string    { return b.cluster.Addr("PROXIED") }
func (b *kafkaBus) close()             { b.cluster.Close() }

func (b *kafkaBus) command(ctx context.Context, _ string, body []byte) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.cluster.Brokers()...), kgo.DefaultProduceTopic("pushover.control"), kgo.UnknownTopicRetries(-1))
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, kgo.SliceRecord(body)).FirstErr()
}

func (b *kafkaBus) read(ctx context.Context) (messages, results []event, err error) {
	if messages, err = b.readTopic(ctx, "pushover.messages"); err == nil {
		results, err = b.readTopic(ctx, "pushover.results")
	}
	return messages, results, err
}

// readTopic reads what is committed in a topic of one partition.
func (b *kafkaBus) readTopic(ctx context.Context, topic string) (events []event, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.cluster.Brokers()...), kgo.ConsumeTopics(topic), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	end, _ := ends.Lookup(topic, 0)
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		for r := range fetches.RecordsAll() {
			next = r.Offset + 1
			if r.Attrs.IsControl() {
				continue
			}
			var e event
			if err := json.Unmarshal(r.Value, &e); err != nil {
				return nil, fmt.Errorf("%s at offset %d: %w", topic, r.Offset, err)
			}
			events = append(events, e)
		}
	}
	return events, nil
}

func (b *kafkaBus) faults() []fault {
	node := b.cluster.Nodes[0]
	return []fault{
		{"bus killed", ofBus, func(ctx context.Context, _ *world, d time.Duration) error {
			node.Kill()
			wait(ctx, d)
			return node.Start()
		}},
		{"bus restarted", ofBus, func(context.Context, *world, time.Duration) error {
			node.Stop()
			return node.Start()
		}},
		{"bus frozen", ofBus, func(ctx context.Context, _ *world, d time.Duration) error {
			if err := node.Signal("STOP"); err != nil {
				return err
			}
			wait(ctx, d)
			return node.Signal("CONT")
		}},
	}
}

package kafka

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"

	"github.com/pushover-connector/pushover-connector/connector"
)

// A cluster is what can be asked of the brokers about our topics, by whoever
// needs it: it knows neither the producer nor the commands. It is safe for
// concurrent use.
type cluster struct {
	config Config
	source string // of the device's events
	log    *slog.Logger

	wire   *wire
	client *kafka.Client

	reaching  *connector.Activity // the cluster and its topics; nil without a Health
	suspicion chan struct{}       // wakes the keeper: the cluster may be out of reach

	mu     sync.Mutex
	topics map[string]topic
}

func newCluster(c Config, o Options) (*cluster, error) {
	d, err := newDialer(c, o.Name)
	if err != nil {
		return nil, err
	}
	k := &cluster{config: c, source: o.Source, log: o.Logger, suspicion: make(chan struct{}, 1)}
	k.wire = newWire(d, c.brokers(), k.topicNames())
	k.client = &kafka.Client{
		Addr:      kafka.TCP(c.brokers()...), // unused: the wire knows its brokers
		Transport: k.wire, Timeout: requestTimeout,
	}
	return k, nil
}

// report tells the connector's health about an attempt and when the next will be
// made. An error after ctx has ended is not reported.
func (k *cluster) report(ctx context.Context, a *connector.Activity, err error, next time.Duration) {
	switch {
	case err == nil:
		a.OK()
	case errors.Is(err, connector.ErrFenced):
		a.Failed(failure(err), time.Time{})
	case ctx.Err() == nil:
		a.Failed(failure(err), time.Now().Add(next))
	}
}

func (k *cluster) topicNames() []string {
	return []string{k.config.Topic, k.config.ControlTopic, k.config.ResultTopic, k.config.DeadletterTopic}
}

func (k *cluster) setTopics(topics map[string]topic) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.topics = topics
}

func (k *cluster) topic(name string) topic {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.topics[name]
}

// topicFor is the topic of a class of events.
func (k *cluster) topicFor(c connector.Class) string {
	switch c {
	case connector.ClassResult:
		return k.config.ResultTopic
	case connector.ClassDeadLetter:
		return k.config.DeadletterTopic
	default:
		return k.config.Topic
	}
}

// suspect has the keeper see whether the cluster can be reached.
func (k *cluster) suspect() {
	select {
	case k.suspicion <- struct{}{}:
	default:
	}
}

// awaitReachable looks at the cluster and the event topics until they are there.
// It uses nothing that a publish waits for.
func (k *cluster) awaitReachable(ctx context.Context) {
	for pause := newBackOff(backoffMin, backoffMax); ; {
		err := k.probe(ctx)
		wait := pause.NextBackOff()
		k.report(ctx, k.reaching, err, wait)
		if err == nil || sleep(ctx, wait) != nil {
			return
		}
	}
}

func (k *cluster) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	topics, err := k.describe(ctx, k.topicNames())
	if err != nil {
		return err
	}
	if err := topics[k.config.Topic].err; err != nil { // those of the others stop no messages
		return k.explain(err, k.config.Topic)
	}
	return nil
}

// failed reports a failure, if it is one, and has the keeper look at the cluster.
func (k *cluster) failed(ctx context.Context, a *connector.Activity, err error, next time.Duration) {
	if err != nil && ctx.Err() == nil {
		k.report(ctx, a, err, next)
		k.suspect()
	}
}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/pushover-connector/pushover-connector/connector"
)

// checkTimeout keeps all checks together below ten seconds, whatever hangs.
const checkTimeout = 9 * time.Second

// Checks looks at everything that publishing and taking commands need, and
// creates, publishes and fences nothing. When the cluster cannot be reached that
// is the only check; the rest would fail for the same reason.
func (b *Bus) Checks(ctx context.Context) []connector.Check {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()

	brokers := connector.Check{Name: "kafka brokers"}
	topics, err := b.describe(ctx, b.topicNames())
	if err != nil {
		brokers.Err = err
		return []connector.Check{brokers}
	}
	brokers.Detail = b.clusterDetail()
	if exposure := b.config.exposure(); exposure != "" {
		brokers.Detail += "; " + exposure
	}
	checks := []connector.Check{brokers}
	for _, name := range b.topicNames() {
		checks = append(checks, b.checkTopic(ctx, topics[name], name))
	}
	checks = append(checks, b.checkGroup(ctx), b.checkProducer(ctx))
	if topics[b.config.Topic].err == nil {
		checks = append(checks, b.checkDurability(ctx))
	}
	return checks
}

func (b *Bus) clusterDetail() string {
	b.wire.mu.Lock()
	defer b.wire.mu.Unlock()
	var addrs []string
	for _, id := range b.wire.layout.BrokerIDs() {
		br := b.wire.layout.Brokers[id]
		addrs = append(addrs, brokerAddr(br.Host, br.Port))
	}
	return fmt.Sprintf("cluster %s, brokers %s", b.wire.layout.ClusterID, strings.Join(addrs, ", "))
}

func (b *Bus) checkTopic(ctx context.Context, t topic, name string) connector.Check {
	c := connector.Check{Name: "kafka topic " + name}
	switch {
	case errors.Is(t.err, kafka.UnknownTopicOrPartition):
		if !b.config.CreateTopics {
			c.Err = b.explain(t.err, name)
			return c
		}
		res, err := b.client.CreateTopics(ctx, createRequest([]string{name}, true))
		if err == nil {
			err = res.Errors[name]
		} else {
			err = unwrapClient(err)
		}
		if err != nil {
			c.Err = fmt.Errorf("does not exist and cannot be created: %w; ask an administrator to run: %s", err, b.createLine(name))
			return c
		}
		c.Detail = "does not exist, will be created"
	case t.err != nil:
		c.Err = b.explain(t.err, name)
	case !t.may(opWrite) && name != b.config.ControlTopic:
		c.Err = fmt.Errorf("no permission to write; allow it: %s", b.aclLine("--operation Write --topic "+name))
	case !t.may(opRead):
		c.Err = fmt.Errorf("no permission to read; allow it: %s", b.aclLine("--operation Read --topic "+name))
	default:
		c.Detail = fmt.Sprintf("%d partition(s), %d replica(s)", t.partitions, t.replicas)
	}
	return c
}

func (b *Bus) checkGroup(ctx context.Context) connector.Check {
	c := connector.Check{Name: "kafka group " + b.config.Group}
	at, err := b.committed(ctx, 0)
	switch {
	case err != nil:
		c.Err = err
	case at < 0:
		c.Detail = "no offset yet, will start with the first command"
	default:
		c.Detail = fmt.Sprintf("next command at offset %d", at)
	}
	return c
}

// checkProducer asks for the coordinator of the device's transactional id, for
// which the cluster wants the same permission as for looking at it. More cannot
// be tried without fencing a running connector.
func (b *Bus) checkProducer(ctx context.Context) connector.Check {
	c := connector.Check{Name: "kafka exactly-once"}
	if !b.wire.supports(protocol.AddPartitionsToTxn) || !b.wire.supports(protocol.EndTxn) {
		c.Detail = "the cluster has no transactions: run one connector per device only"
		return c
	}
	// A first one may have to wait until the cluster has made its own topics.
	err := b.coordinate(ctx, "find the coordinator", func(ctx context.Context) error {
		_, err := b.wire.findCoordinator(ctx, coordinatorKey{b.txnID(), txnCoordinator})
		return err
	})
	if err != nil {
		c.Err = err
		return c
	}
	c.Detail = "transactional id " + b.txnID()
	return c
}

func (b *Bus) checkDurability(ctx context.Context) connector.Check {
	c := connector.Check{Name: "kafka durability"}
	d, err := b.Durability(ctx)
	switch {
	case err != nil:
		c.Err = err
	case d.Grade == connector.GradeNone:
		c.Err = errors.New(strings.Join(d.Warnings, "; "))
	default:
		c.Detail = "grade " + d.Grade.String() + ": " + strings.Join(append(d.Facts, d.Warnings...), ", ")
	}
	return c
}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"golang.org/x/sync/errgroup"

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
	brokers.Err = b.reachBrokers(ctx)
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

func (k *cluster) clusterDetail() string {
	k.wire.mu.Lock()
	defer k.wire.mu.Unlock()
	var addrs []string
	for _, id := range k.wire.layout.BrokerIDs() {
		br := k.wire.layout.Brokers[id]
		addrs = append(addrs, brokerAddr(br.Host, br.Port))
	}
	return fmt.Sprintf("cluster %s, brokers %s", k.wire.layout.ClusterID, strings.Join(addrs, ", "))
}

// reachBrokers connects to every broker, under the address that it advertises.
func (k *cluster) reachBrokers(ctx context.Context) error {
	layout, err := k.wire.cluster(ctx)
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, id := range layout.BrokerIDs() {
		addr := brokerAddr(layout.Brokers[id].Host, layout.Brokers[id].Port)
		g.Go(func() error {
			l, err := k.wire.take(ctx, addr)
			if err == nil {
				k.wire.park(l)
			}
			return err
		})
	}
	return g.Wait()
}

func (k *cluster) checkTopic(ctx context.Context, t topic, name string) connector.Check {
	c := connector.Check{Name: "kafka topic " + name}
	switch {
	case errors.Is(t.err, kafka.UnknownTopicOrPartition):
		if !k.config.CreateTopics {
			c.Err = k.explain(t.err, name)
			return c
		}
		res, err := k.client.CreateTopics(ctx, k.createRequest([]string{name}, true))
		if err == nil {
			err = res.Errors[name]
		} else {
			err = unwrapClient(err)
		}
		if c.Err = k.createError(err, name); err != nil {
			return c
		}
		c.Detail = "does not exist, will be created"
	case t.err != nil:
		c.Err = k.explain(t.err, name)
	case !t.may(opWrite) && name != k.config.ControlTopic:
		c.Err = fmt.Errorf("no permission to write; allow it: %s", k.aclLine("--operation Write --topic "+name))
	case !t.may(opRead):
		c.Err = fmt.Errorf("no permission to read; allow it: %s", k.aclLine("--operation Read --topic "+name))
	default:
		c.Detail = fmt.Sprintf("%d partition(s), %d replica(s)", t.partitions, t.replicas)
	}
	return c
}

func (k *cluster) checkGroup(ctx context.Context) connector.Check {
	c := connector.Check{Name: "kafka group " + k.config.Group}
	at, _, err := k.fetchOffset(ctx, k.config.Group, 0)
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
func (k *cluster) checkProducer(ctx context.Context) connector.Check {
	c := connector.Check{Name: "kafka exactly-once"}
	if !k.wire.supports(protocol.AddPartitionsToTxn) || !k.wire.supports(protocol.EndTxn) {
		c.Detail = "the cluster has no transactions: run one connector per device only"
		return c
	}
	// A first one may have to wait until the cluster has made its own topics.
	for _, id := range k.txnIDs(k.source, k.config.Topic) {
		c.Err = k.coordinate(ctx, "find the coordinator", k.config.Topic, func(ctx context.Context) error {
			_, err := k.wire.findCoordinator(ctx, coordinatorKey{id, txnCoordinator})
			return err
		})
		if c.Detail = "transactional id " + id; c.Err == nil {
			break
		}
	}
	return c
}

func (k *cluster) checkDurability(ctx context.Context) connector.Check {
	c := connector.Check{Name: "kafka durability"}
	d, err := k.durability(ctx)
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

package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/pushover-connector/pushover-connector/connector"
)

// defaultMaxBytes is Kafka's default of max.message.bytes, which bounds a batch
// as a whole.
const defaultMaxBytes = 1048588

// topic is what is known of one topic.
type topic struct {
	name       string
	partitions int
	replicas   int               // of its least replicated partition
	operations int32             // bit set of what we may do, or noOperations
	config     map[string]string // empty if it may not be read
	err        error             // why it cannot be used
}

// noOperations is the answer of a broker that does not tell.
const noOperations = -1 << 31

// Operations in the bit sets of Metadata answers (KIP-430).
const (
	opRead     = 3
	opWrite    = 4
	opDescribe = 8
)

func (t topic) may(op int) bool {
	return t.operations == noOperations || t.operations == 0 || t.operations&(1<<op) != 0
}

// maxBytes bounds a batch for the topic. A larger bound than the default is of
// no use: the batches get no faster, only bigger.
func (t topic) maxBytes() int {
	if n, err := strconv.Atoi(t.config["max.message.bytes"]); err == nil && n > 0 {
		return min(n, defaultMaxBytes)
	}
	return defaultMaxBytes
}

func (t topic) compacted() bool { return strings.Contains(t.config["cleanup.policy"], "compact") }

// describe asks for the state of topics.
func (k *cluster) describe(ctx context.Context, names []string) (map[string]topic, error) {
	res, err := k.wire.metadata(ctx, names, true)
	if err != nil {
		return nil, err
	}
	out := make(map[string]topic, len(names))
	for _, t := range res.Topics {
		out[t.Name] = topicOf(t)
	}
	return out, nil
}

func topicOf(t metadata.ResponseTopic) topic {
	info := topic{name: t.Name, partitions: len(t.Partitions), operations: t.TopicAuthorizedOperations}
	if t.ErrorCode != 0 {
		info.err = kafka.Error(t.ErrorCode)
	} else if len(t.Partitions) == 0 {
		info.err = kafka.LeaderNotAvailable
	}
	for i, p := range t.Partitions {
		if i == 0 || len(p.ReplicaNodes) < info.replicas {
			info.replicas = len(p.ReplicaNodes)
		}
		if info.err == nil && p.ErrorCode != 0 && p.LeaderID < 0 {
			info.err = kafka.Error(p.ErrorCode)
		}
	}
	return info
}

// configs reads the settings of topics that matter to us. Without permission to
// read them it returns none.
func (k *cluster) configs(ctx context.Context, names ...string) (map[string]map[string]string, error) {
	req := &kafka.DescribeConfigsRequest{}
	for _, n := range names {
		req.Resources = append(req.Resources, kafka.DescribeConfigRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: n,
			ConfigNames: []string{"max.message.bytes", "cleanup.policy", "retention.ms", "retention.bytes", "min.insync.replicas", "unclean.leader.election.enable", "flush.messages"},
		})
	}
	res, err := k.client.DescribeConfigs(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("read the topics' settings: %w", unwrapClient(err))
	}
	out := map[string]map[string]string{}
	for _, r := range res.Resources {
		if r.Error != nil {
			continue
		}
		m := map[string]string{}
		for _, e := range r.ConfigEntries {
			m[e.ConfigName] = e.ConfigValue
		}
		out[r.ResourceName] = m
	}
	return out, nil
}

// prepareTopics creates missing topics, refuses unusable ones, and reads their
// settings. The control topic may be created later. Topics other than wanted may be
// without a leader for now, and once all were there they stop nothing: what is for
// them waits.
func (k *cluster) prepareTopics(ctx context.Context, wanted string) error {
	names := k.topicNames()
	again := k.topic(wanted).name != ""
	topics, err := k.describe(ctx, names)
	if err != nil {
		return err
	}
	var missing []string
	for _, n := range names {
		if errors.Is(topics[n].err, kafka.UnknownTopicOrPartition) {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 && k.config.CreateTopics {
		err := k.createTopics(ctx, missing)
		if err != nil && (!again || slices.Contains(missing, wanted)) {
			return err
		}
		needed := names
		if again {
			needed = []string{wanted}
		}
		if topics, err = k.awaitTopics(ctx, names, needed); err != nil {
			return err
		}
	}
	configs, err := k.configs(ctx, names...)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		t := topics[n]
		t.config = configs[n]
		topics[n] = t
		var err error
		switch {
		case n == k.config.ControlTopic:
			// ServeCommands waits for it, and says so.
		case t.err != nil:
			err = k.explain(t.err, n)
		case n != k.config.ResultTopic && t.compacted():
			err = k.compactedError(n)
		}
		switch {
		case err == nil:
		case n != wanted && (again || passes(err)):
			k.log.Warn("topic not usable, what is for it waits", "topic", n, "error", err)
		default:
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	k.setTopics(topics)
	return nil
}

// compactedError refuses a topic that keeps only the last record of each key:
// all events of a device have one key.
func (k *cluster) compactedError(name string) error {
	return &connector.Failure{
		Reason: connector.ReasonBusMisconfigured,
		Detail: "topic " + name + " is compacted and would keep only the last event of each device",
		Remedy: "run: " + k.alterLine(name, "cleanup.policy=delete"),
	}
}

// createTopics creates topics with one partition, which keeps all events in one
// order, and the broker's default replication.
func (k *cluster) createTopics(ctx context.Context, names []string) error {
	res, err := k.client.CreateTopics(ctx, k.createRequest(names, false))
	if err != nil {
		return k.createError(unwrapClient(err), strings.Join(names, ", "))
	}
	k.wire.forget()
	var errs []error
	for _, n := range names {
		err := res.Errors[n]
		switch {
		case err == nil:
			k.log.Info("topic created", "topic", n)
		case errors.Is(err, kafka.TopicAlreadyExists):
		default:
			errs = append(errs, k.createError(err, n))
		}
	}
	return errors.Join(errs...)
}

// createError says why topics cannot be created. That a broker cannot be reached is
// nothing an administrator of topics can mend.
func (k *cluster) createError(err error, topic string) error {
	if err == nil || codeOf(err) == 0 {
		return err
	}
	return &connector.Failure{
		Reason: reasonOf(err), Err: err,
		Detail: fmt.Sprintf("topic %s does not exist and cannot be created: %v", topic, err),
		Remedy: "ask an administrator to run: " + k.createLine(topic),
	}
}

func (k *cluster) createRequest(names []string, validateOnly bool) *kafka.CreateTopicsRequest {
	req := &kafka.CreateTopicsRequest{ValidateOnly: validateOnly}
	for _, n := range names {
		t := kafka.TopicConfig{
			Topic: n, NumPartitions: 1, ReplicationFactor: -1,
			ConfigEntries: []kafka.ConfigEntry{{ConfigName: "cleanup.policy", ConfigValue: "delete"}},
		}
		if n == k.config.ControlTopic { // a command's age is not its sender's clock's
			t.ConfigEntries = append(t.ConfigEntries, kafka.ConfigEntry{ConfigName: "message.timestamp.type", ConfigValue: "LogAppendTime"})
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// awaitTopics waits until the created topics that are needed have leaders that all
// brokers know of.
func (k *cluster) awaitTopics(ctx context.Context, names, needed []string) (map[string]topic, error) {
	for {
		topics, err := k.describe(ctx, names)
		if err != nil {
			return nil, err
		}
		var waiting error
		for _, n := range needed {
			if t := topics[n]; t.err != nil {
				waiting = fmt.Errorf("topic %s: %w", n, t.err)
			}
		}
		if waiting == nil {
			return topics, nil
		}
		if !errors.Is(waiting, kafka.UnknownTopicOrPartition) && !errors.Is(waiting, kafka.LeaderNotAvailable) {
			return topics, nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, fmt.Errorf("%w: %w", waiting, err)
		}
	}
}

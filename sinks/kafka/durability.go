package kafka

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Durability grades the message topic by its replication and settings. Settings
// that cannot be read count as the worst, with a warning.
func (b *Bus) Durability(ctx context.Context) (connector.Durability, error) {
	return b.durability(ctx)
}

func (k *cluster) durability(ctx context.Context) (connector.Durability, error) {
	name := k.config.Topic
	topics, err := k.describe(ctx, k.topicNames())
	if err != nil {
		return connector.Durability{}, err
	}
	if err := topics[name].err; err != nil {
		return connector.Durability{}, k.explain(err, name)
	}
	configs, err := k.configs(ctx, k.topicNames()...)
	if err != nil {
		return connector.Durability{}, err
	}
	t := topics[name]
	t.config = configs[name]
	d := k.grade(t)
	if before := k.topic(name).partitions; before > 0 && before != t.partitions {
		d.Warnings = append(d.Warnings, fmt.Sprintf("Topic %s has %d partitions now and had %d: after a restart, events may go to another partition, and what an earlier one holds is not recognised. Restart when the queue is empty.", name, t.partitions, before))
	}
	for _, other := range []struct {
		name, what string
		keep       time.Duration // at least
	}{
		{k.config.ControlTopic, "commands", connector.EmergencyLife},
		{k.config.ResultTopic, "results", 24 * time.Hour},
		{k.config.DeadletterTopic, "dead letters", 24 * time.Hour},
	} {
		o := topics[other.name]
		o.config = configs[other.name]
		warn := func(format string, args ...any) {
			d.Warnings = append(d.Warnings, fmt.Sprintf("Topic %s, of %s, "+format, append([]any{o.name, other.what}, args...)...))
		}
		if o.err != nil && passes(o.err) {
			warn("has a partition without a leader, so what is for it waits. Check the brokers that keep it.")
		}
		if o.compacted() && other.name != k.config.ResultTopic {
			warn("is compacted: all but the last of each key are lost. Run: %s", k.alterLine(o.name, "cleanup.policy=delete"))
		}
		if keep, ok := o.retention(); ok && keep < other.keep {
			warn("keeps them for only %v: what is not read by then is lost. Run: %s", keep, k.alterLine(o.name, "retention.ms=604800000"))
		}
	}
	return d, nil
}

func (k *cluster) alterLine(topic, setting string) string {
	return fmt.Sprintf("kafka-configs.sh --bootstrap-server %s --alter --topic %s --add-config %s", k.firstBroker(), topic, setting)
}

// retention is how long the topic keeps records, if there is a limit.
func (t topic) retention() (time.Duration, bool) {
	ms, err := strconv.ParseInt(t.config["retention.ms"], 10, 64)
	return time.Duration(ms) * time.Millisecond, err == nil && ms >= 0
}

// grade derives the grade. Kafka confirms a write that its replicas have in
// memory and flushes when the system likes; only a second replica makes a
// confirmation outlive a machine.
func (k *cluster) grade(t topic) connector.Durability {
	d := connector.Durability{Grade: connector.GradeCrash, Facts: []string{fmt.Sprintf("replicas %d", t.replicas)}}
	warn := func(format string, args ...any) { d.Warnings = append(d.Warnings, fmt.Sprintf(format, args...)) }
	alter := func(setting string) string { return k.alterLine(t.name, setting) }
	if len(t.config) == 0 {
		warn("The settings of topic %s cannot be read, so its durability is not known. Allow it: %s", t.name, k.aclLine("--operation DescribeConfigs --topic "+t.name))
		return d
	}
	minISR, _ := strconv.Atoi(t.config["min.insync.replicas"])
	unclean := t.config["unclean.leader.election.enable"] == "true"
	d.Facts = append(d.Facts, fmt.Sprintf("min.insync.replicas %d", minISR), "cleanup.policy "+t.config["cleanup.policy"])

	switch {
	case t.replicas < 2 && t.config["flush.messages"] == "1":
		d.Grade = connector.GradePower
		d.Facts = append(d.Facts, "flush.messages 1")
	case t.replicas < 2:
		warn("Topic %s has one replica, so a power cut or a lost disk loses confirmed events. Give it three replicas, or run: %s", t.name, alter("flush.messages=1"))
	case minISR < 2:
		warn("Topic %s confirms a write that only one replica has, so losing that machine loses confirmed events. Run: %s", t.name, alter("min.insync.replicas=2"))
	case unclean:
		warn("Topic %s may elect a leader that lacks confirmed events. Run: %s", t.name, alter("unclean.leader.election.enable=false"))
	default:
		d.Grade = connector.GradePower
	}
	if unclean {
		d.Facts = append(d.Facts, "unclean leader election on")
	}
	if t.compacted() {
		d.Grade = connector.GradeNone
		warn("%v", k.compactedError(t.name))
	}

	if keep, ok := t.retention(); ok {
		d.Facts = append(d.Facts, "retention "+keep.String())
		if keep < 24*time.Hour {
			warn("Topic %s keeps events for only %v, so a consumer that is offline longer misses them. Run: %s", t.name, keep, alter("retention.ms=604800000"))
		}
	} else {
		d.Facts = append(d.Facts, "retention without limit of time")
	}
	if size, err := strconv.ParseInt(t.config["retention.bytes"], 10, 64); err == nil && size >= 0 {
		d.Facts = append(d.Facts, fmt.Sprintf("retention %d bytes", size))
		warn("Topic %s deletes events beyond %d bytes whatever their age. Run: %s", t.name, size, alter("retention.bytes=-1"))
	}
	return d
}

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
	name := b.config.Topic
	topics, err := b.describe(ctx, []string{name})
	if err != nil {
		return connector.Durability{}, err
	}
	t := topics[name]
	if t.err != nil {
		return connector.Durability{}, b.explain(t.err, name)
	}
	configs, err := b.configs(ctx, name)
	if err != nil {
		return connector.Durability{}, err
	}
	t.config = configs[name]
	return b.grade(t), nil
}

// grade derives the grade. Kafka confirms a write that its replicas have in
// memory and flushes when the system likes; only a second replica makes a
// confirmation outlive a machine.
func (b *Bus) grade(t topic) connector.Durability {
	d := connector.Durability{Grade: connector.GradeCrash, Facts: []string{fmt.Sprintf("replicas %d", t.replicas)}}
	warn := func(format string, args ...any) { d.Warnings = append(d.Warnings, fmt.Sprintf(format, args...)) }
	alter := func(setting string) string {
		return fmt.Sprintf("kafka-configs.sh --bootstrap-server %s --alter --topic %s --add-config %s", b.firstBroker(), t.name, setting)
	}
	if len(t.config) == 0 {
		warn("The settings of topic %s cannot be read, so its durability is not known. Allow it: %s", t.name, b.aclLine("--operation DescribeConfigs --topic "+t.name))
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
		warn("%v", b.compactedError(t.name))
	}

	if ms, err := strconv.ParseInt(t.config["retention.ms"], 10, 64); err == nil && ms >= 0 {
		keep := time.Duration(ms) * time.Millisecond
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

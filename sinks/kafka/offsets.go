package kafka

import (
	"context"
	"errors"
	"fmt"

	kafka "github.com/segmentio/kafka-go"

	"github.com/pushover-connector/pushover-connector/connector"
)

// committed returns the group's offset in a partition of the control topic, or
// −1 if there is none. While the coordinator is busy it waits a little: on a
// fresh cluster the first question makes the broker create its own topics.
func (b *Bus) committed(ctx context.Context, partition int) (at int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	err = b.coordinate(ctx, "offset of group "+b.config.Group, func(ctx context.Context) error {
		at, err = b.fetchOffset(ctx, partition)
		return err
	})
	return at, err
}

func (b *Bus) fetchOffset(ctx context.Context, partition int) (int64, error) {
	res, err := b.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{
		GroupID: b.config.Group, Topics: map[string][]int{b.config.ControlTopic: {partition}},
	})
	switch {
	case err != nil:
		return -1, unwrapClient(err)
	case errors.Is(res.Error, kafka.GroupIdNotFound):
		return -1, nil
	case res.Error != nil:
		return -1, res.Error
	}
	for _, p := range res.Topics[b.config.ControlTopic] {
		if p.Partition == partition {
			return p.CommittedOffset, p.Error
		}
	}
	return -1, nil
}

// commit records that every command below next is settled. A connector that was
// fenced off commits nothing any more: the group is its successor's.
func (b *Bus) commit(ctx context.Context, partition int, next int64) error {
	if b.lost.Load() {
		return fmt.Errorf("commit offset of group %s: %w", b.config.Group, connector.ErrFenced)
	}
	res, err := b.client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: b.config.Group, GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{b.config.ControlTopic: {{Partition: partition, Offset: next}}},
	})
	if err != nil {
		err = unwrapClient(err)
	} else {
		for _, p := range res.Topics[b.config.ControlTopic] {
			err = errors.Join(err, p.Error)
		}
	}
	if err == nil {
		return nil
	}
	b.wire.forget()
	if code := codeOf(err); code == kafka.UnknownMemberId || code == kafka.IllegalGeneration {
		return &connector.Failure{
			Reason: connector.ReasonBusMisconfigured, Detail: "another consumer has joined group " + b.config.Group,
			Remedy: "set KAFKA_GROUP to a group of the connector's own", Err: err,
		}
	}
	return b.explain(fmt.Errorf("commit offset of group %s: %w", b.config.Group, err), b.config.ControlTopic)
}

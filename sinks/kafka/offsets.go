package kafka

import (
	"context"
	"errors"
	"fmt"

	kafka "github.com/segmentio/kafka-go"

	"github.com/pushover-connector/pushover-connector/connector"
)

// fetchOffset returns a group's offset in a partition of the control topic, −1 if
// there is none, and what was noted with it. While the coordinator is busy it waits a
// little: on a fresh cluster the first question makes the broker create its own topics.
func (k *cluster) fetchOffset(ctx context.Context, group string, partition int) (at int64, note string, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	at = -1
	err = k.coordinate(ctx, "offset of group "+group, k.config.ControlTopic, func(ctx context.Context) error {
		res, err := k.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{
			GroupID: group, Topics: map[string][]int{k.config.ControlTopic: {partition}},
		})
		switch {
		case err != nil:
			return unwrapClient(err)
		case errors.Is(res.Error, kafka.GroupIdNotFound):
			return nil
		case res.Error != nil:
			return res.Error
		}
		for _, p := range res.Topics[k.config.ControlTopic] {
			if p.Partition == partition {
				at, note = p.CommittedOffset, p.Metadata
				return p.Error
			}
		}
		return nil
	})
	if err != nil {
		k.wire.forget()
	}
	return at, note, err
}

// commitOffset sets a group's offset in the control topic.
func (k *cluster) commitOffset(ctx context.Context, group string, offset kafka.OffsetCommit) error {
	res, err := k.client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: group, GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{k.config.ControlTopic: {offset}},
	})
	if err != nil {
		err = unwrapClient(err)
	} else {
		for _, p := range res.Topics[k.config.ControlTopic] {
			err = errors.Join(err, p.Error)
		}
	}
	if err != nil {
		k.wire.forget()
	}
	return err
}

// commit records that every command below next is settled. A connector that was
// fenced off commits nothing any more: the group is its successor's.
func (c *commandServer) commit(ctx context.Context, partition int, next int64) error {
	if c.fenced() {
		return fmt.Errorf("commit offset of group %s: %w", c.config.Group, connector.ErrFenced)
	}
	err := c.commitOffset(ctx, c.config.Group, kafka.OffsetCommit{Partition: partition, Offset: next})
	if err == nil {
		return nil
	}
	if code := codeOf(err); code == kafka.UnknownMemberId || code == kafka.IllegalGeneration {
		return &connector.Failure{
			Reason: connector.ReasonBusMisconfigured, Detail: "another consumer has joined group " + c.config.Group,
			Remedy: "set KAFKA_GROUP to a group of the connector's own", Err: err,
		}
	}
	return c.explain(fmt.Errorf("commit offset of group %s: %w", c.config.Group, err), c.config.ControlTopic)
}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// cluster returns the layout of the topics, asking for it if it is not known.
func (w *wire) cluster(ctx context.Context) (protocol.Cluster, error) {
	w.mu.Lock()
	layout, known := w.layout, !w.layoutTime.IsZero() && time.Since(w.layoutTime) < layoutAge
	w.mu.Unlock()
	if known {
		return layout, nil
	}
	res, err := w.metadata(ctx, w.topics, false)
	if err != nil {
		return protocol.Cluster{}, err
	}
	return layoutOf(res), nil
}

// metadata asks a broker about topics; operations asks also for what we may do
// with them. A complete answer becomes the layout.
func (w *wire) metadata(ctx context.Context, topics []string, operations bool) (*metadata.Response, error) {
	m, err := w.anyBroker(ctx, &metadata.Request{TopicNames: topics, IncludeTopicAuthorizedOperations: operations})
	if err != nil {
		return nil, err
	}
	res := m.(*metadata.Response)
	if len(topics) == len(w.topics) {
		w.mu.Lock()
		w.layout, w.layoutTime = layoutOf(res), time.Now()
		clear(w.missing)
		for _, t := range res.Topics {
			if t.ErrorCode != 0 {
				w.missing[t.Name] = kafka.Error(t.ErrorCode)
			}
		}
		w.mu.Unlock()
	}
	return res, nil
}

// withTopicCause replaces "topic not found" by the broker's reason why the layout
// does not have the topic, which may be an ACL.
func (w *wire) withTopicCause(err error) error {
	var lacks *protocol.TopicError
	if !errors.As(err, &lacks) {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if code := w.missing[lacks.Topic]; code != 0 {
		return fmt.Errorf("topic %s: %w", lacks.Topic, code)
	}
	return err
}

// withLayoutCause replaces "no leader" by the reason why the layout has none:
// kafka-go's ListOffsets does not tell a partition without a leader from one that
// does not exist.
func (w *wire) withLayoutCause(err error, topic string, partition int) error {
	if !errors.Is(err, kafka.LeaderNotAvailable) {
		return err
	}
	w.mu.Lock()
	t, known := w.layout.Topics[topic]
	w.mu.Unlock()
	if !known {
		return w.withTopicCause(protocol.NewErrNoTopic(topic))
	}
	if _, known := t.Partitions[int32(partition)]; !known {
		return protocol.NewErrNoPartition(topic, int32(partition))
	}
	return err
}

func layoutOf(res *metadata.Response) protocol.Cluster {
	layout := protocol.Cluster{
		ClusterID: res.ClusterID, Controller: res.ControllerID,
		Brokers: make(map[int32]protocol.Broker, len(res.Brokers)),
		Topics:  make(map[string]protocol.Topic, len(res.Topics)),
	}
	for _, b := range res.Brokers {
		layout.Brokers[b.NodeID] = protocol.Broker{ID: b.NodeID, Host: b.Host, Port: b.Port, Rack: b.Rack}
	}
	for _, t := range res.Topics {
		if t.ErrorCode != 0 {
			continue
		}
		partitions := make(map[int32]protocol.Partition, len(t.Partitions))
		for _, p := range t.Partitions {
			partitions[p.PartitionIndex] = protocol.Partition{
				ID: p.PartitionIndex, Error: p.ErrorCode, Leader: p.LeaderID, Replicas: p.ReplicaNodes, ISR: p.IsrNodes,
			}
		}
		layout.Topics[t.Name] = protocol.Topic{Name: t.Name, Partitions: partitions}
	}
	return layout
}

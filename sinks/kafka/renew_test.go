package kafka

import (
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

func TestARenewalThatFailedIsMadeUpForWithoutAMessage(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault kfake.Fault
		ready bool // the producer can still be used
	}{
		{"refused for now", kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Err: kerr.NotLeaderForPartition}, true},
		{"nobody knows why", kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Err: kerr.UnknownServerError}, false},
		{"half done", kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError}, false},
		{"the producer is forgotten", kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Err: kerr.InvalidProducerIDMapping}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cluster := keepFake(t)
			c, source := keepConfig(cluster.ListenAddrs())
			b := keepBus(t, c, source)
			keepPublish(t, b, 1, 3)
			cluster.Fault(tt.fault)
			next := b.keepClaim(keepContext(t))
			if next != keepRetry || b.ready != tt.ready || keepReason(b) == "" {
				t.Errorf("a failed renewal: again in %v, ready %v, reason %q; want again in %v, ready %v, a reason", next, b.ready, keepReason(b), keepRetry, tt.ready)
			}
			next = b.keepClaim(keepContext(t))
			if next != keepInterval || !b.ready || keepReason(b) != "" {
				t.Errorf("the next renewal: again in %v, ready %v, reason %q; want again in %v, ready, no reason", next, b.ready, keepReason(b), keepInterval)
			}
			keepPublish(t, b, 1, 5)
			if got := recordsOf(t, b); got != 5 {
				t.Errorf("records: got %d, want 5", got)
			}
		})
	}
}

// A machine may be suspended between the two requests that make a fence.
func TestAFenceLeftHalfDoneHoldsNobodyBackAndIsFinishedLater(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	c, source := keepConfig(brokers)
	b := keepBus(t, c, source)
	keepPublish(t, b, 1, 3)
	res, err := b.client.AddPartitionsToTxn(keepContext(t), &kafkago.AddPartitionsToTxnRequest{
		TransactionalID: b.txnID(), ProducerID: int(b.id), ProducerEpoch: int(b.epoch),
		Topics: map[string][]kafkago.AddPartitionToTxn{c.Topic: {{Partition: 0}}},
	})
	if err != nil || res.Topics[c.Topic][0].Error != nil {
		t.Fatal(res, err)
	}
	keepPublish(t, b, 4, 3)
	adm := keepAdmin(t, brokers)
	stable, err := adm.ListCommittedOffsets(keepContext(t), c.Topic)
	if err != nil {
		t.Fatal(err)
	}
	ends, err := adm.ListEndOffsets(keepContext(t), c.Topic)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := stable[c.Topic][0].Offset, ends[c.Topic][0].Offset; got != want {
		t.Errorf("consumers of committed records read to offset %d, want %d: an open fence holds them back", got, want)
	}
	b.ready = false // as a request without an answer leaves it
	if err := b.renew(keepContext(t)); err != nil {
		t.Errorf("renew: %v", err)
	}
	keepPublish(t, b, 7, 3)
	if got := recordsOf(t, b); got != 9 {
		t.Errorf("records: got %d, want 9", got)
	}
}

func TestABrokerThatAllowsShortTransactionsOnlyIsUsed(t *testing.T) {
	cluster := keepFake(t)
	c, source := keepConfig(cluster.ListenAddrs())
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.InvalidTransactionTimeout, Count: -1, When: func(r kmsg.Request) bool {
		return r.(*kmsg.InitProducerIDRequest).TransactionTimeoutMillis > 60_000
	}, TopLevel: true})
	keepPublish(t, keepBus(t, c, source), 1, 3)
}

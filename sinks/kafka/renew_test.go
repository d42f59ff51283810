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
		state state // of the producer after it
	}{
		{"refused for now", kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Err: kerr.NotLeaderForPartition}, ready},
		{"nobody knows why", kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Err: kerr.UnknownServerError}, stale},
		{"half done", kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError}, stale},
		{"the producer is forgotten", kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Err: kerr.InvalidProducerIDMapping}, stale},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cluster := keepFake(t)
			c, source := keepConfig(cluster.ListenAddrs())
			b := keepBus(t, c, source)
			keepPublish(t, b, 1, 3)
			cluster.Fault(tt.fault)
			next := b.all()[0].keepClaim(keepContext(t))
			if next != keepRetry || b.all()[0].state != tt.state || keepReason(b) == "" {
				t.Errorf("a failed renewal: again in %v, state %v, reason %q; want again in %v, state %v, a reason", next, b.all()[0].state, keepReason(b), keepRetry, tt.state)
			}
			next = b.all()[0].keepClaim(keepContext(t))
			if next != keepInterval || b.all()[0].state != ready || keepReason(b) != "" {
				t.Errorf("the next renewal: again in %v, state %v, reason %q; want again in %v, ready, no reason", next, b.all()[0].state, keepReason(b), keepInterval)
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
		TransactionalID: b.all()[0].txnID, ProducerID: int(b.all()[0].id), ProducerEpoch: int(b.all()[0].epoch),
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
	b.all()[0].state = stale // as a request without an answer leaves it
	if err := b.all()[0].renew(keepContext(t)); err != nil {
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

package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// This is why events are not published in transactions.
func TestATransactionCutShortLeavesADuplicateForConsumersOfDefaultIsolation(t *testing.T) {
	brokers := kafkatest.Brokers(t)
	c := configFor(brokers)
	createTopic(t, c, c.Topic, nil)
	id := unique()
	begin := func() *kgo.Client {
		t.Helper()
		cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(id), kgo.DefaultProduceTopic(c.Topic))
		if err != nil {
			t.Fatal(err)
		}
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		record := &kgo.Record{Value: []byte("event 1"), Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("1")}}}
		if err := cl.ProduceSync(waitContext(t), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
		return cl
	}
	begin().Close() // dies before it can commit
	again := begin()
	defer again.Close()
	if err := again.EndTransaction(waitContext(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, brokers, c.Topic, true, []string{"1"})
	wantIDs(t, brokers, c.Topic, false, []string{"1", "1"})
}

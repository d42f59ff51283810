package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	// coordinateTimeout bounds the wait for a busy coordinator, so that a start
	// or a publish that waits for one says so.
	coordinateTimeout = 8 * time.Second

	// transactionTimeout is how long a fence may take before the coordinator
	// ends it on its own, and with it our epoch: as long as a machine may stand
	// still. It is what brokers allow unless told otherwise
	// (transaction.max.timeout.ms); leastTransactionTimeout is for those that do
	// not.
	transactionTimeout      = 15 * time.Minute
	leastTransactionTimeout = 10 * time.Second
)

// txnIDs are the names that a producer may have at the transaction coordinator, the
// best first: by source and topic, so that accounts with topics of their own can
// share a cluster. With the usual topic it is that of earlier versions, which fence
// each other off so, and an earlier version's is used where ACLs allow no other.
// Results and dead letters then go without a name and a fence: an older connector
// ends at its next message.
func (k *cluster) txnIDs(source, topic string) []string {
	switch earlier, own := txnPrefix+source, txnPrefix+source+":"+topic; topic {
	case defaultTopic:
		return []string{earlier}
	case k.config.Topic:
		return []string{own, earlier}
	default:
		return []string{own, ""}
	}
}

const txnPrefix = "pushover-connector:"

// takeOver makes this bus the one that writes for the device: a new epoch of
// the device's producer, a marker with that epoch in every partition, after
// which no older epoch can append anything, and only then a look at what the
// partitions hold.
//
// The marker is what makes the look conclusive. A new epoch alone is known to
// the coordinator only: until the new producer writes, partitions accept the
// old one's batches, and a batch that was still on its way when the tail was
// read would be a duplicate later. A transaction with nothing in it, rolled
// back, writes the marker; consumers never see it.
func (pr *producer) takeOver(ctx context.Context) (err error) {
	defer func() { err = pr.fencedOff(err) }()
	pr.state = stale
	if pr.first != nil {
		if err := pr.first.renew(ctx); err != nil {
			return err
		}
	}
	if err := pr.initProducer(ctx); err != nil {
		return err
	}
	pr.parts = map[int]*partitionState{}
	if pr.txnID != "" {
		if err := pr.fence(ctx); err != nil {
			return err
		}
	}
	if pr.first == nil { // others have keys of all kinds
		if err := pr.ensureWindow(ctx, pr.partition(connector.Event{Key: pr.source})); err != nil {
			return err
		}
	}
	pr.state = ready
	pr.claiming.OK()
	return nil
}

// initProducer gets a producer id and epoch, under the first name that is allowed.
func (pr *producer) initProducer(ctx context.Context) error {
	if err := pr.detectTransactions(ctx); err != nil {
		return err
	}
	ids := pr.txnIDs(pr.source, pr.to)
	if !pr.transactional {
		ids = []string{""}
	}
	var err error
	for i, id := range ids {
		if err = pr.initProducerAs(ctx, id); codeOf(err) != kafka.TransactionalIDAuthorizationFailed || i == len(ids)-1 {
			break
		}
		pr.log.Warn("transactional id not permitted, using another", "id", id, "instead", ids[i+1], "error", err)
	}
	return err
}

// initProducerAs shows the id and epoch that the producer has, if any, and so gets a
// new epoch only if nobody else took over meanwhile.
func (pr *producer) initProducerAs(ctx context.Context, id string) error {
	req := &kafka.InitProducerIDRequest{
		TransactionalID: id, TransactionTimeoutMs: int(transactionTimeout / time.Millisecond),
		ProducerID: -1, ProducerEpoch: -1,
	}
	if pr.owned && pr.txnID != "" && pr.txnID == id {
		req.ProducerID, req.ProducerEpoch = int(pr.id), int(pr.epoch)
	}
	err := pr.coordinate(ctx, "take the producer over", pr.to, func(ctx context.Context) error {
		res, err := pr.client.InitProducerID(ctx, req)
		if err != nil {
			return unwrapClient(err)
		}
		if errors.Is(res.Error, kafka.InvalidProducerIDMapping) && req.ProducerID >= 0 {
			req.ProducerID, req.ProducerEpoch = -1, -1 // the coordinator forgot us, so nobody took over
			return kafka.ConcurrentTransactions
		}
		if least := int(leastTransactionTimeout / time.Millisecond); errors.Is(res.Error, kafka.InvalidTransactionTimeout) && req.TransactionTimeoutMs > least {
			req.TransactionTimeoutMs = least
			return kafka.ConcurrentTransactions
		}
		if res.Error != nil {
			return res.Error
		}
		pr.id, pr.epoch = int64(res.Producer.ProducerID), int16(res.Producer.ProducerEpoch)
		return nil
	})
	if err == nil {
		pr.owned, pr.txnID = true, id
	}
	return err
}

// detectTransactions finds out whether the cluster has transactions. Those
// that speak Kafka without being it often have not.
func (pr *producer) detectTransactions(ctx context.Context) error {
	if _, err := pr.wire.metadata(ctx, pr.wire.topics, false); err != nil {
		return err
	}
	was := pr.transactional
	pr.transactional = pr.wire.supports(protocol.AddPartitionsToTxn) && pr.wire.supports(protocol.EndTxn)
	if !pr.transactional && (was || !pr.owned) {
		pr.log.Warn("transactions missing, a second connector would not be fenced off",
			"source", pr.source, "remedy", "run only one connector for this device")
	}
	return nil
}

// fence writes a marker with our epoch into every partition and waits until it
// is there. When it fails and the producer is stale, it may be half done.
func (pr *producer) fence(ctx context.Context) error {
	add := &kafka.AddPartitionsToTxnRequest{
		TransactionalID: pr.txnID, ProducerID: int(pr.id), ProducerEpoch: int(pr.epoch),
		Topics: map[string][]kafka.AddPartitionToTxn{},
	}
	for i := range pr.topic(pr.to).partitions {
		add.Topics[pr.to] = append(add.Topics[pr.to], kafka.AddPartitionToTxn{Partition: i})
	}
	if err := pr.coordinate(ctx, "begin the fence", pr.to, func(ctx context.Context) error {
		res, err := pr.client.AddPartitionsToTxn(ctx, add)
		if err != nil {
			return unwrapClient(err)
		}
		for name, ps := range res.Topics {
			for _, p := range ps {
				if p.Error != nil && codeOf(p.Error) != operationNotAttempted {
					return pr.explain(p.Error, name)
				}
			}
		}
		return nil
	}); err != nil {
		if code := codeOf(err); code == 0 || !code.Temporary() {
			pr.state = stale // it may have begun, or the coordinator does not know us
		}
		return err
	}
	pr.state = stale

	// The coordinator answers before the markers are written. Asked again, it
	// answers "concurrent transactions" until they are.
	for range 2 {
		if err := pr.coordinate(ctx, "end the fence", pr.to, func(ctx context.Context) error {
			res, err := pr.client.EndTxn(ctx, &kafka.EndTxnRequest{
				TransactionalID: pr.txnID, ProducerID: int(pr.id), ProducerEpoch: int(pr.epoch), Committed: false,
			})
			if err != nil {
				return unwrapClient(err)
			}
			return res.Error
		}); err != nil {
			return err
		}
	}
	return nil
}

// operationNotAttempted marks partitions that were not looked at because of
// another one's error.
const operationNotAttempted kafka.Error = 55

// coordinate repeats a request to the transaction coordinator while it is busy
// or on its way elsewhere.
func (k *cluster) coordinate(ctx context.Context, what, topic string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, coordinateTimeout)
	defer cancel()
	for delay := 2 * time.Millisecond; ; delay = min(2*delay, 500*time.Millisecond) {
		err := f(ctx)
		switch codeOf(err) {
		case kafka.ConcurrentTransactions:
		case kafka.GroupLoadInProgress, kafka.GroupCoordinatorNotAvailable, kafka.NotCoordinatorForGroup:
			k.wire.forget()
		default:
			if err == nil {
				return nil
			}
			return fmt.Errorf("%s: %w", what, k.explain(err, topic))
		}
		if serr := sleep(ctx, delay); serr != nil {
			return fmt.Errorf("%s: %w: %w", what, err, serr)
		}
	}
}

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

// txnID names the device's producer at the transaction coordinator.
func (b *Bus) txnID() string { return "pushover-connector:" + b.opts.Source }

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
func (b *Bus) takeOver(ctx context.Context) error {
	b.ready = false
	if err := b.initProducer(ctx); err != nil {
		return err
	}
	b.parts = map[partitionKey]*partitionState{}
	if b.transactional {
		if err := b.fence(ctx); err != nil {
			return err
		}
	}
	p := b.partition(b.config.Topic, b.opts.Source)
	if err := b.loadTail(ctx, p); err != nil {
		return fmt.Errorf("read back %s: %w", b.config.Topic, err)
	}
	b.ready = true
	b.claiming.OK()
	return nil
}

// initProducer gets a producer id and epoch. A producer that has one shows it,
// and so gets a new epoch only if nobody else took over meanwhile.
func (b *Bus) initProducer(ctx context.Context) error {
	req := &kafka.InitProducerIDRequest{
		TransactionalID: b.txnID(), TransactionTimeoutMs: int(transactionTimeout / time.Millisecond),
		ProducerID: -1, ProducerEpoch: -1,
	}
	if b.owned && b.transactional {
		req.ProducerID, req.ProducerEpoch = int(b.id), int(b.epoch)
	}
	if err := b.detectTransactions(ctx); err != nil {
		return err
	}
	if !b.transactional {
		req.TransactionalID = ""
	}
	err := b.coordinate(ctx, "take the producer over", func(ctx context.Context) error {
		res, err := b.client.InitProducerID(ctx, req)
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
		b.id, b.epoch = int64(res.Producer.ProducerID), int16(res.Producer.ProducerEpoch)
		return nil
	})
	if err != nil {
		return err
	}
	b.owned = true
	return nil
}

// detectTransactions finds out whether the cluster has transactions. Those
// that speak Kafka without being it often have not.
func (b *Bus) detectTransactions(ctx context.Context) error {
	if _, err := b.wire.metadata(ctx, b.wire.topics, false); err != nil {
		return err
	}
	was := b.transactional
	b.transactional = b.wire.supports(protocol.AddPartitionsToTxn) && b.wire.supports(protocol.EndTxn)
	if !b.transactional && (was || !b.owned) {
		b.log.Warn("transactions missing, a second connector would not be fenced off",
			"source", b.opts.Source, "remedy", "run only one connector for this device")
	}
	return nil
}

// fence writes a marker with our epoch into every partition and waits until it
// is there. When it fails with ready unset, it may be half done.
func (b *Bus) fence(ctx context.Context) error {
	add := &kafka.AddPartitionsToTxnRequest{
		TransactionalID: b.txnID(), ProducerID: int(b.id), ProducerEpoch: int(b.epoch),
		Topics: map[string][]kafka.AddPartitionToTxn{},
	}
	for _, class := range []connector.Class{connector.ClassMessage, connector.ClassResult, connector.ClassDeadLetter} {
		t := b.topic(b.topicFor(class))
		for i := range t.partitions {
			add.Topics[t.name] = append(add.Topics[t.name], kafka.AddPartitionToTxn{Partition: i})
		}
	}
	if err := b.coordinate(ctx, "begin the fence", func(ctx context.Context) error {
		res, err := b.client.AddPartitionsToTxn(ctx, add)
		if err != nil {
			return unwrapClient(err)
		}
		for name, ps := range res.Topics {
			for _, p := range ps {
				if p.Error != nil && codeOf(p.Error) != operationNotAttempted {
					return b.explain(p.Error, name)
				}
			}
		}
		return nil
	}); err != nil {
		if code := codeOf(err); code == 0 || !code.Temporary() {
			b.ready = false // it may have begun, or the coordinator does not know us
		}
		return err
	}
	b.ready = false

	// The coordinator answers before the markers are written. Asked again, it
	// answers "concurrent transactions" until they are.
	for range 2 {
		if err := b.coordinate(ctx, "end the fence", func(ctx context.Context) error {
			res, err := b.client.EndTxn(ctx, &kafka.EndTxnRequest{
				TransactionalID: b.txnID(), ProducerID: int(b.id), ProducerEpoch: int(b.epoch), Committed: false,
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
func (b *Bus) coordinate(ctx context.Context, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, coordinateTimeout)
	defer cancel()
	for delay := 2 * time.Millisecond; ; delay = min(2*delay, 500*time.Millisecond) {
		err := f(ctx)
		switch codeOf(err) {
		case kafka.ConcurrentTransactions:
		case kafka.GroupLoadInProgress, kafka.GroupCoordinatorNotAvailable, kafka.NotCoordinatorForGroup:
			b.wire.forget()
		default:
			if err == nil {
				return nil
			}
			if isFenced(err) {
				return b.fencedError(fmt.Errorf("%s: %w", what, err))
			}
			return fmt.Errorf("%s: %w", what, b.explain(err, ""))
		}
		if serr := sleep(ctx, delay); serr != nil {
			return fmt.Errorf("%s: %w: %w", what, err, serr)
		}
	}
}

func (b *Bus) fencedError(cause error) error {
	return &connector.Failure{
		Reason: connector.ReasonFenced, Detail: "another connector took over for " + b.opts.Source,
		Remedy: "stop it, or this one; then restart the one that is to go on",
		Err:    fmt.Errorf("%w: %w", connector.ErrFenced, cause),
	}
}

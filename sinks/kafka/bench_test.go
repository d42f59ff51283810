package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// The benchmarks compare, on one real broker and with the same records, what a
// confirmed event costs: by an idempotent produce request as this package makes
// it, by a transaction that also commits a watermark as a group's offset, and by
// kafka-go's plain Produce, which has no guarantee against repeats.
//
//	go test ./sinks/kafka -run '^$' -bench Confirm -benchtime 3s

func BenchmarkConfirm(b *testing.B) {
	for _, size := range []int{1, 500} {
		b.Run(fmt.Sprintf("idempotent/batch=%d", size), func(b *testing.B) {
			bus := benchBus(b)
			events := benchEvents(bus.opts.Source)
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				batch := events(i*size, size)
				if n, err := bus.Publish(b.Context(), batch); n != size || err != nil {
					b.Fatalf("Publish: %d, %v", n, err)
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
		})
		b.Run(fmt.Sprintf("transaction/batch=%d", size), func(b *testing.B) {
			bus := benchBus(b)
			events := benchEvents(bus.opts.Source)
			tx := newBenchTransactor(b, bus)
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				tx.publish(b, events(i*size, size), int64(i))
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
		})
		b.Run(fmt.Sprintf("plain/batch=%d", size), func(b *testing.B) {
			bus := benchBus(b)
			events := benchEvents(bus.opts.Source)
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				plainProduce(b, bus, events(i*size, size))
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func benchBus(b *testing.B) *Bus {
	u := fmt.Sprintf("bench-%d-%d", os.Getpid(), time.Now().UnixNano())
	c := Config{
		Brokers: kafkatest.Brokers(b), Topic: u + ".m", ControlTopic: u + ".c", ResultTopic: u + ".r",
		DeadletterTopic: u + ".d", Group: u, CreateTopics: true,
	}
	bus, err := Open(b.Context(), c, Options{Source: "pushover://device/" + u})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = bus.Close(context.Background()) })
	return bus
}

// benchEvents makes events of a usual size as they are asked for.
func benchEvents(source string) func(first, n int) []connector.Event {
	data := json.RawMessage(fmt.Sprintf(`{"title":"Backup finished","message":%q}`, bytes.Repeat([]byte("x"), 400)))
	return func(first, n int) []connector.Event {
		events := make([]connector.Event, n)
		for i := range events {
			events[i] = connector.Event{
				ID: fmt.Sprint(first + i + 1), Source: source, Type: "net.pushover.message.received",
				Subject: "app", Time: time.Now(), Data: data, Key: source,
			}
		}
		return events
	}
}

// A benchTransactor publishes as a transactional producer would.
type benchTransactor struct {
	bus      *Bus
	sequence int32
}

func newBenchTransactor(b *testing.B, bus *Bus) *benchTransactor {
	b.Helper()
	res, err := bus.client.InitProducerID(b.Context(), &kafkago.InitProducerIDRequest{
		TransactionalID: bus.all()[0].txnID, ProducerID: -1, ProducerEpoch: -1, TransactionTimeoutMs: 60_000,
	})
	if err != nil || res.Error != nil {
		b.Fatal(err, res)
	}
	bus.all()[0].id, bus.all()[0].epoch = int64(res.Producer.ProducerID), int16(res.Producer.ProducerEpoch)
	return &benchTransactor{bus: bus}
}

func (x *benchTransactor) publish(b *testing.B, events []connector.Event, watermark int64) {
	b.Helper()
	bus, ctx := x.bus, b.Context()
	id, epoch := int(bus.all()[0].id), int(bus.all()[0].epoch)
	must := func(f func(context.Context) error) {
		b.Helper()
		if err := bus.coordinate(ctx, "transaction", "", f); err != nil {
			b.Fatal(err)
		}
	}
	must(func(ctx context.Context) error {
		res, err := bus.client.AddPartitionsToTxn(ctx, &kafkago.AddPartitionsToTxnRequest{
			TransactionalID: bus.all()[0].txnID, ProducerID: id, ProducerEpoch: epoch,
			Topics: map[string][]kafkago.AddPartitionToTxn{bus.config.Topic: {{}}},
		})
		if err != nil {
			return err
		}
		return res.Topics[bus.config.Topic][0].Error
	})
	enc := newBatchEncoder(512 * len(events))
	for _, e := range events {
		headers, body, err := e.Encode(connector.ModeStructured, Binding)
		if err != nil {
			b.Fatal(err)
		}
		enc.add(record{key: e.Key, headers: headers, value: body}, defaultMaxBytes)
	}
	raw := enc.finish(time.Now(), bus.all()[0].id, bus.all()[0].epoch, x.sequence)
	binary.BigEndian.PutUint16(raw[batchAttrsAt:], 1<<4) // transactional
	binary.BigEndian.PutUint32(raw[batchCRCAt:], crc32.Checksum(raw[batchAttrsAt:], castagnoli))
	x.sequence = nextSequence(x.sequence, len(events))
	size := binary.BigEndian.AppendUint32(nil, uint32(len(raw)))
	must(func(ctx context.Context) error {
		res, err := bus.client.RawProduce(ctx, &kafkago.RawProduceRequest{
			Topic: bus.config.Topic, RequiredAcks: kafkago.RequireAll, TransactionalID: bus.all()[0].txnID,
			RawRecords: protocol.RawRecordSet{Reader: io.MultiReader(bytes.NewReader(size), bytes.NewReader(raw))},
		})
		if err != nil {
			return err
		}
		return res.Error
	})
	must(func(ctx context.Context) error {
		res, err := bus.client.AddOffsetsToTxn(ctx, &kafkago.AddOffsetsToTxnRequest{
			TransactionalID: bus.all()[0].txnID, ProducerID: id, ProducerEpoch: epoch, GroupID: bus.config.Group,
		})
		if err != nil {
			return err
		}
		return res.Error
	})
	must(func(ctx context.Context) error {
		res, err := bus.client.TxnOffsetCommit(ctx, &kafkago.TxnOffsetCommitRequest{
			TransactionalID: bus.all()[0].txnID, ProducerID: id, ProducerEpoch: epoch, GroupID: bus.config.Group, GenerationID: -1,
			Topics: map[string][]kafkago.TxnOffsetCommit{bus.config.Topic: {{Offset: watermark}}},
		})
		if err != nil {
			return err
		}
		return res.Topics[bus.config.Topic][0].Error
	})
	must(func(ctx context.Context) error {
		res, err := bus.client.EndTxn(ctx, &kafkago.EndTxnRequest{
			TransactionalID: bus.all()[0].txnID, ProducerID: id, ProducerEpoch: epoch, Committed: true,
		})
		if err != nil {
			return err
		}
		return res.Error
	})
}

func plainProduce(b *testing.B, bus *Bus, events []connector.Event) {
	b.Helper()
	records := make([]kafkago.Record, len(events))
	for i, e := range events {
		headers, body, err := e.Encode(connector.ModeStructured, Binding)
		if err != nil {
			b.Fatal(err)
		}
		records[i] = kafkago.Record{Key: kafkago.NewBytes([]byte(e.Key)), Value: kafkago.NewBytes(body)}
		for _, h := range headers {
			records[i].Headers = append(records[i].Headers, kafkago.Header{Key: h.Name, Value: []byte(h.Value)})
		}
	}
	res, err := bus.client.Produce(b.Context(), &kafkago.ProduceRequest{
		Topic: bus.config.Topic, RequiredAcks: kafkago.RequireAll, Records: kafkago.NewRecordReader(records...),
	})
	if err != nil || res.Error != nil {
		b.Fatal(err, res)
	}
}

package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"
)

// maxAnswer bounds the answer to a fetch. A broker sends a batch whole, however
// little was asked for.
const maxAnswer = 64 << 20

// A fetched answer is what one fetch found.
type fetched struct {
	next int64 // to go on from
	end  int64 // behind the last record that may be read by now
	time time.Time
}

// fetch reads once from an offset on and waits at most wait for a first record.
// Records of transactions' bookkeeping are passed over, and with
// [kafka.ReadCommitted] those of aborted transactions too.
func (k *cluster) fetch(ctx context.Context, name string, partition int, offset int64, wait time.Duration, isolation kafka.IsolationLevel, f func(*logRecord) error) (at fetched, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	at = fetched{next: offset, end: offset}
	req := &rawFetch{Request: &fetchapi.Request{
		ReplicaID: -1, MaxWaitTime: int32(wait / time.Millisecond), MinBytes: 1, MaxBytes: fetchBytes,
		IsolationLevel: int8(isolation), SessionID: -1, SessionEpoch: -1,
		Topics: []fetchapi.RequestTopic{{
			Topic: name,
			Partitions: []fetchapi.RequestPartition{{
				Partition: int32(partition), CurrentLeaderEpoch: -1, FetchOffset: offset, LogStartOffset: -1, PartitionMaxBytes: fetchBytes,
			}},
		}},
	}}
	m, err := k.wire.RoundTrip(ctx, nil, req)
	if err != nil {
		return at, k.explain(fmt.Errorf("fetch %s/%d: %w", name, partition, err), name)
	}
	res := m.(*fetchAnswer)
	if res.code != 0 {
		k.wire.forget()
		return at, k.explain(fmt.Errorf("fetch %s/%d: %w", name, partition, res.code), name)
	}
	at.end, at.time = res.end, time.Now()
	aborted := abortedTransactions{left: res.aborted, open: map[int64]bool{}}
	for raw := res.records; len(raw) > 0; {
		b, rest, err := splitBatch(raw)
		if err != nil {
			return at, fmt.Errorf("fetch %s/%d at offset %d: %w", name, partition, at.next, err)
		}
		if b == nil {
			break // cut off at the end of the answer: the next fetch begins with it
		}
		raw = rest
		skip := b.control() || aborted.hold(b)
		if err := b.each(func(r *logRecord) error {
			if b.control() {
				aborted.end(b, r)
			}
			if r.offset < offset {
				return nil // the batch began before the offset asked for
			}
			at.next = r.offset + 1
			if skip {
				return nil
			}
			return f(r)
		}); err != nil {
			return at, err
		}
		at.next = max(at.next, b.last+1) // compaction may have left less
	}
	return at, nil
}

// rawFetch is kafka-go's request with an answer that is decoded here: kafka-go
// opens a compressed batch whole, 300 times what the broker let in and more, and
// takes no notice of the time that the broker gave it.
type rawFetch struct {
	*fetchapi.Request
	version int16
}

// Required implements [protocol.RawExchanger].
func (f *rawFetch) Required(versions map[protocol.ApiKey]int16) bool {
	f.version = versions[protocol.Fetch]
	return true
}

// RawExchange implements [protocol.RawExchanger].
func (f *rawFetch) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	const correlation, least = 1, 4 // the first version for today's records, of Kafka 0.11
	if f.version < least {
		return nil, errors.New("the broker is older than Kafka 0.11")
	}
	if err := protocol.WriteRequest(rw, f.version, correlation, "", f.Request); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 4 || size > maxAnswer || binary.BigEndian.Uint32(head[4:]) != correlation {
		return nil, fmt.Errorf("answer to a fetch of %d bytes", size)
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(rw, body); err != nil {
		return nil, err
	}
	return decodeFetch(body, f.version)
}

// A fetchAnswer is the part of one partition in the answer to a fetch.
type fetchAnswer struct {
	code    kafka.Error
	end     int64
	aborted []fetchapi.ResponseTransaction
	records []byte
}

// ApiKey implements [protocol.Message].
func (*fetchAnswer) ApiKey() protocol.ApiKey { return protocol.Fetch }

// decodeFetch reads the answer to a fetch of one partition, of version 4 to 11.
func decodeFetch(body []byte, version int16) (*fetchAnswer, error) {
	c := &cursorBytes{b: body}
	out := &fetchAnswer{}
	c.skip(4) // throttle time
	if version >= 7 {
		out.code = kafka.Error(c.int16())
		c.skip(4) // session
	}
	if out.code != 0 && c.err == nil {
		return out, nil
	}
	if topics := c.int32(); topics != 1 {
		return nil, fmt.Errorf("answer to a fetch with %d topics", topics)
	}
	c.skip(int(c.int16())) // name
	if partitions := c.int32(); partitions != 1 {
		return nil, fmt.Errorf("answer to a fetch with %d partitions", partitions)
	}
	c.skip(4) // index
	out.code = kafka.Error(c.int16())
	c.skip(8)           // end of the log
	out.end = c.int64() // of what is committed
	if version >= 5 {
		c.skip(8) // start of the log
	}
	n := c.int32()
	for range max(0, n) {
		t := fetchapi.ResponseTransaction{ProducerID: c.int64(), FirstOffset: c.int64()}
		if c.err != nil {
			break
		}
		out.aborted = append(out.aborted, t)
	}
	if version >= 11 {
		c.skip(4) // preferred replica
	}
	if n := c.int32(); n > 0 {
		out.records = c.take(int(n))
	}
	return out, c.err
}

// cursorBytes reads numbers from bytes, and 0 once they are at their end.
type cursorBytes struct {
	b   []byte
	err error
}

func (c *cursorBytes) take(n int) []byte {
	if c.err != nil || n < 0 || n > len(c.b) {
		c.err = io.ErrUnexpectedEOF
		return make([]byte, 8) // enough for a number
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursorBytes) skip(n int)   { c.take(n) }
func (c *cursorBytes) int16() int16 { return int16(binary.BigEndian.Uint16(c.take(2))) }
func (c *cursorBytes) int32() int32 { return int32(binary.BigEndian.Uint32(c.take(4))) }
func (c *cursorBytes) int64() int64 { return int64(binary.BigEndian.Uint64(c.take(8))) }

// abortedTransactions tells which batches of an answer belong to transactions
// that were aborted. A broker lists these transactions by their producer and
// first offset; a marker in the log ends each (KIP-98).
type abortedTransactions struct {
	left []fetchapi.ResponseTransaction
	open map[int64]bool // by producer id
}

// hold tells whether a batch is part of one. Batches must come in log order.
func (a *abortedTransactions) hold(b *recordBatch) bool {
	if !b.transactional() {
		return false
	}
	a.advance(b.first)
	return a.open[b.producer]
}

// end notes a record of a control batch. Its key is a version and a type, two
// bytes each; type 0 ends an aborted transaction, 1 a committed one.
func (a *abortedTransactions) end(b *recordBatch, r *logRecord) {
	a.advance(b.first)
	if len(r.key) >= 4 && r.key[2] == 0 && r.key[3] == 0 {
		delete(a.open, b.producer)
	}
}

// advance opens the transactions that have begun by offset.
func (a *abortedTransactions) advance(offset int64) {
	var later []fetchapi.ResponseTransaction
	for _, t := range a.left {
		if t.FirstOffset <= offset {
			a.open[t.ProducerID] = true
		} else {
			later = append(later, t)
		}
	}
	a.left = later
}

package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Layout of a record batch, version 2 (https://kafka.apache.org/documentation/#recordbatch):
// the CRC covers everything from the attributes on.
const (
	batchLengthAt = 8
	batchCRCAt    = 17
	batchAttrsAt  = 21
	batchHeader   = 61

	maxSequence = 1<<31 - 1 // 0 follows
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Binding is CloudEvents on Kafka (Kafka binding 1.0.2, section 3.2.3).
var Binding = connector.Binding{
	Prefix: "ce_", ContentType: "content-type", DataContentType: "content-type",
	StructuredType: "application/cloudevents+json; charset=UTF-8",
}

// A record is one event in Kafka's form. Its time is that of publishing, never
// that of the event: a broker deletes a segment by its records' times, and a
// message that waited for weeks would be gone at the next cleaning.
type record struct {
	key     string
	headers []connector.Header
	value   []byte
}

// A batch is what one produce request appends: all of it or nothing. It is
// encoded once, and a retry sends the same bytes, so that the broker knows it
// by its producer and sequence number.
type batch struct {
	raw   []byte
	keys  []eventKey // of the events, in order
	ids   []string   // their ids, in order
	first int32      // sequence number of the first
}

// A batchEncoder appends records to a growing batch.
type batchEncoder struct {
	buf   []byte
	count int
	tmp   []byte
}

func newBatchEncoder(capacity int) *batchEncoder {
	return &batchEncoder{buf: make([]byte, batchHeader, max(capacity, batchHeader))}
}

// add appends r, unless the batch would then be larger than limit and is not
// empty. A record that alone exceeds the limit is added to an empty batch: it is
// the broker who refuses.
func (e *batchEncoder) add(r record, limit int) bool {
	b := e.tmp[:0]
	b = append(b, 0)                              // attributes
	b = binary.AppendVarint(b, 0)                 // timestamp delta: one time for all
	b = binary.AppendVarint(b, int64(e.count))    // offset delta
	b = binary.AppendVarint(b, int64(len(r.key))) // never null: the key decides the partition
	b = append(b, r.key...)
	b = binary.AppendVarint(b, int64(len(r.value)))
	b = append(b, r.value...)
	b = binary.AppendVarint(b, int64(len(r.headers)))
	for _, h := range r.headers {
		b = binary.AppendVarint(b, int64(len(h.Name)))
		b = append(b, h.Name...)
		b = binary.AppendVarint(b, int64(len(h.Value)))
		b = append(b, h.Value...)
	}
	e.tmp = b
	var size [binary.MaxVarintLen64]byte
	n := binary.PutVarint(size[:], int64(len(b)))
	if e.count > 0 && len(e.buf)+n+len(b) > limit {
		return false
	}
	e.buf = append(e.buf, size[:n]...)
	e.buf = append(e.buf, b...)
	e.count++
	return true
}

// finish writes the header and returns the batch.
func (e *batchEncoder) finish(now time.Time, id int64, epoch int16, sequence int32) []byte {
	b, ms := e.buf, uint64(now.UnixMilli())
	be := binary.BigEndian
	be.PutUint64(b[0:], 0) // base offset: the broker's
	be.PutUint32(b[batchLengthAt:], uint32(len(b)-batchLengthAt-4))
	be.PutUint32(b[12:], ^uint32(0)) // partition leader epoch: the broker's
	b[16] = 2                        // magic
	be.PutUint16(b[batchAttrsAt:], 0)
	be.PutUint32(b[23:], uint32(e.count-1)) // last offset delta
	be.PutUint64(b[27:], ms)
	be.PutUint64(b[35:], ms)
	be.PutUint64(b[43:], uint64(id))
	be.PutUint16(b[51:], uint16(epoch))
	be.PutUint32(b[53:], uint32(sequence))
	be.PutUint32(b[57:], uint32(e.count))
	be.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchAttrsAt:], castagnoli))
	return b
}

// nextSequence is the sequence number after n more records. Numbers start again
// at 0 after 2³¹−1.
func nextSequence(sequence int32, n int) int32 {
	return int32((int64(sequence) + int64(n)) & maxSequence)
}

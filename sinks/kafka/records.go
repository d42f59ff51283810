package kafka

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	// maxOpened bounds what a batch may be decompressed to. The broker's limits are
	// on its compressed size.
	maxOpened = 32 << 20

	// maxValue is how much of a record's value is kept. More than that is neither an
	// event of ours nor a command, and is taken for the latter to be rejected.
	maxValue = 2 << 20

	maxHeaders = 1000 // of a record; further ones are passed over

	maxWindow = 8 << 20 // of zstd: what its highest usual level takes
)

// A logRecord is one record of a partition.
type logRecord struct {
	offset     int64
	time       time.Time // when the broker took it in, or the sender's clock if the topic says so
	key, value []byte
	headers    []connector.Header
}

// header returns the value of the first header of that name.
func (r *logRecord) header(name string) string {
	for _, h := range r.headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// A recordBatch is a batch as the broker sends it, format 2 (KIP-98).
type recordBatch struct {
	first, last        int64 // offsets
	attributes         uint16
	baseTime, lastTime int64 // in milliseconds
	producer           int64
	count              int
	body               []byte // perhaps compressed
}

func (b *recordBatch) control() bool       { return b.attributes&0x20 != 0 }
func (b *recordBatch) transactional() bool { return b.attributes&0x10 != 0 }
func (b *recordBatch) brokerTime() bool    { return b.attributes&0x08 != 0 }

// splitBatch takes the first batch off. One that is cut off is nil.
func splitBatch(raw []byte) (b *recordBatch, rest []byte, err error) {
	if len(raw) < batchLengthAt+4 {
		return nil, nil, nil
	}
	end := batchLengthAt + 4 + int64(int32(binary.BigEndian.Uint32(raw[batchLengthAt:])))
	if end > int64(len(raw)) {
		return nil, nil, nil
	}
	if end <= batchAttrsAt || raw[16] != 2 {
		return nil, nil, errors.New("records in a format older than Kafka 0.11")
	}
	if end < batchHeader {
		return nil, nil, io.ErrUnexpectedEOF
	}
	one, be := raw[:end], binary.BigEndian
	if got, want := crc32.Checksum(one[batchAttrsAt:], castagnoli), be.Uint32(one[batchCRCAt:]); got != want {
		return nil, nil, fmt.Errorf("checksum of a batch is %08x, want %08x", got, want)
	}
	b = &recordBatch{
		first: int64(be.Uint64(one)), attributes: be.Uint16(one[batchAttrsAt:]),
		baseTime: int64(be.Uint64(one[27:])), lastTime: int64(be.Uint64(one[35:])),
		producer: int64(be.Uint64(one[43:])), count: int(int32(be.Uint32(one[57:]))), body: one[batchHeader:],
	}
	b.last = b.first + int64(int32(be.Uint32(one[23:])))
	if b.first < 0 || b.last < b.first {
		return nil, nil, fmt.Errorf("batch from offset %d to %d", b.first, b.last)
	}
	return b, raw[end:], nil
}

// errTooLarge says that a batch would be decompressed to more than maxOpened.
var errTooLarge = errors.New("compressed batch is too large")

// each calls f for each record. A record with which the batch becomes too large
// comes with what there is of it, and is the last.
func (b *recordBatch) each(f func(*logRecord) error) error {
	opened, err := b.open()
	if err != nil {
		return err
	}
	in := &recordReader{in: bufio.NewReader(io.LimitReader(opened, maxOpened))}
	for range b.count {
		r := b.read(in)
		tooLarge := in.err != nil && in.n >= maxOpened && b.attributes&7 != 0
		if in.err != nil && !tooLarge {
			return fmt.Errorf("record of batch %d: %w", b.first, in.err)
		}
		if err := f(r); err != nil || tooLarge {
			return err
		}
	}
	return nil
}

// read reads one record.
func (b *recordBatch) read(in *recordReader) *logRecord {
	r := &logRecord{}
	in.varint() // length
	in.discard(1)
	at := b.baseTime + in.varint()
	if b.brokerTime() {
		at = b.lastTime
	}
	r.time = time.UnixMilli(at)
	r.offset = min(max(b.first+in.varint(), b.first), b.last)
	r.key = in.bytes()
	r.value = in.bytes()
	for range in.varint() {
		name := string(in.bytes())
		value := string(in.bytes())
		if in.err != nil {
			break
		}
		if len(r.headers) < maxHeaders {
			r.headers = append(r.headers, connector.Header{Name: name, Value: value})
		}
	}
	return r
}

// open returns the records, decompressed.
func (b *recordBatch) open() (io.Reader, error) {
	in := bytes.NewReader(b.body)
	switch codec := b.attributes & 7; codec {
	case 0:
		return in, nil
	case 1:
		return gzip.NewReader(in)
	case 2:
		opened, err := openSnappy(b.body)
		return bytes.NewReader(opened), err
	case 3:
		return lz4.NewReader(in), nil
	case 4:
		return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	default:
		return nil, fmt.Errorf("batch %d has the unknown compression %d", b.first, codec)
	}
}

// openSnappy decompresses one block, or several in the framing of the Java
// client: a header of 16 bytes, and before each block its length.
func openSnappy(b []byte) (out []byte, err error) {
	if !bytes.HasPrefix(b, []byte("\x82SNAPPY\x00")) {
		return appendBlock(nil, b)
	}
	for c := (&cursorBytes{b: b[min(16, len(b)):]}); len(c.b) > 0 && err == nil && len(out) < maxOpened; {
		block := c.take(int(c.int32()))
		if c.err != nil {
			return nil, c.err
		}
		out, err = appendBlock(out, block)
	}
	return out, err
}

func appendBlock(out, block []byte) ([]byte, error) {
	if n, err := s2.DecodedLen(block); err != nil || n > maxOpened {
		return nil, errors.Join(err, errTooLarge)
	}
	opened, err := s2.Decode(nil, block)
	return append(out, opened...), err
}

// A recordReader reads the parts of records, and nothing once something failed.
type recordReader struct {
	in  *bufio.Reader
	n   int64 // bytes read
	err error
}

// ReadByte implements [io.ByteReader].
func (r *recordReader) ReadByte() (byte, error) {
	b, err := r.in.ReadByte()
	r.n++
	return b, err
}

func (r *recordReader) varint() int64 {
	if r.err != nil {
		return 0
	}
	n, err := binary.ReadVarint(r)
	r.fail(err)
	return n
}

// bytes reads a length and so many bytes, of which it keeps maxValue and one, to show
// that there were more. A length of −1 stands for no bytes.
func (r *recordReader) bytes() []byte {
	n := r.varint()
	if n <= 0 || r.err != nil {
		return nil
	}
	var out bytes.Buffer
	_, err := io.CopyN(&out, r.in, min(n, maxValue+1))
	r.n += int64(out.Len())
	r.fail(err)
	r.discard(n - int64(out.Len()))
	return out.Bytes()
}

func (r *recordReader) discard(n int64) {
	if r.err != nil || n <= 0 {
		return
	}
	m, err := io.CopyN(io.Discard, r.in, n)
	r.n += m
	r.fail(err)
}

func (r *recordReader) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if r.err == nil {
		r.err = err
	}
}

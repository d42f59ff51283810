package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pushover-connector/pushover-connector/connector"
)

func TestPartitionIsThatOfTheJavaClient(t *testing.T) {
	// Hashes from the Java client's own tests (UtilsTest.testMurmur2).
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		for _, n := range []int{1, 2, 7, 1000} {
			if got, want := partitionOf(key, n), int(hash&0x7fffffff)%n; got != want {
				t.Errorf("partition of %q among %d: got %d, want %d", key, n, got, want)
			}
		}
	}
}

func TestABatchIsReadByOtherClientsAsItWasWritten(t *testing.T) {
	enc := newBatchEncoder(0)
	records := []record{
		{key: "k", headers: []connector.Header{{Name: "ce_id", Value: "1"}, {Name: "ce_subject", Value: "Größe"}}, value: []byte(`{"a":1}`)},
		{key: "", value: []byte{}},
		{key: "pushover://device/x", headers: []connector.Header{{Name: "empty"}}, value: bytes.Repeat([]byte("z"), 70_000)},
	}
	for _, r := range records {
		if !enc.add(r, 1<<20) {
			t.Fatal("a record does not fit")
		}
	}
	now := time.UnixMilli(1_700_000_000_123)
	raw := enc.finish(now, 4711, 12, 99)

	// kafka-go's decoder checks lengths and the checksum.
	var set protocol.RecordSet
	if _, err := set.ReadFrom(bytes.NewReader(append(binary.BigEndian.AppendUint32(nil, uint32(len(raw))), raw...))); err != nil {
		t.Fatal(err)
	}
	for i, want := range records {
		r, err := set.Records.ReadRecord()
		if err != nil {
			t.Fatal(err)
		}
		value, _ := protocol.ReadAll(r.Value)
		key, _ := protocol.ReadAll(r.Key)
		if string(key) != want.key || !bytes.Equal(value, want.value) || r.Offset != int64(i) || !r.Time.Equal(now) || len(r.Headers) != len(want.headers) {
			t.Errorf("record %d: got key %q, %d bytes, offset %d, time %v, headers %v", i, key, len(value), r.Offset, r.Time, r.Headers)
		}
	}

	// franz-go's reads the producer's fields.
	var b kmsg.RecordBatch
	if err := b.ReadFrom(raw); err != nil {
		t.Fatal(err)
	}
	if b.ProducerID != 4711 || b.ProducerEpoch != 12 || b.FirstSequence != 99 || b.NumRecords != 3 || b.LastOffsetDelta != 2 {
		t.Errorf("header: got %+v", b)
	}
}

func TestABatchStaysWithinItsLimitUnlessOneRecordAloneExceedsIt(t *testing.T) {
	enc := newBatchEncoder(0)
	r := record{key: "k", value: make([]byte, 100)}
	n := 0
	for enc.add(r, 1000) {
		n++
	}
	if got := len(enc.finish(time.Now(), 1, 0, 0)); got > 1000 || got+len(r.value) < 1000 || n < 2 {
		t.Errorf("batch of %d records: got %d bytes, want a little below 1000", n, got)
	}
	if !newBatchEncoder(0).add(record{value: make([]byte, 5000)}, 1000) {
		t.Error("a record alone was refused: that is for the broker to do")
	}
}

func TestSequenceNumbersStartAgainAtZero(t *testing.T) {
	for _, tt := range []struct {
		from int32
		n    int
		want int32
	}{{0, 5, 5}, {maxSequence, 1, 0}, {maxSequence - 1, 5, 3}, {maxSequence - 4, 5, 0}} {
		if got := nextSequence(tt.from, tt.n); got != tt.want {
			t.Errorf("nextSequence(%d, %d): got %d, want %d", tt.from, tt.n, got, tt.want)
		}
	}
}

func TestTheCommittedOffsetPassesNoOpenCommand(t *testing.T) {
	offsets := []int64{3, 4, 7, 8, 9, 20}
	for range 200 {
		l := newLedger(2)
		for _, o := range offsets {
			l.take(o)
		}
		settled := map[int64]bool{}
		for _, i := range rand.Perm(len(offsets)) {
			before := l.next
			moved := l.settle(offsets[i])
			settled[offsets[i]] = true
			want := int64(2)
			for _, o := range offsets {
				if !settled[o] {
					break
				}
				want = o + 1
			}
			if l.next != want || (moved > 0) != (l.next != before) {
				t.Fatalf("after %v: next %d, moved %d; want %d", settled, l.next, moved, want)
			}
		}
		if len(l.open) > 0 || len(l.done) > 0 {
			t.Fatalf("the ledger keeps %v, %v", l.open, l.done)
		}
	}
}

// What would be carried out again after a crash is less than the results that are
// read back then: a command settled out of turn makes no room for another.
func TestCommandsSettledOutOfTurnStillCount(t *testing.T) {
	st := &stretch{ledger: newLedger(5), slots: make(chan struct{}, 3)}
	for offset := range int64(3) {
		st.slots <- struct{}{}
		st.ledger.take(5 + offset)
	}
	for _, step := range []struct {
		settled int64
		left    int
	}{{6, 3}, {5, 1}, {7, 0}} {
		st.settle(step.settled)
		if got := len(st.slots); got != step.left {
			t.Errorf("after offset %d: %d of 3 slots are taken, want %d", step.settled, got, step.left)
		}
	}
	if maxInHand > tailOwn/2 {
		t.Errorf("up to %d commands may be carried out again, and %d results are read back", maxInHand, tailOwn)
	}
}

// A broker with KIP-368 closes a connection whose login is too old.
func TestConnectionIsNotUsedBeyondItsLogin(t *testing.T) {
	w := newWire(&dialer{}, nil, nil)
	_, theirs := net.Pipe()
	old, young := &link{addr: "a", conn: theirs, until: time.Now().Add(-time.Second)}, &link{addr: "b", conn: theirs, until: time.Now().Add(time.Hour)}
	w.park(old)
	w.park(young)
	if l, err := w.take(t.Context(), "b"); l != young {
		t.Errorf("take: got %v, %v, want the link that was parked", l, err)
	}
	w.dialer.refused, w.dialer.until = errReadOnly, time.Now().Add(time.Hour) // it would be dialled anew
	w.dialer.with = w.dialer.config.secrets()
	if l, err := w.take(t.Context(), "a"); !errors.Is(err, errReadOnly) {
		t.Errorf("take: got %v, %v, want a new connection to be made", l, err)
	}
}

// The first message of a client (RFC 7628, 3.1).
func TestOAuthExtensionsAreSent(t *testing.T) {
	b := bearer{token: func(context.Context) (string, error) { return "tok", nil }, extensions: []string{"logicalCluster=lkc-1", " identityPoolId=pool-2"}}
	_, got, err := b.Start(t.Context())
	if want := "n,,\x01auth=Bearer tok\x01logicalCluster=lkc-1\x01identityPoolId=pool-2\x01\x01"; string(got) != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestAWindowForgetsOnlyTheOldestAndKnowsThatItDid(t *testing.T) {
	w := newWindow(0, windowSize)
	w.whole = true
	for i := 1; i <= windowSize+10; i++ {
		id := fmt.Sprint(i)
		w.append(keyOf("s", id), id, int64(i-1))
	}
	if len(w.entries) != windowSize || len(w.offsets) != windowSize {
		t.Errorf("the window holds %d entries, %d offsets; want %d", len(w.entries), len(w.offsets), windowSize)
	}
	if w.has(keyOf("s", "10")) || w.covers("10") || w.whole {
		t.Error("a forgotten event counts as known not to be in the log")
	}
	if !w.has(keyOf("s", "11")) || !w.covers("12") || w.from != 10 {
		t.Errorf("the oldest in the window: has %v, from %d", w.has(keyOf("s", "11")), w.from)
	}
	w.prepend([]found{{"s", "9", 8}, {"s", "10", 9}}, 8)
	if !w.covers("10") || !w.has(keyOf("s", "9")) || w.covers("8") {
		t.Error("what was read further back is not taken in")
	}
	if w.has(keyOf("other", "11")) {
		t.Error("the same id of another source counts as the same event")
	}
}

func TestAWindowReachesBackToWhatItForgotLast(t *testing.T) {
	w := newWindow(0, 10)
	w.whole = true
	for i := 1; i <= 50; i++ { // with foreign records between them
		id := fmt.Sprint(i)
		w.append(keyOf("s", id), id, int64(10*i))
	}
	if got, want := w.from, int64(10*40+1); got != want {
		t.Errorf("the window begins at %d, want %d: right after the last forgotten", got, want)
	}
}

func TestCredentialsInTheClearAreWarnedOf(t *testing.T) {
	for _, tt := range []struct {
		name, mechanism, broker string
		tls, warned             bool
	}{
		{"a password to another machine", "PLAIN", "kafka.example:9092", false, true},
		{"a password over TLS", "PLAIN", "kafka.example:9092", true, false},
		{"a password on this machine", "PLAIN", "127.0.0.1:9092", false, false},
		{"a password to one of several", "PLAIN", "localhost:9092,192.0.2.1:9092", false, true},
		{"a token to another machine", "OAUTHBEARER", "kafka.example:9092", false, true},
		{"SCRAM, which sends no password", "SCRAM-SHA-512", "kafka.example:9092", false, false},
		{"nothing secret", "", "kafka.example:9092", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{Brokers: strings.Split(tt.broker, ","), SASLMechanism: tt.mechanism, TLS: tt.tls}
			if got := c.exposure(); (got != "") != tt.warned {
				t.Errorf("got %q, want a warning: %v", got, tt.warned)
			}
		})
	}
}

func FuzzBatch(f *testing.F) {
	f.Add("key", "name", "value", []byte("body"), 3)
	f.Fuzz(func(t *testing.T, key, name, value string, body []byte, n int) {
		enc := newBatchEncoder(0)
		n = 1 + n&15
		for range n {
			enc.add(record{key: key, headers: []connector.Header{{Name: name, Value: value}}, value: body}, 1<<24)
		}
		raw := enc.finish(time.Now(), 1, 2, 3)
		var set protocol.RecordSet
		if _, err := set.ReadFrom(bytes.NewReader(append(binary.BigEndian.AppendUint32(nil, uint32(len(raw))), raw...))); err != nil {
			t.Fatal(err)
		}
		b, rest, err := splitBatch(raw)
		if err != nil || b == nil || len(rest) > 0 {
			t.Fatalf("split a batch: got %v, %d bytes left, %v", b, len(rest), err)
		}
		count := 0
		if err := b.each(func(r *logRecord) error {
			theirs, err := set.Records.ReadRecord()
			if err != nil || theirs.Offset != r.offset || !theirs.Time.Equal(r.time) {
				t.Errorf("record %d: got offset %d, time %v, want as kafka-go reads it: %+v, %v", count, r.offset, r.time, theirs, err)
			}
			if string(r.value) != string(body) || string(r.key) != key || r.headers[0] != (connector.Header{Name: name, Value: value}) {
				t.Errorf("record %d: got %q, %q, %v", count, r.key, r.value, r.headers)
			}
			count++
			return nil
		}); err != nil || count != n {
			t.Fatalf("read %d of %d records: %v", count, n, err)
		}
	})
}

// Whatever a broker sends, it is read within bounds, and reading makes progress.
func FuzzFetchAnswer(f *testing.F) {
	enc := newBatchEncoder(0)
	enc.add(record{key: "k", headers: []connector.Header{{Name: "n", Value: "v"}}, value: []byte("value")}, 1<<20)
	raw := enc.finish(time.Now(), 1, 2, 3)
	for codec := range uint16(6) {
		f.Add(append(make([]byte, 20), raw...), raw, int16(11), codec)
	}
	f.Fuzz(func(t *testing.T, answer, records []byte, version int16, codec uint16) {
		_, _ = decodeFetch(answer, version)
		if len(records) >= batchHeader && records[16] == 2 { // past the checksum
			records = bytes.Clone(records)
			binary.BigEndian.PutUint16(records[batchAttrsAt:], codec)
			binary.BigEndian.PutUint32(records[batchLengthAt:], uint32(len(records)-batchLengthAt-4))
			binary.BigEndian.PutUint32(records[batchCRCAt:], crc32.Checksum(records[batchAttrsAt:], castagnoli))
		}
		b, rest, err := splitBatch(records)
		if err != nil || b == nil {
			return
		}
		if len(rest) >= len(records) {
			t.Fatal("no progress")
		}
		total := 0
		_ = b.each(func(r *logRecord) error {
			if r.offset < b.first || r.offset > max(b.first, b.last) {
				t.Errorf("offset %d of a batch from %d to %d", r.offset, b.first, b.last)
			}
			if total += len(r.value) + len(r.key); total > maxOpened || len(r.value) > maxValue+1 {
				t.Errorf("read %d bytes, and %d at once", total, len(r.value))
			}
			return nil
		})
	})
}

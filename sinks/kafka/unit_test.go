package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pushover-connector/pushover-connector/connector"
)

func TestPartitionIsThatOfTheJavaClient(t *testing.T) {
	// Hashes from the Java client's own tests (UtilsTest.testMurmur2).
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q): got %d, want %d", key, got, want)
		}
	}
	for i := range 1000 {
		key := fmt.Sprintf("pushover://device/%d", i*i)
		for _, n := range []int{1, 2, 7, 50} {
			got := partitionOf(key, n)
			if want := (kafkago.Murmur2Balancer{Consistent: true}).Balance(kafkago.Message{Key: []byte(key)}, partitions(n)...); got != want {
				t.Errorf("partition of %q among %d: got %d, kafka-go says %d", key, n, got, want)
			}
		}
	}
}

func partitions(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
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
		value, _ := readAll(r.Value)
		key, _ := readAll(r.Key)
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
			if l.next != want || moved != (l.next != before) {
				t.Fatalf("after %v: next %d, moved %v; want %d", settled, l.next, moved, want)
			}
		}
		if len(l.open) > 0 || len(l.done) > 0 {
			t.Fatalf("the ledger keeps %v, %v", l.open, l.done)
		}
	}
}

func TestAWindowForgetsOnlyTheOldestAndKnowsThatItDid(t *testing.T) {
	w := newWindow(0)
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

func TestAPauseGrowsToItsBoundAndStartsAnew(t *testing.T) {
	p := newPause(time.Second, 10*time.Second)
	previous := time.Duration(0)
	for range 20 {
		d := p.next()
		if d <= 0 || d > 10*time.Second || d < previous/4 {
			t.Errorf("pause: got %v after %v", d, previous)
		}
		previous = d
	}
	if previous < 5*time.Second {
		t.Errorf("pause after many failures: got %v, want at least half of 10s", previous)
	}
	p.reset()
	if d := p.next(); d > time.Second {
		t.Errorf("pause after a success: got %v, want at most 1s", d)
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
		count := 0
		if err := eachRecord(set.Records, func(r *kafkago.Record) error {
			got, err := readAll(r.Value)
			if err != nil || !cmp.Equal(string(got), string(body)) || r.Headers[0].Key != name || string(r.Headers[0].Value) != value {
				t.Errorf("record %d: got %q, %v, %v", count, got, r.Headers, err)
			}
			count++
			return nil
		}); err != nil || count != n {
			t.Fatalf("read %d of %d records: %v", count, n, err)
		}
	})
}

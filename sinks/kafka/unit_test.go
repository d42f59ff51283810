package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
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

func TestAPageAnswersForTheOldestEventsWantedAndForNoOthers(t *testing.T) {
	events := func(first, n int) (out []found) {
		for i := range n {
			out = append(out, found{"s", fmt.Sprint(first + i), int64(first + i)})
		}
		return out
	}
	w := newWindow(1000, 10)
	w.prepend(events(990, 10), 990)
	pg := newPage(205, 10)
	for first := 980; !pg.passed; first -= 10 { // backwards, as the log is read
		pg.prepend(events(first, 10))
	}
	pg.bind()
	w.page = pg
	for id, want := range map[string]struct{ covered, held bool }{
		"204": {false, false}, "205": {true, true}, "214": {true, true}, "215": {false, false}, "989": {false, false},
		"990": {false, true}, "999": {true, true},
	} {
		if covered, held := w.covers(id), w.has(keyOf("s", id)); covered != want.covered || held != want.held {
			t.Errorf("event %s: covered %v, held %v; want %+v", id, covered, held, want)
		}
	}

	all := newPage(985, 10)
	all.prepend(events(980, 10))
	all.bind()
	if w.page = all; !w.covers("989") {
		t.Error("a page that reaches the window does not answer for all between")
	}
	w.append(keyOf("s", "1000"), "1000", 1000) // the window forgets 990
	if w.covers("990") || !w.covers("989") || !w.covers("992") {
		t.Error("the page answers for what the window forgot after the page was made")
	}
}

func TestAKeyHasOneCommandInHandAtATime(t *testing.T) {
	const keys, commands = 8, 5000
	var inHand [keys]atomic.Int64
	var twice atomic.Int64
	s := &server{bus: &Bus{}, queues: map[string][]item{}}
	s.handler = func(_ context.Context, c connector.Command) (connector.Result, error) {
		k := &inHand[c.Body[0]-'a']
		if k.Add(1) > 1 {
			twice.Add(1)
		}
		runtime.Gosched()
		k.Add(-1)
		return connector.Result{}, nil
	}
	var senders sync.WaitGroup
	for k := range keys { // many, so that there is a press at the lock
		senders.Go(func() {
			body := []byte(strings.Repeat(string(rune('a'+k)), 30))
			settled := make(chan int64, maxInHand)
			for n := range int64(commands) {
				// The next comes when the worker of the last is about to end.
				s.hand(t.Context(), item{offset: n, body: body, settled: settled})
				if got := <-settled; got != n {
					t.Errorf("settled: got %d, want %d", got, n)
					return
				}
			}
		})
	}
	senders.Wait()
	s.workers.Wait()
	if got := twice.Load(); got > 0 {
		t.Errorf("a command was handed over beside another of its key %d times", got)
	}
	if len(s.queues) > 0 {
		t.Errorf("after all ended %d keys have commands queued", len(s.queues))
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

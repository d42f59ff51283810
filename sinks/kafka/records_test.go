package kafka_test

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
)

// produceTo writes records with a client that is not ours.
func produceTo(t testing.TB, c kafka.Config, codec kgo.CompressionCodec, records ...*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.DefaultProduceTopic(c.ControlTopic),
		kgo.ProducerBatchCompression(codec), kgo.BrokerMaxWriteBytes(1<<30), kgo.ProducerBatchMaxBytes(512<<20), kgo.MaxBufferedBytes(1<<30))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(waitContext(t), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestCommandsInEveryCompressionAreHandedOver(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		b := open(t, c, o)
		var want []string
		for i, codec := range []kgo.CompressionCodec{
			kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
		} {
			var batch []*kgo.Record
			for n := range 3 {
				body := receipt(10*i+n) + strings.Repeat(" ", 3000)
				want = append(want, body)
				batch = append(batch, &kgo.Record{Value: []byte(body), Headers: []kgo.RecordHeader{{Key: "empty"}, {Key: "a", Value: []byte("b")}}})
			}
			produceTo(t, c, codec, append(batch, &kgo.Record{Key: []byte("no value")})...)
			want = append(want, "")
		}
		w := newWorker(b, o.Source)
		serve(t, b, w.handle)
		got := map[string]int{}
		for _, body := range w.await(t, len(want)) {
			got[body]++
		}
		for _, body := range want {
			if got[body]--; got[body] < 0 {
				t.Errorf("command %.40q was not handed over as often as it was sent", body)
			}
		}
	})
}

// A record that the broker took at a few kilobytes may hold hundreds of megabytes.
func TestHugeCompressedCommandCostsNoMemoryAndHoldsUpNoOther(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		b := open(t, c, o)
		for _, codec := range []kgo.CompressionCodec{kgo.ZstdCompression(), kgo.GzipCompression(), kgo.Lz4Compression(), kgo.SnappyCompression()} {
			huge := 60 << 20
			produceTo(t, c, codec, &kgo.Record{Value: make([]byte, huge/20)}) // 3 MiB, more than is kept
			if codec == kgo.ZstdCompression() {
				produceTo(t, c, codec, &kgo.Record{Value: make([]byte, huge)})
			}
		}
		sendCommands(t, c, receipt(1))
		var mu sync.Mutex
		var large []int
		done := make(chan struct{})
		serve(t, b, handlerOf(func(cmd connector.Command) {
			mu.Lock()
			defer mu.Unlock()
			if string(cmd.Body) == receipt(1) {
				close(done)
				return
			}
			large = append(large, len(cmd.Body))
		}))
		select {
		case <-done:
		case <-time.After(wait):
			t.Fatal("the command after the huge ones was not handed over")
		}
		awaitCommitted(t, c, 6)
		mu.Lock()
		defer mu.Unlock()
		if len(large) != 5 {
			t.Errorf("%d huge commands were handed over, want all 5, to be rejected", len(large))
		}
		for _, n := range large {
			if n < 256<<10 || n > 2<<20+1 {
				t.Errorf("a huge command was handed over with %d bytes, want some more than a command may have", n)
			}
		}
	})
}

// A broker sends many small batches at once. That each is bounded is not enough.
func TestManyCompressedCommandsCostNoMemory(t *testing.T) {
	c := configFor(fake(t).ListenAddrs())
	o := optionsFor(t, c)
	b := open(t, c, o)
	const batches, each = 20, 15
	for range batches {
		var records []*kgo.Record
		for range each {
			records = append(records, &kgo.Record{Value: make([]byte, 2<<20)})
		}
		produceTo(t, c, kgo.ZstdCompression(), records...)
	}
	var most uint64
	var mu sync.Mutex
	serve(t, b, handlerOf(func(connector.Command) {
		mu.Lock()
		defer mu.Unlock()
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	}))
	awaitCommitted(t, c, batches*each)
	mu.Lock()
	defer mu.Unlock()
	if most > 400<<20 { // all of them are 600 MiB and more
		t.Errorf("heap: got %d MiB, want less than all the commands", most>>20)
	}
}

package connector_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
)

// bench is the whole program on loopback: simulator, a real NATS server with
// JetStream on disk, and a running connector.
type bench struct {
	sim    *pushovertest.Server
	device pushovertest.Device
	client *pushover.Client
	server *server.Server
	bus    *nats.Bus
	conn   *connector.Connector
	sub    *natsgo.Conn
}

func newBench(b *testing.B, backlog int) *bench {
	b.Helper()
	x := &bench{sim: pushovertest.New(pushovertest.Options{PageSize: 5000, KeepAlive: time.Second})}
	if err := x.sim.StartOn("127.0.0.1:0", ""); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(x.sim.Close)
	x.device = x.sim.AddDevice("bench")
	if backlog > 0 {
		x.sim.SendN(backlog, pushovertest.Outgoing{Title: "Backup of nas-{n}", Message: "42 files in 17 seconds, run {n}", Queued: time.Now().Add(-time.Hour)})
	}
	x.server = natsServer(b)
	var err error
	x.bus, err = nats.Open(b.Context(), nats.Config{URL: x.server.ClientURL()}, nats.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = x.bus.Close(context.Background()) })
	x.sub, err = natsgo.Connect(x.server.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(x.sub.Close)
	x.client, err = pushover.New(pushover.Options{
		APIURL: x.sim.APIURL(), StreamURL: x.sim.StreamURL(), UserAgent: "bench/1",
		Credentials: pushover.Credentials{
			Secret: pushover.Secret(x.device.Secret), DeviceID: pushover.DeviceID(x.device.ID), DeviceName: x.device.Name,
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	x.conn = connector.New(x.client, connector.Options{})
	if err := x.conn.SetSink(x.bus); err != nil {
		b.Fatal(err)
	}
	return x
}

func natsServer(b *testing.B) *server.Server {
	b.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: filepath.Join(b.TempDir(), "js"), NoLog: true, NoSigs: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	b.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		b.Fatal("the NATS server did not start")
	}
	return s
}

// run starts the connector and its command consumer until the benchmark ends.
func (x *bench) run(b *testing.B) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{}, 2)
	go func() { _ = x.conn.Run(ctx); done <- struct{}{} }()
	go func() { _ = x.bus.ServeCommands(ctx, x.conn.HandleCommand); done <- struct{}{} }()
	b.Cleanup(func() { cancel(); <-done; <-done })
}

func (x *bench) drained(b *testing.B) {
	b.Helper()
	err := x.sim.Wait(b.Context(), func(pushovertest.State) bool { return len(x.sim.Queue("bench")) == 0 })
	if err != nil {
		b.Fatal(err)
	}
}

// stored waits until the stream holds n messages. It looks at the server from
// within: asking the simulator what it has left costs as much as a download.
func (x *bench) stored(b *testing.B, n uint64) {
	b.Helper()
	for {
		info, err := x.server.Jsz(nil)
		if err != nil {
			b.Fatal(err)
		}
		if info.Messages >= n {
			return
		}
		select {
		case <-b.Context().Done():
			b.Fatal("not stored")
		case <-time.After(time.Millisecond):
		}
	}
}

// Drain compares the drain of a backlog with publishing the same events to the
// same kind of server with nothing but nats.go's asynchronous publish.
func BenchmarkDrain(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if n > 10_000 && testing.Short() {
				b.Skip("long")
			}
			var drain, raw time.Duration
			for b.Loop() {
				b.StopTimer()
				x := newBench(b, n)
				b.StartTimer()
				began := time.Now()
				x.run(b)
				x.stored(b, uint64(n))
				x.drained(b)
				drain += time.Since(began)
				b.StopTimer()
				raw += rawPublish(b, x, n)
				b.StartTimer()
			}
			b.ReportMetric(float64(n*b.N)/drain.Seconds(), "msg/s")
			b.ReportMetric(float64(n*b.N)/raw.Seconds(), "raw-msg/s")
			b.ReportMetric(raw.Seconds()/drain.Seconds(), "of-raw")
		})
	}
}

// rawPublish reads the events back and publishes them to a fresh server.
func rawPublish(b *testing.B, x *bench, n int) time.Duration {
	b.Helper()
	js, err := jetstream.New(x.sub)
	if err != nil {
		b.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(b.Context(), "PUSHOVER", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"pushover.messages.>"}})
	if err != nil {
		b.Fatal(err)
	}
	msgs := make([]*natsgo.Msg, 0, n)
	for len(msgs) < n {
		batch, err := consumer.Fetch(min(5000, n-len(msgs)))
		if err != nil {
			b.Fatal(err)
		}
		for m := range batch.Messages() {
			msgs = append(msgs, &natsgo.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
		}
	}
	fresh := natsServer(b)
	nc, err := natsgo.Connect(fresh.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err = jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1024))
	if err != nil {
		b.Fatal(err)
	}
	_, err = js.CreateStream(b.Context(), jetstream.StreamConfig{
		Name: "PUSHOVER", Subjects: []string{"pushover.messages.>"}, Duplicates: 21 * 24 * time.Hour,
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range msgs {
		maps.DeleteFunc(m.Header, func(name string, _ []string) bool { return strings.HasPrefix(name, "Nats-Expected") })
	}
	began := time.Now()
	for _, m := range msgs {
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	return time.Since(began)
}

// WakeToEvent measures from the sending of a message, which is when the
// service says "!", to the event at a subscriber, beside one HTTP round trip
// and one confirmed publish in the same run.
func BenchmarkWakeToEvent(b *testing.B) {
	x := newBench(b, 0)
	x.run(b)
	events := make(chan *natsgo.Msg, 16)
	if _, err := x.sub.ChanSubscribe("pushover.messages.>", events); err != nil {
		b.Fatal(err)
	}
	live(b, x)
	js, err := jetstream.New(x.sub)
	if err != nil {
		b.Fatal(err)
	}
	var whole, parts []time.Duration
	i := 0
	for b.Loop() {
		began := time.Now()
		x.sim.Send(pushovertest.Outgoing{Message: "wake up", Queued: time.Now().Add(-time.Hour)})
		<-events
		whole = append(whole, time.Since(began))
		x.drained(b)

		began = time.Now()
		roundTrip(b, x)
		i++
		if _, err := js.Publish(b.Context(), "pushover.messages.normal.bare", []byte(`{}`), jetstream.WithMsgID(fmt.Sprint("bare", i))); err != nil {
			b.Fatal(err)
		}
		parts = append(parts, time.Since(began))
		<-events
	}
	report(b, whole, parts)
}

// AckCommand measures from the publication of a command to the receipt's
// acknowledgement at the service, beside one HTTP round trip and one confirmed
// publish, which a durable command cannot do without.
func BenchmarkAckCommand(b *testing.B) {
	x := newBench(b, 0)
	x.run(b)
	live(b, x)
	js, err := jetstream.New(x.sub)
	if err != nil {
		b.Fatal(err)
	}
	var whole, parts []time.Duration
	i := 0
	for b.Loop() {
		b.StopTimer()
		receipt := x.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2, Queued: time.Now().Add(-time.Hour)}).Receipt
		x.drained(b)
		b.StartTimer()
		began := time.Now()
		if err := x.sub.Publish("pushover.control.ack", []byte(receipt)); err != nil {
			b.Fatal(err)
		}
		err := x.sim.Wait(b.Context(), func(pushovertest.State) bool {
			r, _ := x.sim.Receipt(receipt)
			return r.Acknowledged
		})
		if err != nil {
			b.Fatal(err)
		}
		whole = append(whole, time.Since(began))

		began = time.Now()
		i++
		if _, err := js.Publish(b.Context(), "pushover.control.bare", []byte(`{}`), jetstream.WithMsgID(fmt.Sprint("bare", i))); err != nil {
			b.Fatal(err)
		}
		roundTrip(b, x)
		parts = append(parts, time.Since(began))
	}
	report(b, whole, parts)
}

func live(b *testing.B, x *bench) {
	b.Helper()
	for x.conn.Status().State != connector.StateLive {
		select {
		case <-b.Context().Done():
			b.Fatal("not live")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// roundTrip is one bare download over a warm connection.
func roundTrip(b *testing.B, x *bench) {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet,
		x.sim.APIURL()+"/1/messages.json?secret="+x.device.Secret+"&device_id="+x.device.ID, nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("User-Agent", "bench/1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		b.Fatal(err)
	}
}

func report(b *testing.B, whole, parts []time.Duration) {
	slices.Sort(whole)
	slices.Sort(parts)
	for _, p := range []int{50, 99} {
		w, s := whole[(len(whole)-1)*p/100], parts[(len(parts)-1)*p/100]
		b.ReportMetric(float64(w.Microseconds()), fmt.Sprintf("p%d-µs", p))
		b.ReportMetric(float64(s.Microseconds()), fmt.Sprintf("p%d-parts-µs", p))
		b.ReportMetric(float64(w)/float64(s), fmt.Sprintf("p%d-ratio", p))
	}
}

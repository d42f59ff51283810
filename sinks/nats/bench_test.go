package nats_test

import (
	"fmt"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	upstream "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

// BenchmarkBatch compares Publish of 1000 events with nats.go's own asynchronous
// publishing of the same events: encoded within the measured time, as Publish
// does it, and encoded before.
func BenchmarkBatch(b *testing.B) {
	const size = 1000
	for _, s := range []struct {
		name string
		sync bool
	}{{"server", false}, {"server-syncs-always", true}} {
		b.Run(s.name, func(b *testing.B) {
			srv := startServer(b, func(o *natsserver.Options) { o.SyncAlways = s.sync })
			bus := open(b, nats.Config{URL: srv.ClientURL()}, nats.Options{})
			_, js := client(b, srv.ClientURL())
			next := 1
			run := func(name string, publish func(*testing.B, []connector.Event, []*upstream.Msg)) {
				b.Run(name, func(b *testing.B) {
					for b.Loop() {
						b.StopTimer()
						events := sinktest.Messages("a", next, size)
						next += size
						encoded := make([]*upstream.Msg, size)
						for i, e := range events {
							encoded[i] = encode(b, e)
						}
						b.StartTimer()
						publish(b, events, encoded)
					}
					b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "events/s")
				})
			}
			run("raw-async-encoded", func(b *testing.B, _ []connector.Event, msgs []*upstream.Msg) { rawAsync(b, js, msgs) })
			run("raw-async", func(b *testing.B, events []connector.Event, msgs []*upstream.Msg) {
				for i, e := range events {
					msgs[i] = encode(b, e)
				}
				rawAsync(b, js, msgs)
			})
			run("publish", func(b *testing.B, events []connector.Event, _ []*upstream.Msg) {
				if n, err := bus.Publish(b.Context(), events); n != size || err != nil {
					b.Fatalf("got %d, %v", n, err)
				}
			})
		})
	}
}

// BenchmarkEmbedded is Publish to the embedded server, one event and 1000.
func BenchmarkEmbedded(b *testing.B) {
	bus := open(b, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: b.TempDir()})
	next := 1
	for _, size := range []int{1, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				if _, err := bus.Publish(b.Context(), sinktest.Messages("a", next, size)); err != nil {
					b.Fatal(err)
				}
				next += size
			}
			b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkCluster is Publish of 1000 events to a stream in a cluster of three
// servers, with one replica and with three.
func BenchmarkCluster(b *testing.B) {
	var url string
	for _, o := range clusterOptions(b) {
		url = runServer(b, o).ClientURL()
	}
	_, js := client(b, url)
	eventually(b, "the cluster has a leader", func() bool {
		_, err := js.AccountInfo(b.Context())
		return err == nil
	})
	for _, replicas := range []int{1, 3} {
		name := fmt.Sprintf("R%d", replicas)
		bus := open(b, nats.Config{URL: url, Stream: name, ControlStream: name + "C", SubjectPrefix: name, Replicas: replicas}, nats.Options{})
		next := 1
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := bus.Publish(b.Context(), sinktest.Messages("a", next, 1000)); err != nil {
					b.Fatal(err)
				}
				next += 1000
			}
			b.ReportMetric(float64(1000*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func encode(b *testing.B, e connector.Event) *upstream.Msg {
	headers, body, err := e.Encode(connector.ModeStructured, nats.Binding)
	if err != nil {
		b.Fatal(err)
	}
	m := upstream.NewMsg("pushover." + e.Route[0] + "." + e.Route[1] + "." + e.Route[2])
	m.Data = body
	for _, h := range headers {
		m.Header[h.Name] = []string{h.Value}
	}
	m.Header.Set(jetstream.MsgIDHeader, e.DedupKey())
	return m
}

func rawAsync(b *testing.B, js jetstream.JetStream, msgs []*upstream.Msg) {
	futures := make([]jetstream.PubAckFuture, len(msgs))
	for i, m := range msgs {
		f, err := js.PublishMsgAsync(m)
		if err != nil {
			b.Fatal(err)
		}
		futures[i] = f
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			b.Fatal(err)
		}
	}
}

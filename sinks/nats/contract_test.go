package nats_test

import (
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	upstream "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

func TestContractStructured(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Harness { return harness(t, connector.ModeStructured, nil) })
}

func TestContractBinary(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Harness { return harness(t, connector.ModeBinary, nil) })
}

// A stream that forgets ids at once: only reading back can tell a repeat. Two
// writers need the window to cover what they write at the same time.
func TestContractOnAForeignStreamWithAShortWindow(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Harness {
		return harness(t, connector.ModeStructured, &jetstream.StreamConfig{
			Name: "PUSHOVER", Subjects: []string{"pushover.messages.>", "pushover.results.>", "pushover.deadletter", "other.>"}, Duplicates: 2 * time.Second,
		})
	})
}

// harness opens a bus on an external server, through a proxy.
func harness(t *testing.T, mode connector.Mode, existing *jetstream.StreamConfig) sinktest.Harness {
	srv := startServer(t, func(o *natsserver.Options) { o.MaxPayload = 64 << 10 })
	p := startProxy(t, srv.Addr().String())
	_, js := client(t, srv.ClientURL())
	c := nats.Config{URL: p.url()}
	if existing != nil {
		if _, err := js.CreateStream(t.Context(), *existing); err != nil {
			t.Fatal(err)
		}
	}
	o := nats.Options{Mode: mode}
	current := open(t, c, o)
	return sinktest.Harness{
		Sink:    current,
		Mode:    mode,
		Binding: nats.Binding,
		ReadAll: func(t *testing.T) []sinktest.Stored { return stored(readAll(t, js)) },
		WantKey: func(e connector.Event) string { return e.DedupKey() },
		Reopen: func(t *testing.T) connector.Sink {
			closeBus(t, current)
			current = open(t, c, o)
			return current
		},
		Twin: func(t *testing.T) connector.Sink { return open(t, c, o) },
		Outage: func(_ *testing.T, during func()) {
			p.Stop()
			during()
			p.up()
		},
		Foreign:  func(t *testing.T) { foreign(t, js) },
		MaxBytes: 64 << 10,
	}
}

// foreign puts messages of others into the stream.
func foreign(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	for _, m := range []*upstream.Msg{
		{Subject: "pushover.messages.high.app", Data: []byte("text")},
		{Subject: "pushover.messages.high.app"},
		{Subject: "pushover.results.acknowledged", Data: []byte(`{"receipt":"r"}`)},
		{Subject: "pushover.deadletter", Header: upstream.Header{"Content-Type": {"application/cloudevents+json"}}, Data: []byte(`{"specversion":"1.0","id":"1","source":"s","type":"com.example","data":{}}`)},
		{Subject: "pushover.messages.low.app", Header: upstream.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"s"}, "ce-type": {"com.example"}}, Data: []byte(`{}`)},
	} {
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
}

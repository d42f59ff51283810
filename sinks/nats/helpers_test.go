package nats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	natsserver "github.com/nats-io/nats-server/v2/server"
	upstream "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

const patience = 3 * time.Minute

// startServer runs a real NATS server with JetStream in a directory of its own.
func startServer(t testing.TB, change func(*natsserver.Options)) *natsserver.Server {
	t.Helper()
	o := &natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}
	if change != nil {
		change(o)
	}
	return runServer(t, o)
}

func runServer(t testing.TB, o *natsserver.Options) *natsserver.Server {
	t.Helper()
	srv, err := natsserver.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { stopServer(srv) })
	if !srv.ReadyForConnections(patience) {
		t.Fatal("nats server is not ready")
	}
	return srv
}

func stopServer(srv *natsserver.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

func hostPort(t testing.TB, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func open(t testing.TB, c nats.Config, o nats.Options) *nats.Bus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := nats.Open(ctx, c, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	return b
}

func closeBus(t testing.TB, b *nats.Bus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// client is an independent connection to a server.
func client(t testing.TB, url string, options ...upstream.Option) (*upstream.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := upstream.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// readAll reads the stream of messages from its first to its last.
func readAll(t testing.TB, js jetstream.JetStream) []*jetstream.RawStreamMsg {
	t.Helper()
	var all []*jetstream.RawStreamMsg
	var err error
	eventually(t, "reading the stream, which a cluster may refuse while it elects a leader", func() bool {
		all, err = tryReadAll(js)
		if err != nil && !errors.Is(err, upstream.ErrNoResponders) && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		return err == nil
	})
	return all
}

func tryReadAll(js jetstream.JetStream) ([]*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience/2)
	defer cancel()
	stream, err := js.Stream(ctx, "PUSHOVER")
	if err != nil {
		return nil, err
	}
	cons, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	var all []*jetstream.RawStreamMsg
	for want := int(stream.CachedInfo().State.Msgs); len(all) < want; {
		batch, err := cons.Fetch(min(500, want-len(all)), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return nil, err
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return nil, err
			}
			all = append(all, &jetstream.RawStreamMsg{
				Subject: m.Subject(), Header: m.Headers(), Data: m.Data(), Sequence: meta.Sequence.Stream,
			})
		}
		if err := batch.Error(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func stored(all []*jetstream.RawStreamMsg) []sinktest.Stored {
	out := make([]sinktest.Stored, 0, len(all))
	for _, m := range all {
		s := sinktest.Stored{Body: m.Data, Key: m.Header.Get(jetstream.MsgIDHeader)}
		for name, values := range m.Header {
			for _, v := range values {
				s.Headers = append(s.Headers, connector.Header{Name: name, Value: v})
			}
		}
		out = append(out, s)
	}
	return out
}

// wantIDs checks that the message events of a device in the stream are exactly
// the ids from first, n of them, in order.
func wantIDs(t testing.TB, all []*jetstream.RawStreamMsg, device string, first, n int) {
	t.Helper()
	next := first
	for _, m := range all {
		key := m.Header.Get(jetstream.MsgIDHeader)
		if !strings.HasPrefix(key, "pushover://device/"+device+"#") || !strings.HasPrefix(m.Subject, "pushover.messages.") {
			continue
		}
		if want := fmt.Sprintf("pushover://device/%s#%d", device, next); key != want {
			t.Fatalf("stream at %d: got %s, want %s", m.Sequence, key, want)
		}
		next++
	}
	if got := next - first; got != n {
		t.Fatalf("stream holds %d messages of %s, want %d", got, device, n)
	}
}

// publishAll publishes as a connector does, until all events are confirmed.
func publishAll(ctx context.Context, t testing.TB, b connector.Sink, events []connector.Event) {
	for len(events) > 0 {
		n, err := b.Publish(ctx, events)
		events = events[n:]
		if err != nil {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				t.Errorf("%d events are left: %v", len(events), err)
				return
			}
		}
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for !condition() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// A proxy stands between a bus and a server.
type proxy struct {
	*toxiproxy.Proxy
	t testing.TB
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, "nats", "127.0.0.1:0", target)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return &proxy{p, t}
}

func (p *proxy) url() string { return "nats://" + p.Listen }

func (p *proxy) up() {
	p.t.Helper()
	// The port is free as soon as the listener is closed, but not the moment
	// before.
	eventually(p.t, "the proxy listens again", func() bool { return p.Start() == nil })
}

func (p *proxy) cut() {
	p.t.Helper()
	p.Stop()
	p.up()
}

func (p *proxy) toxic(json string) {
	p.t.Helper()
	if _, err := p.Toxics.AddToxicJson(strings.NewReader(json)); err != nil {
		p.t.Fatal(err)
	}
}

// A logBook collects log lines.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// health is an account whose lines are in the book.
func (l *logBook) health() *connector.Health {
	return connector.NewHealth(l.logger(), nil, connector.PartCommands, connector.PartStore)
}

// count is how many of the lines say something.
func (l *logBook) count(text string) int { return strings.Count(l.String(), text) }

func (l *logBook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func portOf(t testing.TB, addr string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

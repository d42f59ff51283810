package nats_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

// hammer publishes events in batches of random size until all are confirmed.
func hammer(ctx context.Context, t testing.TB, s connector.Sink, events []connector.Event, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for len(events) > 0 && ctx.Err() == nil {
		n := min(len(events), 1+r.IntN(400))
		publishAll(ctx, t, s, events[:n])
		events = events[n:]
	}
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestConnectionCutAtRandomMomentsLeavesOrderAndOneOfEach(t *testing.T) {
	srv := startServer(t, nil)
	p := startProxy(t, srv.Addr().String())
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: p.url()}, nats.Options{})
	const n = 6_000
	cutWhile(t, p, func() { hammer(within(t), t, b, sinktest.Messages("a", 1, n), 7) })
	wantIDs(t, readAll(t, js), "a", 1, n)
}

// cutWhile cuts a proxy's connections again and again until work ends.
func cutWhile(t *testing.T, p *proxy, work func()) {
	t.Helper()
	done := make(chan struct{})
	var cutting sync.WaitGroup
	cuts := 0
	cutting.Go(func() {
		r := rand.New(rand.NewPCG(3, 9))
		for cuts < 120 { // a slow machine must come to an end, too
			select {
			case <-done:
				return
			case <-time.After(time.Duration(r.IntN(40)) * time.Millisecond):
				p.cut()
				cuts++
			}
		}
	})
	work()
	close(done)
	cutting.Wait()
	if cuts == 0 {
		t.Fatal("the connection was never cut: the test shows nothing")
	}
	t.Logf("%d cuts", cuts)
}

func TestTwoConnectorsLeaveOrderAndOneOfEach(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	const n = 5_000
	var group sync.WaitGroup
	ctx := within(t)
	for seed := range uint64(2) {
		b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
		group.Go(func() { hammer(ctx, t, b, sinktest.Messages("a", 1, n), seed) })
	}
	group.Wait()
	wantIDs(t, readAll(t, js), "a", 1, n)
}

func TestTwoConnectorsWithCutsAndAThirdPartyInBetweenLeaveOrderAndOneOfEach(t *testing.T) {
	srv := startServer(t, nil)
	p := startProxy(t, srv.Addr().String())
	nc, js := client(t, srv.ClientURL())
	const n = 2_500
	var group, noise sync.WaitGroup
	ctx := within(t)
	buses := []*nats.Bus{
		open(t, nats.Config{URL: p.url()}, nats.Options{}),
		open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{}),
		open(t, nats.Config{URL: p.url()}, nats.Options{}),
	}
	quiet, hush := context.WithCancel(ctx)
	noise.Go(func() { // another device, another program
		for id := 1; quiet.Err() == nil; id++ {
			publishAll(ctx, t, buses[1], sinktest.Messages("b", id, 1))
			if err := nc.Publish("pushover.messages.low.other", nil); err != nil {
				t.Error(err)
			}
		}
	})
	cutWhile(t, p, func() {
		group.Go(func() { hammer(ctx, t, buses[0], sinktest.Messages("a", 1, n), 1) })
		group.Go(func() { hammer(ctx, t, buses[2], sinktest.Messages("a", 1, n), 2) })
		group.Wait()
	})
	hush()
	noise.Wait()
	wantIDs(t, readAll(t, js), "a", 1, n)
}

func TestServerRestartedMidBatchLeavesOrderAndOneOfEach(t *testing.T) {
	options := &natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, SyncAlways: true,
	}
	srv := runServer(t, options)
	options.Port = srv.Addr().(*net.TCPAddr).Port
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	const n = 5_000
	done := make(chan struct{})
	go func() {
		defer close(done)
		hammer(within(t), t, b, sinktest.Messages("a", 1, n), 5)
	}()
	_, js := client(t, srv.ClientURL())
	restarts := 0
	for finished := false; !finished; {
		before := streamLength(js)
		eventually(t, "progress", func() bool {
			select {
			case <-done:
				finished = true
			default:
			}
			return finished || streamLength(js) > before+300
		})
		if finished || restarts == 4 {
			break
		}
		stopServer(srv)
		srv = runServer(t, options.Clone())
		restarts++
	}
	<-done
	if restarts == 0 {
		t.Fatal("the server was never restarted: the test shows nothing")
	}
	_, js = client(t, srv.ClientURL())
	wantIDs(t, readAll(t, js), "a", 1, n)
}

// streamLength is the number of messages, 0 while it cannot be told.
func streamLength(js jetstream.JetStream) uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	stream, err := js.Stream(ctx, "PUSHOVER")
	if err != nil {
		return 0
	}
	return stream.CachedInfo().State.Msgs
}

// Ids order time to the second only, so a message can come late: others that follow it
// are in the stream already, put there by an earlier process or by a twin. It must not
// be passed by those that are not.
func TestLateMessagesAreStoredBeforeTheirSuccessors(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	other := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	same := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	r := rand.New(rand.NewPCG(5, 5))
	for i := range 60 {
		device := fmt.Sprint("d", i)
		all := sinktest.Messages(device, 1, 40+r.IntN(40))
		var there, late []connector.Event
		known := 1 + r.IntN(len(all))
		for j, e := range all {
			if j < known && r.IntN(4) > 0 || j == known-1 {
				there = append(there, e)
			} else {
				late = append(late, e)
			}
		}
		us := same
		if i%2 == 0 {
			us = open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
		}
		publishAll(within(t), t, other, there)
		publishAll(within(t), t, us, all)
		var want, got []string
		for _, e := range append(there, late...) {
			want = append(want, e.DedupKey())
		}
		for _, m := range readAll(t, js) {
			if key := m.Header.Get(jetstream.MsgIDHeader); strings.HasPrefix(key, "pushover://device/"+device+"#") {
				got = append(got, key)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d of %d known: got %v, want %v", len(there), len(all), got, want)
		}
	}
}

// A message that came late is in the stream behind others with higher ids. They are
// looked for there, too.
func TestReadBackGoesOnBehindAMessageThatCameLate(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	makeStream(t, js, func(c *jetstream.StreamConfig) {
		c.Subjects, c.Duplicates = append(c.Subjects, "noise"), 100*time.Millisecond
	})
	events := sinktest.Messages("a", 1, 4)
	first := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	publishAll(within(t), t, first, []connector.Event{events[0], events[2], events[3]})
	publishAll(within(t), t, first, events[1:]) // the second came late, and is cleared
	forgotten(t, js)
	if held, err := first.Holds(t.Context(), events[2:]); held != 2 || err != nil {
		t.Errorf("Holds: got %d, %v, want 2", held, err)
	}
	again := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	publishAll(within(t), t, again, events[2:])
	var got []string
	for _, m := range readAll(t, js) {
		if m.Subject != "noise" {
			got = append(got, m.Header.Get(jetstream.MsgIDHeader))
		}
	}
	want := []string{events[0].DedupKey(), events[2].DedupKey(), events[3].DedupKey(), events[1].DedupKey()}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

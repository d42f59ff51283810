package nats_test

import (
	"context"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

var ourSubjects = []string{"pushover.messages.>", "pushover.results.>", "pushover.deadletter"}

// In a replicated stream of nats-server 2.15 a broken chain is a write error of
// the stream, after which nobody can publish to it any more. A stream may be
// replicated, and reduced again, at any moment under a connection that stays.
func TestStreamScaledUnderLoadAndThroughALossStaysWellForAll(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers are too much for a short run")
	}
	var servers []*natsserver.Server
	options := clusterOptions(t)
	for _, o := range options {
		servers = append(servers, runServer(t, o))
	}
	nc, js := client(t, servers[0].ClientURL())
	config := jetstream.StreamConfig{Name: "PUSHOVER", Subjects: ourSubjects, Replicas: 1, Duplicates: nats.Retention}
	eventually(t, "the cluster makes a stream", func() bool {
		_, err := js.CreateStream(t.Context(), config)
		return err == nil
	})
	const n = 20_000
	b := open(t, nats.Config{URL: servers[1].ClientURL()}, nats.Options{})
	ctx := t.Context() // each step has its own limit
	writing, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { // another program, whose messages come between ours
		for writing.Err() == nil {
			_, _ = js.Publish(writing, "pushover.results.acknowledged", nil) // refused while there is no leader
		}
	})
	published := make(chan struct{})
	go func() {
		defer close(published)
		for events := sinktest.Messages("a", 1, n); len(events) > 0; {
			piece := min(len(events), 50)
			publishAll(ctx, t, b, events[:piece])
			if ctx.Err() != nil {
				return
			}
			events = events[piece:]
		}
	}()
	for i, replicas := range []int{3, 1, 3} {
		eventually(t, "progress", func() bool { return length(js) >= uint64(2000*(i+1)) })
		config.Replicas = replicas
		eventually(t, "the stream is scaled", func() bool {
			_, err := js.UpdateStream(t.Context(), config)
			return err == nil
		})
		eventually(t, "all replicas are there", func() bool { return current(js, replicas) })
	}
	eventually(t, "progress", func() bool { return length(js) >= 9_000 })
	eventually(t, "the leader steps down", func() bool { return stepDown(nc) })
	eventually(t, "progress under another leader", func() bool { return length(js) >= 11_000 })
	stopServer(servers[2]) // and what it leads moves
	eventually(t, "progress without a server", func() bool { return length(js) >= 13_000 })
	runServer(t, options[2])
	eventually(t, "all replicas are there again", func() bool { return current(js, 3) })
	<-published
	stop()
	group.Wait()
	eventually(t, "anybody can publish", func() bool {
		_, err := js.Publish(t.Context(), "pushover.results.done", nil)
		return err == nil
	})
	wantIDs(t, readAll(t, js), "a", 1, n)
}

// length is how many messages the stream holds, 0 while nobody answers.
func length(js jetstream.JetStream) uint64 {
	stream, err := js.Stream(context.Background(), "PUSHOVER")
	if err != nil {
		return 0
	}
	return stream.CachedInfo().State.Msgs
}

// current reports whether a stream has a leader and all its other replicas follow.
func current(js jetstream.JetStream, replicas int) bool {
	stream, err := js.Stream(context.Background(), "PUSHOVER")
	if err != nil {
		return false
	}
	c := stream.CachedInfo().Cluster
	if c == nil || c.Leader == "" || len(c.Replicas) != replicas-1 {
		return false
	}
	for _, r := range c.Replicas {
		if !r.Current {
			return false
		}
	}
	return true
}

// A stream in a cluster is written to one confirmed message at a time, also while
// it has one replica.
func TestNothingIsChainedInACluster(t *testing.T) {
	servers, js := startCluster(t)
	single, err := js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "PUSHOVER", Subjects: ourSubjects, Replicas: 1, Duplicates: nats.Retention})
	if err != nil {
		t.Fatal(err)
	}
	if got := single.CachedInfo().Config.Replicas; got != 1 {
		t.Fatalf("the stream has %d replicas, want 1", got)
	}
	b := open(t, nats.Config{URL: servers[0].ClientURL()}, nats.Options{})
	publishAll(within(t), t, b, sinktest.Messages("a", 1, 50))
	all := readAll(t, js)
	wantIDs(t, all, "a", 1, 50)
	for _, m := range all {
		if after := m.Header.Get(jetstream.ExpectedLastMsgIDHeader); after != "" {
			t.Fatalf("message %d was chained to %s", m.Sequence, after)
		}
	}
}

func TestWindowShortenedUnderTheConnectionLetsNoRepeatIn(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	events := sinktest.Messages("a", 1, 9)
	publishAll(within(t), t, b, events[:3])
	// Twice, since the server purges the ids it knows while a change of the window is
	// under way, and may still go by the window before, three weeks.
	for _, window := range []time.Duration{101 * time.Millisecond, 100 * time.Millisecond} {
		if _, err := js.UpdateStream(t.Context(), jetstream.StreamConfig{
			Name: "PUSHOVER", Subjects: append(ourSubjects, "noise"), Duplicates: window, Discard: jetstream.DiscardNew, AllowDirect: true,
		}); err != nil {
			t.Fatal(err)
		}
	}
	publishAll(within(t), t, b, events[3:6])
	forgotten(t, js)
	publishAll(within(t), t, b, events[3:6])
	publishAll(within(t), t, b, events[1:])
	wantIDs(t, readAll(t, js), "a", 1, 9)
}

func TestStreamMadeAnewUnderTheConnectionLetsNoRepeatIn(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	events := sinktest.Messages("a", 1, 9)
	publishAll(within(t), t, b, events[:3])
	if err := js.DeleteStream(t.Context(), "PUSHOVER"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "PUSHOVER", Subjects: append(ourSubjects, "noise"), Duplicates: 100 * time.Millisecond,
	}); err != nil {
		t.Fatal(err)
	}
	publishAll(within(t), t, b, events[3:6])
	forgotten(t, js)
	publishAll(within(t), t, b, events[3:])
	wantIDs(t, readAll(t, js), "a", 4, 6)
}

// A purge does not make the stream forget: it would take the event for a repeat
// and store nothing.
func TestLostEventIsStoredAgainOnce(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	events := sinktest.Messages("a", 1, 5)
	publishAll(within(t), t, b, events)
	stream, err := js.Stream(t.Context(), "PUSHOVER")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(4)); err != nil { // 4 and 5 stay
		t.Fatal(err)
	}
	if held, err := b.Holds(t.Context(), events); held != 0 || err != nil {
		t.Fatalf("Holds after the purge: got %d, %v, want 0", held, err)
	}
	for i := range events {
		events[i].Lost = true
	}
	for range 2 {
		publishAll(within(t), t, b, events)
	}
	if held, err := b.Holds(t.Context(), events); held != 5 || err != nil {
		t.Errorf("Holds: got %d, %v, want 5", held, err)
	}
	if n := len(readAll(t, js)); n != 5 {
		t.Errorf("stream holds %d messages, want 5", n)
	}
	again := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{}) // which knows nothing of the loss
	for i := range events {
		events[i].Lost = false
	}
	if held, err := again.Holds(t.Context(), events); held != 5 || err != nil {
		t.Errorf("Holds of another connection: got %d, %v, want 5", held, err)
	}
}

// What was consumed cannot be read back, and is not lost.
func TestWorkQueueHoldsWhatWasConsumed(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "PUSHOVER", Subjects: ourSubjects, Retention: jetstream.WorkQueuePolicy, Duplicates: nats.Retention,
	}); err != nil {
		t.Fatal(err)
	}
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	var sink connector.Verifier = b
	publishAll(within(t), t, b, sinktest.Messages("a", 1, 3))
	cons, err := js.CreateConsumer(t.Context(), "PUSHOVER", jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	m, err := cons.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held, err := sink.Holds(t.Context(), sinktest.Messages("a", 1, 3)); held != 3 || err != nil {
		t.Errorf("Holds: got %d, %v, want 3", held, err)
	}
}

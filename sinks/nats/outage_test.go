package nats_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

func TestOpenWaitsForAServerThatComesLater(t *testing.T) {
	addr := freeAddr(t)
	opened := make(chan *nats.Bus, 1)
	book := &logBook{}
	go func() {
		b, err := nats.Open(within(t), nats.Config{URL: "nats://" + addr}, nats.Options{Health: book.health()})
		if err != nil {
			t.Errorf("Open: %v", err)
		}
		opened <- b
	}()
	eventually(t, "the first failure is logged", func() bool { return book.count("bus failed, retrying") > 0 })
	startServer(t, func(o *natsserver.Options) {
		o.Host = "127.0.0.1"
		o.Port = portOf(t, addr)
	})
	b := <-opened
	if b == nil {
		return
	}
	defer closeBus(t, b)
	if failed, recovered := book.count("bus failed, retrying"), book.count("bus recovered"); failed != 1 || recovered != 1 {
		t.Errorf("%d failures and %d recoveries, want one of each:\n%s", failed, recovered, book.String())
	}
	if n, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 1)); n != 1 || err != nil {
		t.Errorf("Publish: got %d, %v, want 1", n, err)
	}
}

func TestOpenEndsWithTheContextAndNamesTheURL(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := nats.Open(ctx, nats.Config{URL: "nats://" + freeAddr(t)}, nats.Options{})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "NATS_URL") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v, want the deadline, NATS_URL and the cause", err)
	}
}

func TestOutageIsReportedWithItsReasonAndSoIsItsEnd(t *testing.T) {
	srv := startServer(t, nil)
	p := startProxy(t, srv.Addr().String())
	book := &logBook{}
	b := open(t, nats.Config{URL: p.url()}, nats.Options{Health: book.health()})
	if book.String() != "" {
		t.Errorf("opening at the first attempt is logged:\n%s", book)
	}
	p.Stop()
	eventually(t, "the server is unreachable", func() bool {
		err := b.Connected()
		return err != nil && strings.Contains(err.Error(), "refused")
	})
	n, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 1))
	if n != 0 {
		t.Errorf("Publish while down: got %d, want 0", n)
	}
	wantFailure(t, err, connector.ReasonBusUnreachable, "connection refused", "NATS_URL")
	_, err = b.Holds(t.Context(), sinktest.Messages("a", 1, 1))
	wantFailure(t, err, connector.ReasonBusUnreachable, "connection refused")
	p.up()
	eventually(t, "the recovery is reported", func() bool { return book.count("bus recovered") == 1 })
	if n, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 1)); n != 1 || err != nil {
		t.Errorf("Publish: got %d, %v, want 1", n, err)
	}
	if got := book.count("bus failed, retrying"); got != 1 {
		t.Errorf("%d lines about the failure, want one, since all attempts fail alike:\n%s", got, book)
	}
}

// wantFailure checks that an error has a class, and what it tells a person.
func wantFailure(t *testing.T, err error, reason connector.Reason, wants ...string) {
	t.Helper()
	var f *connector.Failure
	if !errors.As(err, &f) || f.Reason != reason {
		t.Errorf("got %v with %+v, want a failure of class %s", err, f, reason)
		return
	}
	for _, want := range wants {
		if !strings.Contains(f.Detail+"; "+f.Remedy, want) {
			t.Errorf("got detail %q with remedy %q, want them to say %q", f.Detail, f.Remedy, want)
		}
	}
}

// A server that takes messages and says nothing, over a connection that looks
// alive.
func TestSilentServerEndsPublishAndLosesNothing(t *testing.T) {
	srv := startServer(t, nil)
	p := startProxy(t, srv.Addr().String())
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: p.url()}, nats.Options{})
	events := sinktest.Messages("a", 1, 100)
	if n, err := b.Publish(t.Context(), events[:20]); n != 20 || err != nil {
		t.Fatalf("Publish: got %d, %v", n, err)
	}
	p.toxic(`{"name":"mute","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`)
	n, err := b.Publish(t.Context(), events[20:60])
	if n != 0 || err == nil || errors.Is(err, connector.ErrRejected) {
		t.Fatalf("Publish to a silent server: got %d, %v, want 0 and a plain error", n, err)
	}
	const hung = "no confirmation from stream PUSHOVER for"
	wantFailure(t, err, connector.ReasonTimeout, hung)
	eventually(t, "the connection is said to be down since the server does not answer", func() bool {
		err := b.Connected()
		return err != nil && (strings.Contains(err.Error(), hung) || strings.Contains(err.Error(), "does not answer"))
	})
	if err := p.Toxics.RemoveToxic(context.Background(), "mute"); err != nil {
		t.Fatal(err)
	}
	p.cut()
	publishAll(within(t), t, b, events[20:])
	wantIDs(t, readAll(t, js), "a", 1, 100)
}

func TestSlowConfirmationsOnlyTakeLonger(t *testing.T) {
	srv := startServer(t, nil)
	p := startProxy(t, srv.Addr().String())
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: p.url()}, nats.Options{})
	p.toxic(`{"type":"latency","stream":"downstream","attributes":{"latency":200,"jitter":150}}`)
	if n, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 600)); n != 600 || err != nil {
		t.Errorf("Publish: got %d, %v, want 600", n, err)
	}
	wantIDs(t, readAll(t, js), "a", 1, 600)
}

func TestFullStreamKeepsEventsBackInOrder(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	config := jetstream.StreamConfig{
		Name: "PUSHOVER", Subjects: []string{"pushover.messages.>", "pushover.results.>", "pushover.deadletter"},
		Duplicates: nats.Retention, Discard: jetstream.DiscardNew, MaxMsgs: 7,
	}
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	events := sinktest.Messages("a", 1, 20)
	n, err := b.Publish(t.Context(), events)
	if n != 7 || err == nil || errors.Is(err, connector.ErrRejected) {
		t.Fatalf("Publish to a full stream: got %d, %v, want 7 and a plain error", n, err)
	}
	wantFailure(t, err, connector.ReasonBusFull, "maximum messages exceeded", "nats stream edit PUSHOVER")
	config.MaxMsgs = -1
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	publishAll(within(t), t, b, events[n:])
	wantIDs(t, readAll(t, js), "a", 1, 20)
}

func TestEventTooLargeForTheStreamAloneIsRejected(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "PUSHOVER", Subjects: []string{"pushover.messages.>", "pushover.results.>", "pushover.deadletter"},
		Duplicates: nats.Retention, MaxMsgSize: 1000,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	// Sizes around the limit: with the header of its chain a message may be too
	// large, and without it just small enough.
	rejected := 0
	for size := 300; size < 800; size += 7 {
		events := sinktest.Messages("a", 1000*size, 3)
		events[1].Data = []byte(`{"x":"` + strings.Repeat("x", size) + `"}`)
		n, err := b.Publish(t.Context(), events)
		alone, aloneErr := b.Publish(t.Context(), events[1:2])
		if (alone == 1) != (n == 3) || errors.Is(err, connector.ErrRejected) != errors.Is(aloneErr, connector.ErrRejected) {
			t.Fatalf("%d bytes: in a batch %d, %v; alone %d, %v", size, n, err, alone, aloneErr)
		}
		if errors.Is(err, connector.ErrRejected) {
			rejected++
		}
	}
	if rejected == 0 {
		t.Error("nothing was rejected: the test shows nothing")
	}
}

func TestForbiddenSubjectIsNamedAndNothingAfterItIsStored(t *testing.T) {
	srv := startServer(t, func(o *natsserver.Options) {
		o.Users = []*natsserver.User{
			{Username: "admin", Password: "pw"},
			{Username: "me", Password: "pw", Permissions: &natsserver.Permissions{
				Publish: &natsserver.SubjectPermission{Allow: []string{"$JS.>", "pushover.messages.low.>"}},
			}},
		}
	})
	nc, js := client(t, "nats://admin:pw@"+srv.Addr().String())
	_ = nc
	open(t, nats.Config{URL: srv.ClientURL(), User: "admin", Password: "pw"}, nats.Options{})
	b := open(t, nats.Config{URL: srv.ClientURL(), User: "me", Password: "pw"}, nats.Options{})
	events := sinktest.Messages("a", 1, 4) // low normal high emergency
	n, err := b.Publish(t.Context(), events)
	if n != 1 || err == nil || !strings.Contains(err.Error(), "pushover.messages.normal.app-2") {
		t.Errorf("Publish: got %d, %v, want 1 and the forbidden subject named", n, err)
	}
	wantFailure(t, err, connector.ReasonBusAuth, "permit this user to publish to pushover.messages.normal.app-2")
	wantIDs(t, readAll(t, js), "a", 1, 1)
	found := false
	for _, c := range b.Checks(t.Context()) {
		found = found || c.Name == "nats permissions" && c.Err != nil
	}
	if !found {
		t.Error("Checks do not tell of the denial that was met")
	}
}

func TestRepeatedEventsAreCounted(t *testing.T) {
	srv := startServer(t, nil)
	duplicates := 0
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{OnDuplicate: func(n int) { duplicates += n }})
	events := sinktest.Messages("a", 1, 30)
	for _, batch := range [][]connector.Event{events[:20], events, events[29:]} {
		if _, err := b.Publish(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	if duplicates != 21 {
		t.Errorf("got %d duplicates, want 21", duplicates)
	}
}

// Read back from the log, not from the duplicate window: that has forgotten.
func TestRepeatLongAfterTheWindowAddsNothing(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "PUSHOVER", Subjects: []string{"pushover.messages.>", "pushover.results.>", "pushover.deadletter", "noise"},
		Duplicates: 100 * time.Millisecond, // the shortest there is
	})
	if err != nil {
		t.Fatal(err)
	}
	c := nats.Config{URL: srv.ClientURL()}
	b := open(t, c, nats.Options{})
	events := sinktest.Messages("a", 1, 700)
	mixed := []connector.Event{sinktest.Result("a", 1), sinktest.DeadLetter(sinktest.Message("a", 9999))}
	publishAll(within(t), t, b, events[:600])
	publishAll(within(t), t, b, mixed)
	for range 2000 { // others write, too
		if _, err := js.PublishAsync("noise", nil); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	other := open(t, c, nats.Options{})
	publishAll(within(t), t, other, sinktest.Messages("b", 1, 50))
	forgotten(t, js)
	again := open(t, c, nats.Options{})
	publishAll(within(t), t, again, events[300:])
	publishAll(within(t), t, again, mixed)
	all := readAll(t, js)
	wantIDs(t, all, "a", 1, 700)
	wantIDs(t, all, "b", 1, 50)
	if n := len(all); n != 700+50+2+2000+2 {
		t.Errorf("stream holds %d messages, want %d", n, 700+50+2+2000+2)
	}
}

// forgotten waits until the stream takes a known id for a new one.
func forgotten(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	if _, err := js.Publish(t.Context(), "noise", nil, jetstream.WithMsgID("probe")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the window has passed", func() bool {
		ack, err := js.Publish(t.Context(), "noise", nil, jetstream.WithMsgID("probe"))
		return err == nil && !ack.Duplicate
	})
}

// What else is denied to this user does not explain a missing answer.
func TestSilenceIsNotBlamedOnAnotherSubjectsDenial(t *testing.T) {
	srv := startServer(t, func(o *natsserver.Options) {
		o.Users = []*natsserver.User{{Username: "u", Password: "p", Permissions: &natsserver.Permissions{
			Subscribe: &natsserver.SubjectPermission{Deny: []string{"$SRV.>"}},
		}}}
	})
	lossy := startLossy(t, srv.Addr().String(), 0, "\nNats-Msg-Id: pushover://device/a#1\r", "STREAM.MSG.GET")
	book := &logBook{}
	b := open(t, nats.Config{URL: "nats://" + lossy.addr(), User: "u", Password: "p"}, nats.Options{Logger: book.logger()})
	go func() { _ = b.ServeEndpoints(t.Context(), nil, "") }()
	eventually(t, "the denial is known", func() bool { return book.count("subject denied") > 0 })
	_, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 3))
	if err == nil || strings.Contains(err.Error(), "SRV") {
		t.Errorf("got %v, want no word of another subject", err)
	}
	wantFailure(t, err, connector.ReasonTimeout, "no confirmation")
	_, err = b.Holds(t.Context(), sinktest.Messages("a", 1, 3))
	if err == nil || strings.Contains(err.Error(), "SRV") {
		t.Errorf("Holds: got %v, want no word of another subject", err)
	}
	wantFailure(t, err, connector.ReasonTimeout)
}

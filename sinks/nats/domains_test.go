package nats_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	upstream "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

// startLeaf runs a hub, and a leaf node of it, each with a JetStream domain of its
// name; leafStreams says whether the leaf has JetStream at all.
func startLeaf(t *testing.T, leafStreams bool) (hub, leaf *natsserver.Server) {
	t.Helper()
	addr := freeAddr(t)
	hub = startServer(t, func(o *natsserver.Options) {
		o.ServerName, o.JetStreamDomain = "hub", "hub"
		o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", portOf(t, addr)
	})
	leaf = startServer(t, func(o *natsserver.Options) {
		o.ServerName, o.JetStream = "leaf", leafStreams
		if leafStreams {
			o.JetStreamDomain = "leaf"
		}
		o.LeafNode.Remotes = []*natsserver.RemoteLeafOpts{{URLs: []*url.URL{{Scheme: "nats", Host: addr}}}}
	})
	eventually(t, "the leaf node is connected", func() bool { return hub.NumLeafNodes() == 1 })
	return hub, leaf
}

func makeStream(t *testing.T, js jetstream.JetStream, change func(*jetstream.StreamConfig)) {
	t.Helper()
	c := jetstream.StreamConfig{Name: "PUSHOVER", Subjects: ourSubjects, Duplicates: nats.Retention}
	if change != nil {
		change(&c)
	}
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// heardOf waits until a leaf node knows of so many streams, its own and the hub's, that
// take our subjects.
func heardOf(t *testing.T, leaf *natsserver.Server, streams int) {
	t.Helper()
	eventually(t, "the leaf node has heard of the streams", func() bool {
		return leaf.GlobalAccount().Interest("pushover.messages.low.app") >= streams
	})
}

func TestConfirmationOfAnotherDomainDoesNotCount(t *testing.T) {
	hub, leaf := startLeaf(t, true)
	_, hubStreams := client(t, hub.ClientURL())
	_, leafStreams := client(t, leaf.ClientURL())
	makeStream(t, hubStreams, nil)
	heardOf(t, leaf, 1)
	makeStream(t, leafStreams, func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 5, jetstream.DiscardNew })
	book := &logBook{}
	b := open(t, nats.Config{URL: leaf.ClientURL()}, nats.Options{Logger: book.logger()})
	events := sinktest.Messages("a", 1, 20)
	n, err := b.Publish(t.Context(), events)
	if n != 5 || err == nil {
		t.Errorf("Publish to a full stream beside one that is not: got %d, %v, want 5 and an error", n, err)
	}
	eventually(t, "the other stream is named", func() bool { return book.count("taken by another stream too") > 0 })
	if got := book.count("taken by another stream too"); got != 1 || book.count("domain=hub") != 1 {
		t.Errorf("%d lines about the other stream, want 1 that names its domain:\n%s", got, book)
	}
	if err := leafStreams.DeleteStream(t.Context(), "PUSHOVER"); err != nil {
		t.Fatal(err)
	}
	publishAll(within(t), t, b, events[5:])
	wantIDs(t, readAll(t, leafStreams), "a", 6, 15)
}

func TestSecondStreamOfOurSubjectsIsNamedAtStartAndByCheck(t *testing.T) {
	hub, leaf := startLeaf(t, true)
	_, hubStreams := client(t, hub.ClientURL())
	for _, second := range []bool{false, true} {
		if second {
			makeStream(t, hubStreams, nil)
			heardOf(t, leaf, 2)
		}
		for _, readOnly := range []bool{false, true} {
			b := open(t, nats.Config{URL: leaf.ClientURL()}, nats.Options{ReadOnly: readOnly})
			d, err := b.Durability(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			warning := strings.Join(d.Warnings, " ")
			if got := strings.Contains(warning, "taken by more than stream PUSHOVER"); got != second {
				t.Errorf("second stream %v, read only %v: got warnings %q", second, readOnly, d.Warnings)
			}
		}
	}
	if n := streamLength(hubStreams); n != 0 {
		t.Errorf("the hub's stream holds %d messages after looking, want none", n)
	}
}

// A leaf node without JetStream has the hub's under its domain, and so has an
// account that imports the API under another prefix.
func TestJetStreamOfAnotherDomainOrPrefixIsUsed(t *testing.T) {
	hub, leaf := startLeaf(t, false)
	_, streams := client(t, hub.ClientURL())
	for remedy, c := range map[string]nats.Config{
		"set NATS_JS_DOMAIN":   {URL: leaf.ClientURL()},
		"check NATS_JS_DOMAIN": {URL: leaf.ClientURL(), JSDomain: "nowhere"},
	} {
		book := &logBook{}
		ctx, cancel := context.WithCancel(t.Context())
		opened := make(chan error, 1)
		go func() {
			_, err := nats.Open(ctx, c, nats.Options{Health: book.health()})
			opened <- err
		}()
		eventually(t, "it is reported", func() bool { return book.count("has no JetStream") > 0 })
		cancel()
		wantFailure(t, <-opened, connector.ReasonBusMisconfigured, "has no JetStream", remedy)
	}
	for i, c := range []nats.Config{
		{URL: leaf.ClientURL(), JSDomain: "hub"},
		{URL: leaf.ClientURL(), JsAPIPrefix: "$JS.hub.API"},
	} {
		b := open(t, c, nats.Options{})
		if n, err := b.Publish(t.Context(), sinktest.Messages("a", 1+5*i, 5)); n != 5 || err != nil {
			t.Errorf("Publish: got %d, %v, want 5", n, err)
		}
		if held, err := b.Holds(t.Context(), sinktest.Messages("a", 1+5*i, 5)); held != 5 || err != nil {
			t.Errorf("Holds: got %d, %v, want 5", held, err)
		}
		h := &handler{}
		stop := serve(t, b, h.handle)
		if _, err := streams.Publish(t.Context(), "pushover.control.ack", []byte(receipt(i))); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the command is carried out", func() bool { return len(h.bodies()) == 1 })
		stop()
		for _, check := range b.Checks(t.Context()) {
			if check.Err != nil {
				t.Errorf("check %s: %v", check.Name, check.Err)
			}
		}
	}
	wantIDs(t, readAll(t, streams), "a", 1, 10)
}

// A subscriber may answer whatever it gets.
func TestAnswersOfSubscribersDoNotCount(t *testing.T) {
	srv := startServer(t, nil)
	nc, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	for i, answer := range []string{"", "ok", "{}", `{"ok":true}`, "[]", "7"} {
		sub, err := nc.Subscribe("pushover.messages.>", func(m *upstream.Msg) { _ = m.Respond([]byte(answer)) })
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if n, err := b.Publish(within(t), sinktest.Messages("a", 1+10*i, 10)); n != 10 || err != nil {
			t.Errorf("with a subscriber that answers %q: got %d, %v, want 10", answer, n, err)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
	wantIDs(t, readAll(t, js), "a", 1, 60)
}

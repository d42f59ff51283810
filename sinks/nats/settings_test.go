package nats_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

func TestStreamsAreCreatedWithTheLimitsAsked(t *testing.T) {
	srv := startServer(t, nil)
	c := nats.Config{URL: srv.ClientURL(), MaxBytes: 1 << 30, MaxAge: 10 * 24 * time.Hour}
	b := open(t, c, nats.Options{})
	_, js := client(t, srv.ClientURL())
	for name, want := range map[string]struct {
		bytes  int64
		age    time.Duration
		window time.Duration
	}{
		"PUSHOVER":         {1 << 30, c.MaxAge, c.MaxAge},
		"PUSHOVER_CONTROL": {64 << 20, 0, 2 * time.Minute},
	} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		got := stream.CachedInfo().Config
		if got.MaxBytes != want.bytes || got.MaxAge != want.age || got.Duplicates != want.window || got.Discard != jetstream.DiscardNew {
			t.Errorf("stream %s: got %d bytes, %v, window %v, discard %v, want %+v and new ones refused", name, got.MaxBytes, got.MaxAge, got.Duplicates, got.Discard, want)
		}
	}
	publishAll(within(t), t, b, sinktest.Messages("a", 1, 10))
	wantIDs(t, readAll(t, js), "a", 1, 10)
}

func TestStreamsAreCreatedWithTheReplicasAndThePlaceAsked(t *testing.T) {
	options := clusterOptions(t)
	var url string
	for i, o := range options {
		if o.Tags = []string{"disk:ssd", "zone:a"}; i == 2 {
			o.Tags = []string{"disk:ssd", "zone:b"}
		}
		url = runServer(t, o).ClientURL()
	}
	_, js := client(t, url)
	open(t, nats.Config{URL: url, Replicas: 3, PlacementCluster: "c", PlacementTags: "disk:ssd"}, nats.Options{})
	for _, name := range []string{"PUSHOVER", "PUSHOVER_CONTROL"} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.CachedInfo().Config; got.Replicas != 3 || got.Placement == nil || got.Placement.Cluster != "c" || strings.Join(got.Placement.Tags, " ") != "disk:ssd" {
			t.Errorf("stream %s: got %d replicas in %+v, want 3 in cluster c on disk:ssd", name, got.Replicas, got.Placement)
		}
	}
	wantOpenError(t, nats.Config{URL: url, Stream: "S", ControlStream: "C", SubjectPrefix: "s", Replicas: 3, PlacementTags: "disk:ssd, zone:a"}, nats.Options{},
		"NATS_STREAM: create stream S", "NATS_REPLICAS", "NATS_PLACEMENT_TAGS")
}

func TestServerOfItsOwnCannotReplicate(t *testing.T) {
	srv := startServer(t, nil)
	wantOpenError(t, nats.Config{URL: srv.ClientURL(), Replicas: 3}, nats.Options{}, "NATS_STREAM", "set NATS_REPLICAS to 1")
}

func TestAccountThatWantsASizeIsGivenOne(t *testing.T) {
	srv := startServer(t, nil)
	account := srv.GlobalAccount()
	if err := account.UpdateJetStreamLimits(map[string]natsserver.JetStreamAccountLimits{
		"": {MaxMemory: -1, MaxStore: 1 << 30, MaxStreams: -1, MaxConsumers: -1, MaxBytesRequired: true},
	}); err != nil {
		t.Fatal(err)
	}
	wantOpenError(t, nats.Config{URL: srv.ClientURL()}, nats.Options{}, "NATS_STREAM", "set NATS_MAX_BYTES")
	open(t, nats.Config{URL: srv.ClientURL(), MaxBytes: 64 << 20}, nats.Options{})
}

// A user may be allowed the subjects of one inbox prefix only.
func TestInboxPrefixIsUsedForAllAnswers(t *testing.T) {
	srv := startServer(t, func(o *natsserver.Options) {
		o.Users = []*natsserver.User{{Username: "u", Password: "p", Permissions: &natsserver.Permissions{
			Subscribe: &natsserver.SubjectPermission{Allow: []string{"_INBOX_po.>", "pushover.>", "$SRV.>"}},
		}}}
	})
	c := nats.Config{URL: srv.ClientURL(), User: "u", Password: "p", InboxPrefix: "_INBOX_po"}
	b := open(t, c, nats.Options{})
	if n, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 5)); n != 5 || err != nil {
		t.Errorf("Publish: got %d, %v, want 5", n, err)
	}
	if held, err := b.Holds(t.Context(), sinktest.Messages("a", 1, 5)); held != 5 || err != nil {
		t.Errorf("Holds: got %d, %v, want 5", held, err)
	}
	h := &handler{}
	serve(t, b, h.handle)
	go func() { _, _ = b.SendCommand(t.Context(), []byte(receipt(1))) }() // of which only the command matters
	eventually(t, "the command is carried out", func() bool { return len(h.bodies()) == 1 })
	for _, check := range b.Checks(t.Context()) {
		if check.Err != nil {
			t.Errorf("check %s: %v", check.Name, check.Err)
		}
	}
}

func TestTLSFirstReachesAServerThatWantsItSo(t *testing.T) {
	authority := newAuthority(t)
	srv := startServer(t, func(o *natsserver.Options) {
		o.TLSConfig = &tls.Config{Certificates: authority.server(nil).Certificates, MinVersion: tls.VersionTLS12}
		o.TLSHandshakeFirst = true
	})
	c := nats.Config{URL: "tls://" + srv.Addr().String(), CAFile: authority.file, TLSFirst: true}
	b := open(t, c, nats.Options{})
	if n, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 5)); n != 5 || err != nil {
		t.Errorf("Publish: got %d, %v, want 5", n, err)
	}
}

// What would lose a command before it is carried out is said at start.
func TestControlStreamIsGraded(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*jetstream.StreamConfig)
		want   string // "" means no warning
	}{
		{"as it is created", func(*jetstream.StreamConfig) {}, ""},
		{"work queue", func(s *jetstream.StreamConfig) { s.Retention = jetstream.WorkQueuePolicy }, ""},
		{"age of a day", func(s *jetstream.StreamConfig) { s.MaxAge = 24 * time.Hour }, ""},
		{"large", func(s *jetstream.StreamConfig) { s.MaxBytes, s.Discard = 64<<20, jetstream.DiscardNew }, ""},
		{"limit with an age", func(s *jetstream.StreamConfig) {
			s.MaxMsgs, s.Discard, s.MaxAge = 10000, jetstream.DiscardNew, 24*time.Hour
		}, ""},
		{"in memory", func(s *jetstream.StreamConfig) { s.Storage = jetstream.MemoryStorage }, "is kept in memory"},
		{"interest", func(s *jetstream.StreamConfig) { s.Retention = jetstream.InterestPolicy }, "interest retention"},
		{"short age", func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour }, "drops commands after 1h0m0s"},
		{"last value", func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject, s.Discard = 1, jetstream.DiscardNew }, "drops the oldest beyond 1 messages per subject"},
		{"few", func(s *jetstream.StreamConfig) { s.MaxMsgs = 1 }, "drops the oldest beyond 1 messages"},
		{"small", func(s *jetstream.StreamConfig) { s.MaxBytes = 1000 }, "drops the oldest beyond 1000 bytes"},
		{"fills up", func(s *jetstream.StreamConfig) { s.MaxMsgs, s.Discard = 1000, jetstream.DiscardNew }, "refuses all commands once it has had 1000 messages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := startServer(t, nil)
			_, js := client(t, srv.ClientURL())
			config := jetstream.StreamConfig{Name: "PUSHOVER_CONTROL", Subjects: []string{"pushover.control.>"}}
			c.change(&config)
			if _, err := js.CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			d, err := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{}).Durability(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range d.Warnings {
				if strings.HasPrefix(w, "Stream PUSHOVER_CONTROL, of commands, ") {
					got = append(got, w)
				}
			}
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
				t.Errorf("got warnings %q, want one of %q", got, c.want)
			}
		})
	}
}

package nats_test

import (
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

func TestMissingStreamsAreCreatedToLoseNothing(t *testing.T) {
	srv := startServer(t, nil)
	open(t, nats.Config{URL: srv.ClientURL(), SubjectPrefix: "home.po", Stream: "S", ControlStream: "C"}, nats.Options{})
	_, js := client(t, srv.ClientURL())
	for name, subjects := range map[string]string{
		"S": "home.po.messages.> home.po.results.> home.po.deadletter",
		"C": "home.po.control.>",
	} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		c := stream.CachedInfo().Config
		if got := strings.Join(c.Subjects, " "); got != subjects {
			t.Errorf("stream %s: got subjects %s, want %s", name, got, subjects)
		}
		if c.Storage != jetstream.FileStorage || c.Discard != jetstream.DiscardNew || c.Retention != jetstream.LimitsPolicy ||
			c.MaxAge != 0 || c.MaxMsgs > 0 || c.MaxBytes > 0 || !c.AllowDirect {
			t.Errorf("stream %s: got %+v", name, c)
		}
		if name == "S" && c.Duplicates != 21*24*time.Hour {
			t.Errorf("stream %s: got a duplicate window of %v, want 21 days", name, c.Duplicates)
		}
	}
}

func TestStreamThatDoesNotFitIsNamedWithTheRemedyAndNotAltered(t *testing.T) {
	for _, c := range []struct {
		name   string
		stream jetstream.StreamConfig
		wants  []string
	}{
		{
			"a subject is missing",
			jetstream.StreamConfig{Name: "PUSHOVER", Subjects: []string{"pushover.messages.>", "x"}},
			[]string{"NATS_STREAM", "does not take pushover.deadletter, pushover.results.>", `nats stream edit PUSHOVER --subjects="pushover.messages.>,x,pushover.deadletter,pushover.results.>"`},
		},
		{
			"too narrow",
			jetstream.StreamConfig{Name: "PUSHOVER", Subjects: []string{"pushover.messages.high.>", "pushover.results.*", "pushover.deadletter"}},
			[]string{"NATS_STREAM", "does not take pushover.messages.>", `--subjects="pushover.results.*,pushover.deadletter,pushover.messages.>"`},
		},
		{
			"control subject missing",
			jetstream.StreamConfig{Name: "PUSHOVER_CONTROL", Subjects: []string{"pushover.control.other"}},
			[]string{"NATS_CONTROL_STREAM", "does not take pushover.control.>"},
		},
		{
			"subjects belong to another stream",
			jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"pushover.>"}},
			[]string{"NATS_STREAM", "overlap"},
		},
		{
			"mirror",
			jetstream.StreamConfig{Name: "PUSHOVER", Mirror: &jetstream.StreamSource{Name: "ORIGIN"}},
			[]string{"NATS_STREAM", "mirror"},
		},
		{
			"sealed",
			jetstream.StreamConfig{Name: "PUSHOVER", Subjects: ourSubjects, Sealed: true},
			[]string{"NATS_STREAM", "sealed"},
		},
		{
			"transform of messages",
			jetstream.StreamConfig{Name: "PUSHOVER", Subjects: ourSubjects, SubjectTransform: &jetstream.SubjectTransformConfig{Source: "pushover.messages.>", Destination: "alerts.>"}},
			[]string{"NATS_STREAM", "stores pushover.messages.> as alerts.>"},
		},
		{
			"transform of one priority",
			jetstream.StreamConfig{Name: "PUSHOVER", Subjects: ourSubjects, SubjectTransform: &jetstream.SubjectTransformConfig{Source: "pushover.messages.high.*", Destination: "alerts.{{wildcard(1)}}"}},
			[]string{"NATS_STREAM", "as alerts."},
		},
		{
			"transform of commands",
			jetstream.StreamConfig{Name: "PUSHOVER_CONTROL", Subjects: []string{"pushover.control.>"}, SubjectTransform: &jetstream.SubjectTransformConfig{Source: "pushover.>", Destination: "other.>"}},
			[]string{"NATS_CONTROL_STREAM", "as other.>"},
		},
		{
			"no confirmations",
			jetstream.StreamConfig{Name: "PUSHOVER", Subjects: ourSubjects, NoAck: true},
			[]string{"NATS_STREAM", "no_ack", "nats stream edit PUSHOVER --ack"},
		},
		{
			"counters",
			jetstream.StreamConfig{Name: "PUSHOVER", Subjects: ourSubjects, AllowMsgCounter: true},
			[]string{"NATS_STREAM", "counters"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := startServer(t, nil)
			_, js := client(t, srv.ClientURL())
			sealed := c.stream.Sealed // which cannot be from the start
			c.stream.Sealed = false
			created, err := js.CreateStream(t.Context(), c.stream)
			if c.stream.Sealed = sealed; sealed && err == nil {
				created, err = js.UpdateStream(t.Context(), c.stream)
			}
			if err != nil {
				t.Fatal(err)
			}
			before := created.CachedInfo().Config
			wantOpenError(t, nats.Config{URL: srv.ClientURL()}, nats.Options{}, c.wants...)
			after, err := js.Stream(t.Context(), c.stream.Name)
			if err != nil {
				t.Fatal(err)
			}
			if got := after.CachedInfo().Config; strings.Join(got.Subjects, " ") != strings.Join(before.Subjects, " ") {
				t.Errorf("stream was altered: %+v", got)
			}
			b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{ReadOnly: true})
			failed := false
			for _, check := range b.Checks(t.Context()) {
				failed = failed || check.Err != nil
			}
			if !failed && c.stream.Name != "OTHER" {
				t.Error("Checks find no fault")
			}
		})
	}
}

func TestStreamsThatFitInOtherWordsAreTaken(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	for _, c := range []jetstream.StreamConfig{
		{Name: "PUSHOVER", SubjectTransform: &jetstream.SubjectTransformConfig{Source: "x.>", Destination: "y.>"}, Subjects: []string{"x.>", "pushover.messages.*.*", "pushover.results.acknowledged", "pushover.results.rejected", "pushover.results.expired", "pushover.results.done", "pushover.deadletter"}},
		{Name: "PUSHOVER_CONTROL", Subjects: []string{"pushover.*.ack"}},
	} {
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	events := append(sinktest.Messages("a", 1, 5), sinktest.Result("a", 1), sinktest.DeadLetter(sinktest.Message("a", 6)))
	if n, err := b.Publish(t.Context(), events); n != len(events) || err != nil {
		t.Errorf("Publish: got %d, %v, want %d", n, err, len(events))
	}
}

func TestServerWithoutJetStreamIsNamed(t *testing.T) {
	srv := startServer(t, func(o *natsserver.Options) { o.JetStream = false })
	book := &logBook{}
	wantOpenError(t, nats.Config{URL: srv.ClientURL()}, nats.Options{Health: book.health()}, "NATS_STREAM", "has no JetStream", "NATS_URL")
	if book.count("retrying") > 0 {
		t.Errorf("a server on its own was waited for:\n%s", book)
	}
}

func TestMessagesGoOnWhateverBecomesOfTheControlStream(t *testing.T) {
	srv := startServer(t, nil)
	p := startProxy(t, srv.Addr().String())
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: p.url()}, nats.Options{})
	events := sinktest.Messages("a", 1, 9)
	publishAll(within(t), t, b, events[:3])
	s, err := js.Stream(t.Context(), "PUSHOVER_CONTROL")
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.Subjects = []string{"elsewhere"}
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	for _, batch := range [][]connector.Event{events[3:6], events[6:]} {
		p.Stop()
		eventually(t, "the connection is lost", func() bool { return b.Connected() != nil })
		p.up()
		eventually(t, "the connection is back", func() bool { return b.Connected() == nil })
		if n, err := b.Publish(t.Context(), batch); n != len(batch) || err != nil {
			t.Errorf("Publish: got %d, %v, want %d", n, err, len(batch))
		}
	}
	wantIDs(t, readAll(t, js), "a", 1, 9)
}

func TestDeletedStreamIsMadeAgainAndPublishGoesOn(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	book := &logBook{}
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{Logger: book.logger()})
	events := sinktest.Messages("a", 1, 20)
	if n, err := b.Publish(t.Context(), events[:10]); n != 10 || err != nil {
		t.Fatalf("Publish: got %d, %v", n, err)
	}
	if err := js.DeleteStream(t.Context(), "PUSHOVER"); err != nil {
		t.Fatal(err)
	}
	n, err := b.Publish(t.Context(), events[10:])
	if n != 0 || err == nil || !strings.Contains(err.Error(), "no stream") {
		t.Fatalf("Publish without a stream: got %d, %v, want 0 and an error that says so", n, err)
	}
	wantFailure(t, err, connector.ReasonBusMisconfigured, "no stream takes the subject")
	publishAll(within(t), t, b, events[10:])
	wantIDs(t, readAll(t, js), "a", 11, 10)
	if created, again := book.count("stream created"), book.count(`WARN msg="stream was missing and has been created again`); created != 2 || again != 1 {
		t.Errorf("got %d and %d lines about first and later creations, want 2 and 1:\n%s", created, again, book)
	}
}

func TestChecksNameAStreamThatIsFull(t *testing.T) {
	fits := []string{"pushover.messages.>", "pushover.results.>", "pushover.deadletter"}
	for _, c := range []struct {
		name   string
		change func(*jetstream.StreamConfig)
		full   bool
	}{
		{"messages", func(s *jetstream.StreamConfig) { s.MaxMsgs = 3 }, true},
		{"bytes", func(s *jetstream.StreamConfig) { s.MaxBytes = 4 << 10 }, true},
		{"room", func(s *jetstream.StreamConfig) { s.MaxMsgs, s.MaxBytes = 4, 1<<20 }, false},
		{"drops old ones", func(s *jetstream.StreamConfig) { s.MaxMsgs, s.Discard = 3, jetstream.DiscardOld }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := startServer(t, nil)
			_, js := client(t, srv.ClientURL())
			config := jetstream.StreamConfig{Name: "PUSHOVER", Subjects: fits, Discard: jetstream.DiscardNew, Duplicates: nats.Retention}
			c.change(&config)
			if _, err := js.CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
			if n, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 3)); n != 3 || err != nil {
				t.Fatalf("Publish: got %d, %v, want 3", n, err)
			}
			for _, check := range b.Checks(t.Context()) {
				if check.Name != "nats stream PUSHOVER" {
					continue
				}
				if !c.full {
					if check.Err != nil {
						t.Errorf("got %v, want no fault", check.Err)
					}
					return
				}
				wantFailure(t, check.Err, connector.ReasonBusFull, "NATS_STREAM: stream PUSHOVER is full")
				return
			}
			t.Error("the stream was not checked")
		})
	}
}

func TestGradeFollowsFromTheStream(t *testing.T) {
	fits := []string{"pushover.messages.>", "pushover.results.>", "pushover.deadletter"}
	long := 21 * 24 * time.Hour
	for _, c := range []struct {
		name   string
		change func(*jetstream.StreamConfig)
		grade  connector.Grade
		warns  []string
	}{
		{"on disk", func(*jetstream.StreamConfig) {}, connector.GradeCrash, []string{"one replica"}},
		{"in memory", func(s *jetstream.StreamConfig) { s.Storage = jetstream.MemoryStorage }, connector.GradeProcess, []string{"memory"}},
		{"short window", func(s *jetstream.StreamConfig) { s.Duplicates = 0 }, connector.GradeCrash, []string{"one replica", "2m0s, but Pushover may redeliver a message for up to 21 days, so the end of the stream is read back"}},
		{"old ones dropped by age", func(s *jetstream.StreamConfig) { s.MaxAge, s.Duplicates = time.Hour, time.Hour }, connector.GradeCrash, []string{"one replica", "duplicate window", "drops messages after 1h"}},
		{"old ones dropped by number", func(s *jetstream.StreamConfig) { s.MaxMsgs = 10 }, connector.GradeCrash, []string{"one replica", "drops its oldest"}},
		{"new ones refused", func(s *jetstream.StreamConfig) { s.MaxBytes, s.Discard = 1<<20, jetstream.DiscardNew }, connector.GradeCrash, []string{"one replica"}},
		{"old ones dropped per subject", func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject, s.Discard = 5, jetstream.DiscardNew }, connector.GradeCrash, []string{"one replica", "of a subject that is full"}},
		{"interest", func(s *jetstream.StreamConfig) { s.Retention = jetstream.InterestPolicy }, connector.GradeNone, []string{"one replica", "interest"}},
		{"work queue with a short window", func(s *jetstream.StreamConfig) { s.Retention, s.Duplicates = jetstream.WorkQueuePolicy, time.Hour }, connector.GradeCrash, []string{"one replica", "cannot be read back", "work queue"}},
		{"work queue", func(s *jetstream.StreamConfig) { s.Retention = jetstream.WorkQueuePolicy }, connector.GradeCrash, []string{"one replica", "work queue"}},
		{"confirms before it writes", func(s *jetstream.StreamConfig) { s.PersistMode = jetstream.AsyncPersistMode }, connector.GradeProcess, []string{"one replica", "persist mode async"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := startServer(t, nil)
			_, js := client(t, srv.ClientURL())
			config := jetstream.StreamConfig{Name: "PUSHOVER", Subjects: fits, Duplicates: long}
			c.change(&config)
			if _, err := js.CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			d, err := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{}).Durability(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if d.Grade != c.grade {
				t.Errorf("got grade %v, want %v: %+v", d.Grade, c.grade, d)
			}
			if len(d.Warnings) != len(c.warns) {
				t.Errorf("got warnings %q, want %q", d.Warnings, c.warns)
			}
			for i, want := range c.warns {
				if i < len(d.Warnings) && !strings.Contains(d.Warnings[i], want) && !strings.Contains(strings.Join(d.Warnings, " "), want) {
					t.Errorf("got warnings %q, want one of %q", d.Warnings, want)
				}
			}
		})
	}
}

// The subjects can be given to another stream under a connection that stays.
func TestConfirmationOfAnotherStreamDoesNotCount(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	if n, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 3)); n != 3 || err != nil {
		t.Fatalf("Publish: got %d, %v, want 3", n, err)
	}
	if _, err := js.UpdateStream(t.Context(), jetstream.StreamConfig{
		Name: "PUSHOVER", Subjects: []string{"pushover.results.>", "pushover.deadletter"}, Duplicates: nats.Retention, Discard: jetstream.DiscardNew, AllowDirect: true,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"pushover.messages.>"}}); err != nil {
		t.Fatal(err)
	}
	n, err := b.Publish(t.Context(), sinktest.Messages("a", 4, 3))
	if n != 0 {
		t.Errorf("Publish: got %d confirmed, want none", n)
	}
	wantFailure(t, err, connector.ReasonBusMisconfigured, `taken by stream "OTHER"`, "NATS_STREAM")
}

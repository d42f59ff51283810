package nats_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	upstream "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

func TestContractOnTheEmbeddedServer(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Harness {
		c, o := nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: filepath.Join(t.TempDir(), "nats")}
		current := open(t, c, o)
		jetStream := func(t *testing.T) jetstream.JetStream {
			_, js := client(t, current.URL())
			return js
		}
		return sinktest.Harness{
			Sink:    current,
			Binding: nats.Binding,
			ReadAll: func(t *testing.T) []sinktest.Stored { return stored(readAll(t, jetStream(t))) },
			Foreign: func(t *testing.T) { foreign(t, jetStream(t)) },
			WantKey: func(e connector.Event) string { return e.DedupKey() },
			Reopen: func(t *testing.T) connector.Sink {
				closeBus(t, current)
				current = open(t, c, o)
				return current
			},
			MaxBytes: 3 << 20,
			// Its server runs in the same process: neither can be without the other.
			Lacks: []sinktest.Capability{sinktest.Twins, sinktest.Outages},
		}
	})
}

func TestEmbeddedServerAsksForTheConfiguredLogin(t *testing.T) {
	dir := t.TempDir()
	passwordFile := filepath.Join(dir, "password")
	writeFile(t, passwordFile, []byte("pw\n"))
	for _, c := range []struct {
		name   string
		config nats.Config
		login  upstream.Option
	}{
		{"user and password", nats.Config{User: "me", Password: "pw"}, upstream.UserInfo("me", "pw")},
		{"password file", nats.Config{User: "me", PasswordFile: passwordFile}, upstream.UserInfo("me", "pw")},
		{"token", nats.Config{Token: "tok"}, upstream.Token("tok")},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Listen = "0.0.0.0:0"
			b := open(t, c.config, nats.Options{StoreDir: t.TempDir()})
			if n, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 2)); n != 2 || err != nil {
				t.Errorf("Publish: got %d, %v, want 2", n, err)
			}
			if nc, err := upstream.Connect(b.URL()); err == nil {
				nc.Close()
				t.Error("a client without a login is let in")
			}
			_, js := client(t, b.URL(), c.login)
			wantIDs(t, readAll(t, js), "a", 1, 2)
		})
	}
}

func TestEmbeddedServerSyncsEachWriteAndIsGradedSo(t *testing.T) {
	b := open(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: t.TempDir()})
	d, err := b.Durability(t.Context())
	if err != nil || d.Grade != connector.GradePower || len(d.Warnings) > 0 {
		t.Errorf("got %+v, %v, want grade power and no warning", d, err)
	}
	for _, c := range b.Checks(t.Context()) {
		if c.Err != nil {
			t.Errorf("check %s: %v", c.Name, c.Err)
		}
	}
}

func TestPortInUseNamesTheVariable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	wantOpenError(t, nats.Config{Listen: l.Addr().String()}, nats.Options{StoreDir: t.TempDir()}, "NATS_LISTEN", "in use")
}

func TestStoreInUseNamesTheVariable(t *testing.T) {
	dir := t.TempDir()
	first := open(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: dir})
	wantOpenError(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: dir}, "DATA_DIR", "in use by another process")
	closeBus(t, first)
	open(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: dir})
}

func TestStoreThatCannotBeWrittenNamesTheVariable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, nil)
	wantOpenError(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: filepath.Join(file, "nats")}, "DATA_DIR")
	wantOpenError(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{}, "DATA_DIR")
}

func TestReadOnlyCreatesNothing(t *testing.T) {
	srv := startServer(t, nil)
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{ReadOnly: true})
	for _, c := range b.Checks(t.Context()) {
		if c.Err != nil {
			t.Errorf("check %s: %v", c.Name, c.Err)
		}
		if strings.HasPrefix(c.Name, "nats stream") && !strings.Contains(c.Detail, "will be created") {
			t.Errorf("check %s: got %q, want it to say that the stream will be created", c.Name, c.Detail)
		}
	}
	_, js := client(t, srv.ClientURL())
	for name := range js.StreamNames(t.Context()).Name() {
		t.Errorf("stream %s was created", name)
	}
}

func TestLookBeforeTheFirstStartFindsAllWellAndCreatesNothing(t *testing.T) {
	parent := t.TempDir()
	c, o := nats.Config{Listen: freeAddr(t)}, nats.Options{StoreDir: filepath.Join(parent, "data", "nats"), ReadOnly: true}
	b := open(t, c, o)
	said := ""
	for _, check := range b.Checks(t.Context()) {
		if check.Err != nil {
			t.Errorf("check %s: %v", check.Name, check.Err)
		}
		said += check.Name + " " + check.Detail + "\n"
	}
	for _, want := range []string{"embedded server will be started on " + c.Listen, "store " + o.StoreDir} {
		if !strings.Contains(said, want) {
			t.Errorf("got the checks\n%swant them to say %q", said, want)
		}
	}
	foreseen, err := b.Durability(t.Context())
	if err != nil || foreseen.Grade != connector.GradePower || len(foreseen.Warnings) > 0 {
		t.Errorf("Durability: got %+v, %v, want grade power and no warning", foreseen, err)
	}
	closeBus(t, b)
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("after a look: got %v, %v, want nothing", left, err)
	}

	o.ReadOnly = false // and so it is
	d, err := open(t, c, o).Durability(t.Context())
	if err != nil || d.Grade != foreseen.Grade {
		t.Errorf("Durability of the server: got %+v, %v, want the grade foreseen", d, err)
	}
}

func TestLookBeforeAStartTellsWhatWouldKeepTheServerFromIt(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	writeFile(t, file, nil)
	readOnly := filepath.Join(dir, "read-only")
	if err := os.Mkdir(readOnly, 0o500); err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(dir, "used")
	open(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: used})
	left := filepath.Join(dir, "left")
	closeBus(t, open(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: left}))
	for _, c := range []struct {
		name, listen, store string
		wants               []string // none: nothing would
	}{
		{"store of an earlier run", freeAddr(t), left, nil},
		{"store in use", freeAddr(t), used, []string{"DATA_DIR", "in use by another process"}},
		{"store is a file", freeAddr(t), file, []string{"DATA_DIR", "not a directory"}},
		{"store under a file", freeAddr(t), filepath.Join(file, "nats"), []string{"DATA_DIR"}},
		{"store cannot be written", freeAddr(t), filepath.Join(readOnly, "data", "nats"), []string{"DATA_DIR", "write to " + readOnly}},
		{"no store", freeAddr(t), "", []string{"DATA_DIR"}},
		{"address of another machine", "192.0.2.1:4222", left, []string{"NATS_LISTEN"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.HasPrefix(c.store, readOnly) && os.Geteuid() <= 0 {
				t.Skip("this user may write everywhere, or access is not told by the mode")
			}
			config := nats.Config{Listen: c.listen, User: "u", Password: "p"}
			var problems []string
			for _, check := range open(t, config, nats.Options{StoreDir: c.store, ReadOnly: true}).Checks(t.Context()) {
				if check.Err != nil {
					problems = append(problems, check.Err.Error())
				}
			}
			if (len(problems) == 0) != (len(c.wants) == 0) {
				t.Errorf("got problems %q, want %q", problems, c.wants)
			}
			for _, want := range c.wants {
				if !strings.Contains(strings.Join(problems, "\n"), want) {
					t.Errorf("got problems %q, want one to say %q", problems, want)
				}
			}
		})
	}
}

// What is there but speaks no NATS would keep the server from its address.
func TestLookAtAForeignServerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 mail ready\r\n"))
			_ = c.Close()
		}
	}()
	wantOpenError(t, nats.Config{Listen: l.Addr().String()}, nats.Options{StoreDir: t.TempDir(), ReadOnly: true}, "connect")
}

func TestFailedOpenStopsTheEmbeddedServerAndTellsTheCauseAlone(t *testing.T) {
	c, o := nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: t.TempDir()}
	closeBus(t, open(t, c, o))
	c.SubjectPrefix = "home" // does not fit the streams that are there
	_, err := nats.Open(t.Context(), c, o)
	if err == nil || !strings.Contains(err.Error(), "nats stream edit") || errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the stream that does not fit, and no other error", err)
	}
	c.SubjectPrefix = ""
	open(t, c, o) // its store is free at once
}

// A store takes long to recover if it is large; here the server's first word is
// held back instead.
func TestOpenEndsWithTheContextWhileTheEmbeddedServerStarts(t *testing.T) {
	starting, goOn := make(chan struct{}), make(chan struct{})
	log := slog.New(hold{Handler: slog.DiscardHandler, once: sync.OnceFunc(func() { close(starting); <-goOn })})
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error, 1)
	go func() {
		_, err := nats.Open(ctx, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: dir, Logger: log})
		opened <- err
	}()
	<-starting
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the context was canceled", err)
	}
	wantOpenError(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: dir}, "in use by another process")
	close(goOn)
	eventually(t, "the server stops by itself and its store is free", func() bool {
		b, err := nats.Open(t.Context(), nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: dir})
		if err != nil {
			return false
		}
		closeBus(t, b)
		return true
	})
}

// hold is a log handler that calls once first of all.
type hold struct {
	slog.Handler
	once func()
}

func (hold) Enabled(context.Context, slog.Level) bool { return true }

func (h hold) Handle(context.Context, slog.Record) error {
	h.once()
	return nil
}

func TestAttachReachesTheEmbeddedServerOfAnotherProcess(t *testing.T) {
	daemon := open(t, nats.Config{Listen: "127.0.0.1:0", Token: "t"}, nats.Options{StoreDir: t.TempDir()})
	other := open(t, nats.Config{Listen: hostPort(t, daemon.URL()), Token: "t"}, nats.Options{Attach: true})
	if err := other.Connected(); err != nil {
		t.Errorf("Connected: %v", err)
	}
}

func TestCommandWithoutAConnectorSaysSo(t *testing.T) {
	addr := freeAddr(t)
	_, err := nats.Open(t.Context(), nats.Config{Listen: addr}, nats.Options{Attach: true})
	wantFailure(t, err, connector.ReasonBusUnreachable, "no connector is running here: nothing listens on NATS_LISTEN ("+addr+")")
	b := open(t, nats.Config{Listen: addr}, nats.Options{ReadOnly: true})
	err = b.Read(t.Context(), connector.Query{}, func(connector.Stored) error { return nil })
	wantFailure(t, err, connector.ReasonBusUnreachable, "no connector is running here: nothing listens on NATS_LISTEN ("+addr+")")
}

func wantOpenError(t *testing.T, c nats.Config, o nats.Options, wants ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := nats.Open(ctx, c, o)
	if err == nil {
		closeBus(t, b)
		t.Fatal("Open succeeded")
	}
	if ctx.Err() != nil {
		t.Errorf("Open: %v; want the error at once", err)
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Open: %v; want it to say %q", err, want)
		}
	}
}

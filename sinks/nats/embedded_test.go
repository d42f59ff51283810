package nats_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
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
		return sinktest.Harness{
			Sink:    current,
			Binding: connector.BindingNATS,
			ReadAll: func(t *testing.T) []sinktest.Stored {
				nc, err := upstream.Connect(current.URL())
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				js, err := jetstream.New(nc)
				if err != nil {
					t.Fatal(err)
				}
				return stored(readAll(t, js))
			},
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
	dir := filepath.Join(t.TempDir(), "nats")
	wantOpenError(t, nats.Config{Listen: freeAddr(t)}, nats.Options{StoreDir: dir, ReadOnly: true}, "connect", "refused")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("store after a look: got %v, want it not to exist", err)
	}
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

func TestAttachReachesTheEmbeddedServerOfAnotherProcess(t *testing.T) {
	daemon := open(t, nats.Config{Listen: "127.0.0.1:0", Token: "t"}, nats.Options{StoreDir: t.TempDir()})
	other := open(t, nats.Config{Listen: hostPort(t, daemon.URL()), Token: "t"}, nats.Options{Attach: true})
	if err := other.Connected(); err != nil {
		t.Errorf("Connected: %v", err)
	}
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

package nats_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

// smallDisk mounts a disk of this size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can mount a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("NOT TESTED: mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill takes all that is free.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

func TestFullDiskIsNamedAndTheStoreGoesOnWhenThereIsRoom(t *testing.T) {
	disk := smallDisk(t, "24m")
	book := &logBook{}
	c := nats.Config{Listen: "127.0.0.1:0"}
	b := open(t, c, nats.Options{StoreDir: filepath.Join(disk, "nats"), Logger: book.logger(), Health: book.health()})
	url := b.URL()
	events := sinktest.Messages("a", 1, 60)
	publishAll(within(t), t, b, events[:20])
	fill(t, filepath.Join(disk, "filler"))

	confirmed := 20
	eventually(t, "the full disk is reported", func() bool {
		n, err := b.Publish(t.Context(), events[confirmed:])
		confirmed += n
		if err != nil && book.count("store failed, retrying") > 0 {
			_, err = b.Publish(t.Context(), events[confirmed:])
			wantFailure(t, err, connector.ReasonDiskFull, "DATA_DIR", disk, "free space on the volume")
			return true
		}
		return false
	})
	for _, want := range []string{"reason=disk_full", " KiB free", " used", "limit "} {
		if !strings.Contains(book.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, book)
		}
	}
	failed := false
	for _, check := range b.Checks(t.Context()) {
		failed = failed || check.Name == "nats store" && check.Err != nil
	}
	if !failed {
		t.Error("Checks find no fault with the full store")
	}

	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	publishAll(within(t), t, b, events[confirmed:])
	eventually(t, "the recovery is reported", func() bool { return book.count("store recovered") == 1 && book.count("bus recovered") == 1 })
	if b.URL() != url {
		t.Errorf("address after that: got %s, want %s still", b.URL(), url)
	}
	_, js := client(t, url)
	wantIDs(t, readAll(t, js), "a", 1, 60)
	if n := book.count("store failed, retrying"); n != 1 || book.count("level=ERROR") > 0 {
		t.Errorf("%d lines about the failure, want one, and no error of the server itself:\n%s", n, book)
	}
}

// The server fixes its limit when it starts, at three quarters of what is free.
func TestLimitOfTheStoreFollowsADiskThatHasGrown(t *testing.T) {
	disk := smallDisk(t, "6m")
	book := &logBook{}
	b := open(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: filepath.Join(disk, "nats"), Health: book.health()})
	events := sinktest.Messages("a", 1, 100)
	for i := range events {
		events[i].Data = []byte(`{"x":"` + strings.Repeat("x", 100_000) + `"}`)
	}
	n, err := b.Publish(t.Context(), events)
	wantFailure(t, err, connector.ReasonDiskFull, "the limit of its store is reached", "DATA_DIR")
	eventually(t, "it is reported", func() bool { return book.count("store failed, retrying") == 1 })
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	publishAll(within(t), t, b, events[n:])
	_, js := client(t, b.URL())
	wantIDs(t, readAll(t, js), "a", 1, 100)
}

func TestCheckBesideARunningConnectorAgreesWithIt(t *testing.T) {
	daemon := open(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: t.TempDir()})
	var full atomic.Bool
	serveEndpoints(t, daemon, "1.2.3", endpoint("status", func(context.Context, []byte) ([]byte, error) {
		if full.Load() {
			return []byte(`{"parts":[{"part":"store","ok":false,"reason":"disk_full","detail":"no space"}]}`), nil
		}
		return []byte(`{"parts":[{"part":"store","ok":true}]}`), nil
	}))
	if _, err := ask(t, daemon, "status", nil); err != nil {
		t.Fatal(err)
	}
	beside := open(t, nats.Config{Listen: hostPort(t, daemon.URL())}, nats.Options{StoreDir: t.TempDir(), ReadOnly: true})
	want, err := daemon.Durability(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := beside.Durability(t.Context())
	if err != nil || got.Grade != want.Grade || len(got.Warnings) > 0 {
		t.Errorf("Durability beside it: got %+v, %v, want %+v", got, err, want)
	}
	store := func() connector.Check {
		for _, c := range beside.Checks(t.Context()) {
			if c.Name == "nats store" {
				return c
			}
		}
		t.Fatal("Checks do not look at the store")
		return connector.Check{}
	}
	if c := store(); c.Err != nil {
		t.Errorf("check of a store that is well: %v", c.Err)
	}
	full.Store(true)
	wantFailure(t, store().Err, connector.ReasonDiskFull, "no space")
}

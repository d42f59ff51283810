package nats_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

// A disk with room for a little, but of which the server would not take more, is
// full: starting the server again changes nothing.
func TestLimitThatARestartDoesNotRaiseIsNoReasonForOne(t *testing.T) {
	disk := smallDisk(t, "64m")
	book := &logBook{}
	b := open(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: filepath.Join(disk, "nats"), Logger: book.logger(), Health: book.health()})
	events := sinktest.Messages("a", 1, 120)
	for i := range events {
		events[i].Data = []byte(`{"x":"` + strings.Repeat("x", 500_000) + `"}`)
	}
	n, err := b.Publish(t.Context(), events)
	wantFailure(t, err, connector.ReasonDiskFull, "the limit of its store is reached", "DATA_DIR")
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); { // twice as long as a restart takes to come
		done, _ := b.Publish(t.Context(), events[n:])
		n += done
	}
	if n := book.count("store recovered"); n > 0 {
		t.Errorf("the store recovered %d times, want never", n)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=128m"); err != nil {
		t.Fatal(err)
	}
	publishAll(within(t), t, b, events[n:])
}

// What the server logs about a damaged record that it read is not a store that
// cannot be written.
func TestReadErrorIsNotAWriteError(t *testing.T) {
	if got := nats.StoreFailure("Ignoring non-write error: %v", "corrupt state file"); got != "" {
		t.Errorf("a read error: got the failure %q, want none", got)
	}
	if got := nats.StoreFailure("Critical write error: %v", "input/output error"); got == "" {
		t.Error("a write error: got no failure")
	}
}

package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

func TestOutageIsHandedToTheNextProcess(t *testing.T) {
	f := outageFile{path: filepath.Join(t.TempDir(), "new", "outage"), log: slog.New(slog.DiscardHandler)}
	at := time.Now().Add(5 * time.Minute)
	f.note(pushover.APIState{RetryAt: at})
	if got := f.until(); got.Before(at.Add(-time.Minute)) || got.After(at.Add(time.Minute)) {
		t.Errorf("got %v, want %v", got, at)
	}
	f.note(pushover.APIState{Open: true})
	if got := f.until(); !got.IsZero() {
		t.Errorf("after the outage: got %v, want none", got)
	}
}

// A machine without a clock of its own starts with the time of its last shutdown, or
// an older one. It must not wait longer than was asked for.
func TestOutageIsNotLongerForAClockThatWasSetBack(t *testing.T) {
	f := outageFile{path: filepath.Join(t.TempDir(), "outage"), log: slog.New(slog.DiscardHandler)}
	noted := time.Now().Add(40 * time.Minute)
	text, err := noted.Add(10 * time.Second).UTC().MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(f.path, noted, noted); err != nil {
		t.Fatal(err)
	}
	if got, most := f.until(), time.Now().Add(time.Minute); got.After(most) {
		t.Errorf("got %v, want %v at most", got, most)
	}
}

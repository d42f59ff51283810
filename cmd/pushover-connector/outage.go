package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// longestHold bounds what a file may demand.
const longestHold = time.Hour

// An outageFile tells the next process until when the service wants to be left
// alone. To the service a restart in the middle of its outage is the same client, which
// must not ask again at once.
type outageFile struct {
	path string
	log  *slog.Logger
	said bool // that it cannot be written
}

// until is what the process before has noted, or zero. It is no further away than it
// was then: the clock may have been set back since.
func (f *outageFile) until() time.Time {
	var at time.Time
	text, err := os.ReadFile(f.path)
	noted, err2 := os.Stat(f.path)
	if err = errors.Join(err, err2); errors.Is(err, fs.ErrNotExist) {
		return time.Time{}
	}
	if err == nil {
		err = at.UnmarshalText(text)
	}
	if err != nil {
		f.log.Warn("outage file not usable, the first request may come too early", slog.Any("error", err))
		return time.Time{}
	}
	return earlier(at, time.Now().Add(min(longestHold, at.Sub(noted.ModTime()))))
}

// note records when the next request may be sent, and removes the record when
// requests succeed again.
func (f *outageFile) note(s pushover.APIState) {
	if err := f.write(s); err != nil && !errors.Is(err, fs.ErrNotExist) && !f.said {
		f.said = true
		f.log.Warn("outage not recorded, a restart may ask the service too early", slog.Any("error", err))
	}
}

func (f *outageFile) write(s pushover.APIState) error {
	if s.Open {
		return os.Remove(f.path)
	}
	text, err := s.RetryAt.UTC().MarshalText()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	whole := f.path + ".new"
	if err := os.WriteFile(whole, text, 0o600); err != nil {
		return err
	}
	return os.Rename(whole, f.path)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

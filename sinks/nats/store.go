package nats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	// minRoom is what the embedded server must be able to write when it is started
	// again on a store that was full. With less it would be full again at once.
	minRoom = 8 << 20

	// storeInterval is how often a store that failed is looked at.
	storeInterval = 2 * time.Second
)

// fail notes that the store cannot be written, for a reason that the server gave.
// It may be called while the server holds its locks.
func (e *embedded) fail(reason connector.Reason, text string) {
	if strings.Contains(text, "no space left") || strings.Contains(text, "quota") {
		reason, text = connector.ReasonDiskFull, "no space left on the device"
	}
	e.mu.Lock()
	if e.failure == nil {
		e.failure = &connector.Failure{
			Reason: reason, Detail: fmt.Sprintf("the embedded server cannot write to %s (below DATA_DIR): %s", e.dir, text),
			Remedy: fmt.Sprintf("check the volume of DATA_DIR (%s); the connector goes on by itself", e.dir),
		}
		if reason == connector.ReasonDiskFull {
			e.failure.Remedy = fmt.Sprintf("free space on the volume of DATA_DIR (%s); the connector goes on by itself", e.dir)
		}
	}
	e.mu.Unlock()
	select {
	case e.failed <- struct{}{}:
	default:
	}
}

// trouble returns why the store cannot be written, or nil. A nil embedded has
// none.
func (e *embedded) trouble() *connector.Failure {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failure
}

// tendStore reports the failures of the embedded server's store until ctx ends,
// and mends them: the server never writes again to a stream whose file it once
// could not write, and does not notice that a disk has grown, so it has to be
// started again once there is room.
func (b *Bus) tendStore(ctx context.Context) {
	e := b.server
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.failed:
		}
		for e.trouble() != nil {
			e.report(storeInterval)
			select {
			case <-ctx.Done():
				return
			case <-time.After(storeInterval):
			}
			if !e.room() {
				continue
			}
			if err := b.restartServer(ctx); err != nil {
				e.activity.Failed(err, time.Now().Add(storeInterval))
			}
		}
		e.activity.OK()
	}
}

// restartServer starts the embedded server again on its store and address.
func (b *Bus) restartServer(ctx context.Context) error {
	e := b.server
	b.link.plan(&connector.Failure{
		Reason: connector.ReasonReconnecting, Detail: "the embedded server is restarted, since its store can be written again",
	})
	e.mu.Lock()
	srv := e.srv
	e.srv = nil
	e.mu.Unlock()
	if srv != nil {
		stop(srv)
	}
	select {
	case <-e.failed: // said while it stopped
	default:
	}
	before := e.trouble()
	e.mu.Lock()
	e.failure = nil // what it says from now on is news
	e.mu.Unlock()
	err := e.start(ctx)
	if err != nil {
		e.mu.Lock()
		e.failure = before
		e.mu.Unlock()
	}
	return err
}

// report tells the health what is known of the store, and of its size.
func (e *embedded) report(next time.Duration) {
	e.mu.Lock()
	f, srv := *e.failure, e.srv
	e.mu.Unlock()
	if free, ok := freeBytes(e.dir); ok {
		f.Detail += fmt.Sprintf("; %s free", bytesText(free))
		if f.Reason == connector.ReasonDiskFull {
			f.Detail += fmt.Sprintf(", %s needed", bytesText(e.needed()))
		}
	}
	if srv != nil {
		if info, err := srv.Jsz(nil); err == nil {
			f.Detail += fmt.Sprintf(", %s used, limit %s", bytesText(info.Store), bytesText(uint64(info.Config.MaxStore)))
		}
	}
	e.activity.Failed(&f, time.Now().Add(next))
}

// needed is the free space that the server needs to write minRoom more once it is
// started again: it uses three quarters of what is free then and its own by now.
func (e *embedded) needed() uint64 {
	e.mu.Lock()
	srv := e.srv
	e.mu.Unlock()
	var used uint64
	if srv != nil {
		if info, err := srv.Jsz(nil); err == nil {
			used = info.Store
		}
	}
	return (used+minRoom)/3*4 - used
}

// room reports whether the store can be written again.
func (e *embedded) room() bool {
	if free, ok := freeBytes(e.dir); ok && free < e.needed() {
		return false
	}
	probe, err := os.CreateTemp(e.dir, "probe")
	if err != nil {
		return false
	}
	_, err = probe.Write(make([]byte, 64<<10))
	return errors.Join(err, probe.Sync(), probe.Close(), os.Remove(probe.Name())) == nil
}

// bytesText writes a number of bytes for a person.
func bytesText(n uint64) string {
	const mebi = 1 << 20
	switch {
	case n < mebi:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/mebi)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}

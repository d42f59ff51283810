package pushover_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A world is a service in memory and a client with a device there. Time is
// virtual in it.
type world struct {
	*testing.T
	sim    *pushovertest.Server
	client *pushover.Client
	device pushovertest.Device
	log    *logBuffer

	mu       sync.Mutex
	requests []sentRequest
}

type sentRequest struct {
	pushover.RequestInfo
	at time.Duration // of its end, since the world began
}

// simulate runs a test in a bubble of virtual time. At its end the service must
// have nothing to complain of.
func simulate(t *testing.T, o pushovertest.Options, run func(w *world)) {
	t.Helper()
	simulateWith(t, o, pushover.Options{}, run)
}

func simulateWith(t *testing.T, so pushovertest.Options, co pushover.Options, run func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC))) // ids hold the time, from 2018 on
		w := &world{T: t, sim: pushovertest.New(so), log: &logBuffer{}}
		w.sim.StartPipe()
		defer w.sim.Close()
		w.device = w.sim.AddDevice("nas-1")
		start := time.Now()
		co.APIURL, co.StreamURL, co.DialContext = w.sim.APIURL(), w.sim.StreamURL(), w.sim.DialContext
		co.Logger = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		co.Credentials = credentialsOf(w.device)
		co.OnRequest = func(i pushover.RequestInfo) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.requests = append(w.requests, sentRequest{i, time.Since(start)})
		}
		w.client = mustNew(t, co)
		defer w.client.Close()
		run(w)
		synctest.Wait()
		if v := w.sim.Violations(); len(v) > 0 {
			t.Errorf("the service complains: %v", v)
		}
		for _, secret := range []string{w.device.Secret, w.device.ID, w.sim.Account().Password} {
			if strings.Contains(w.log.String(), secret) {
				t.Errorf("a secret is in the log:\n%s", w.log)
			}
		}
	})
}

func credentialsOf(d pushovertest.Device) pushover.Credentials {
	return pushover.Credentials{Secret: pushover.Secret(d.Secret), DeviceID: pushover.DeviceID(d.ID), DeviceName: d.Name}
}

func mustNew(t testing.TB, o pushover.Options) *pushover.Client {
	t.Helper()
	c, err := pushover.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sent returns the requests that got as far as the wire.
func (w *world) sent() []sentRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]sentRequest(nil), w.requests...)
}

// until waits for a state of the service, for at most an hour of virtual time.
func (w *world) until(cond func(pushovertest.State) bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Hour)
	defer cancel()
	if err := w.sim.Wait(ctx, cond); err != nil {
		w.Fatalf("%v; log:\n%s", err, w.log)
	}
}

func (w *world) untilLogins(n int) {
	w.Helper()
	w.until(func(s pushovertest.State) bool { return s.Device("nas-1").Logins >= n })
}

func (w *world) untilEmpty() {
	w.Helper()
	w.until(func(s pushovertest.State) bool { return len(s.Device("nas-1").Queue) == 0 })
}

// logBuffer is a place to log to from several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// discardLogger takes what net/http says about clients that hang up.
var discardLogger = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)

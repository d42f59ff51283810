//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pushover-connector/pushover-connector/deploy/internal/process"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A world is the service, in this process, with a bus and a connector that is not
// started yet. Each run has its own.
type world struct {
	dir       string
	sim       *pushovertest.Server
	device    pushovertest.Device
	bus       bus
	connector *process.Process
	http      string // where the connector serves
}

func (b *bench) newWorld(ctx context.Context, kind string) (_ *world, err error) {
	w := new(world)
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = os.MkdirTemp(b.dir, kind+"-"); err != nil {
		return nil, err
	}
	w.sim = pushovertest.New(pushovertest.Options{PageSize: 5000, MonthlyLimit: 1 << 30})
	if err := w.sim.Start(); err != nil {
		return nil, err
	}
	w.device = w.sim.AddDevice("bench")
	if err := w.saveCredentials(); err != nil {
		return nil, err
	}
	if kind == "kafka" {
		w.bus, err = newKafka(b.kafka, filepath.Base(w.dir))
	} else {
		w.bus, err = newNATS(ctx, kind, w.dir)
	}
	if err != nil {
		return nil, err
	}
	addresses, err := process.FreeAddresses(ctx, 1)
	if err != nil {
		return nil, err
	}
	w.http = addresses[0]
	w.connector = &process.Process{Path: b.program, Args: []string{"run"}, Log: filepath.Join(w.dir, "connector.log"), Env: append([]string{
		"HOME=" + w.dir, "LOG_FORMAT=json", "HTTP_ADDR=" + w.http,
		"PUSHOVER_API_URL=" + w.sim.APIURL(), "PUSHOVER_STREAM_URL=" + w.sim.StreamURL(), "PUSHOVER_CREDENTIALS_FILE=" + filepath.Join(w.dir, "credentials.json"),
	}, w.bus.settings()...)}
	return w, nil
}

func (w *world) saveCredentials() error {
	return pushover.Credentials{
		Secret: pushover.Secret(w.device.Secret), DeviceID: pushover.DeviceID(w.device.ID), DeviceName: w.device.Name,
	}.Save(filepath.Join(w.dir, "credentials.json"))
}

func (w *world) close() {
	if w.connector != nil {
		_ = w.connector.End(syscall.SIGKILL) // always ends
	}
	if w.bus != nil {
		w.bus.close()
	}
	if w.sim != nil {
		w.sim.Close()
	}
	_ = os.RemoveAll(w.dir)
}

// live starts the connector and waits until it is ready.
func (w *world) live(ctx context.Context) error {
	if err := w.connector.Start(); err != nil {
		return err
	}
	return w.ready(ctx)
}

func (w *world) ready(ctx context.Context) error {
	err := until(ctx, "the connector is ready", func() bool { return get(ctx, "http://"+w.http+"/readyz") == nil })
	if err != nil {
		log, _ := os.ReadFile(w.connector.Log)
		err = fmt.Errorf("%w\n%s", err, log)
	}
	return err
}

func (w *world) drained(ctx context.Context) error {
	return until(ctx, "the queue is empty", func() bool { return w.sim.Waiting(w.device.Name) == 0 })
}

// send queues messages as if they had come an hour ago: they have settled.
func (w *world) send(n int, text string, priority int) []pushovertest.Sent {
	return w.sim.SendN(n, pushovertest.Outgoing{
		Title: "Backup of nas-{n}", Message: text, Priority: priority, Queued: time.Now().Add(-time.Hour),
	})
}

// roundTrip is one bare download over a warm connection.
func (w *world) roundTrip(ctx context.Context) error {
	return get(ctx, w.sim.APIURL()+"/1/messages.json?secret="+w.device.Secret+"&device_id="+w.device.ID)
}

func get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "bench/1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// event waits for the next event.
func event(ctx context.Context, arrived <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, process.Patience)
	defer cancel()
	select {
	case <-arrived:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("no event: %w", ctx.Err())
	}
}

// text is n bytes that no two messages share.
func text(n int) string {
	const lead = "run {n}: "
	return lead + strings.Repeat("42 files in 17 seconds, ", n/24+1)[:max(0, n-len(lead))]
}

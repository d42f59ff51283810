package browser

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A log is a sink that keeps nothing, and fails or is unreadable on demand.
type log struct {
	n      atomic.Int64
	broken atomic.Pointer[connector.Failure]
	unread bool
}

func (l *log) Publish(_ context.Context, events []connector.Event) (int, error) {
	if f := l.broken.Load(); f != nil {
		return 0, f
	}
	for _, e := range events {
		n := l.n.Add(1)
		if e.Stored != nil {
			e.Stored(fmt.Sprintf("PUSHOVER#%d", 8100+n))
		}
	}
	return len(events), nil
}

func (l *log) Read(context.Context, connector.Query, func(connector.Stored) error) error {
	if l.unread {
		return errors.New("the log is being restored")
	}
	return nil
}

// A world is a connector between a simulated service and a log.
type world struct {
	t      *testing.T
	sim    *pushovertest.Server
	device pushovertest.Device
	log    *log
	health *connector.Health
	*connector.Connector
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, sim: pushovertest.New(pushovertest.Options{KeepAlive: time.Second}), log: &log{}}
	if err := w.sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sim.Close)
	w.device = w.sim.AddDevice("nas-1")
	w.health = connector.NewHealth(nil, connector.NewMetrics(nil, "nats", "v1.2.3", "none"), connector.PartCommands, connector.PartStore)
	client, err := pushover.New(pushover.Options{
		APIURL: w.sim.APIURL(), StreamURL: w.sim.StreamURL(), AllowPlaintext: true, UserAgent: "browser-test/1",
		OnAPIState: w.health.APIState,
		Credentials: pushover.Credentials{
			Secret: pushover.Secret(w.device.Secret), DeviceID: pushover.DeviceID(w.device.ID), DeviceName: w.device.Name,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w.Connector = connector.New(client, connector.Options{
		Device: "nas-1", Version: "v1.2.3", Health: w.health,
		Remedies: connector.Remedies{Resume: "run 'pushover-connector resume' or restart"},
	})
	return w
}

// run starts the connector and waits until it is ready.
func (w *world) run() {
	w.t.Helper()
	if err := w.SetSink(w.log); err != nil {
		w.t.Fatal(err)
	}
	w.health.SetSink("nats://nats.messaging.svc.cluster.local:4222", connector.Durability{Grade: connector.GradePower})
	for _, part := range []connector.Part{connector.PartBus, connector.PartCommands, connector.PartStore} {
		w.health.Activity(part).OK()
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.await("ready", func(s connector.Status) bool { return s.Ready })
}

// fill sends what a day brings.
func (w *world) fill() {
	w.t.Helper()
	for i, app := range []string{
		"Backups", "Prometheus", "<b>Not bold</b> & \"quoted\"", "Front door", "UPS in the cellar", "CI", "Backups", "Smoke detector",
		strings.Repeat("AnApplicationWithALongNameAndNoBlanks", 4), "Uptime", "Washing machine", "مراقبة", "Backups", "Prometheus",
	} {
		w.sim.Send(pushovertest.Outgoing{Title: "SECRET TITLE", Message: "SECRET TEXT", App: app, Priority: i%4 - 2})
	}
	w.await("published", func(s connector.Status) bool { return len(s.Recent.Events) == 14 && s.Recent.Events[0].Cleared })
}

// alarm sends emergencies.
func (w *world) alarm(apps ...string) {
	w.t.Helper()
	for _, app := range apps {
		w.sim.Send(pushovertest.Outgoing{Message: "SECRET TEXT", App: app, Priority: 2, Retry: time.Hour})
	}
	w.await("emergencies", func(s connector.Status) bool { return len(s.Emergencies.Outstanding) == len(apps) })
}

func (w *world) await(what string, until func(connector.Status) bool) {
	w.t.Helper()
	late := time.After(30 * time.Second)
	for {
		changed := w.health.Changed()
		if until(w.Status()) {
			return
		}
		select {
		case <-changed:
		case <-late:
			w.t.Fatalf("waiting for %s: the status is %+v", what, w.Status())
		}
	}
}

func (w *world) handler() http.Handler { return w.Handler(prometheus.NewRegistry()) }

// notReady waits until a part fails for a reason.
func (w *world) notReady(name connector.Part, why connector.Reason) {
	w.t.Helper()
	w.await(string(why), func(s connector.Status) bool {
		for _, p := range s.Parts {
			if p.Part == name && p.Reason == why {
				return true
			}
		}
		return false
	})
}

// A state is one in which an operator may find the connector.
type state struct {
	name string
	make func(w *world)
	says string // the verdict
}

func states() []state {
	return []state{
		{"starting", func(*world) {}, "Starting: session"},
		{"bus-down-at-start", func(w *world) {
			w.health.Activity(connector.PartBus).Failed(&connector.Failure{
				Reason: connector.ReasonBusUnreachable,
				Detail: "connect to nats://nats.messaging.svc.cluster.local:4222: dial tcp 10.43.7.19:4222: connect: connection refused",
				Remedy: "start the NATS server, or correct NATS_URL",
			}, time.Now().Add(40*time.Second))
		}, "NOT READY: bus has been failing"},
		{"ready", func(w *world) { w.run(); w.fill() }, "Ready: an alarm sent now becomes an event"},
		{"emergencies", func(w *world) {
			w.run()
			w.fill()
			w.alarm("Smoke detector", "UPS <in> the cellar", "Prometheus")
		}, "Ready: an alarm sent now becomes an event"},
		{"emergencies-unknown", func(w *world) {
			w.log.unread = true
			w.run()
			w.alarm("Smoke detector")
			w.health.SetSink("kafka-0.kafka:9092,kafka-1.kafka:9092,kafka-2.kafka:9092", connector.Durability{
				Grade: connector.GradeCrash, Warnings: []string{
					"the topic pushover.messages has min.insync.replicas=1: a broker that fails at the wrong moment can lose an event; set it to 2",
					"the topic pushover.messages has no retention.ms of its own; the broker's may delete events after 7 days",
				},
			})
		}, "Ready: an alarm sent now becomes an event"},
		{"download-503", func(w *world) {
			w.run()
			w.fill()
			w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 503})
			w.sim.Send(pushovertest.Outgoing{Message: "SECRET TEXT", App: "Smoke detector", Priority: 2})
			w.health.APIState(pushover.APIState{
				Err:     &connector.Failure{Reason: connector.ReasonServerError, Detail: "messages: Pushover answers 503 Service Unavailable"},
				RetryAt: time.Now().Add(42 * time.Second),
			})
			w.notReady(connector.PartDownload, connector.ReasonServerError)
		}, "NOT READY: download has been failing"},
		{"taken-over", func(w *world) {
			w.run()
			w.fill()
			w.sim.Signal("nas-1", "A")
			w.notReady(connector.PartSession, connector.ReasonTakenOver)
		}, "NOT READY: session has been halted"},
		{"disk-full", func(w *world) {
			w.run()
			w.fill()
			full := &connector.Failure{
				Reason: connector.ReasonDiskFull, Detail: "the store in /var/lib/pushover-connector has used 4.5 of 6 MiB and takes nothing more",
				Remedy: "free or add space at DATA_DIR=/var/lib/pushover-connector",
			}
			w.log.broken.Store(full)
			w.health.Activity(connector.PartStore).Failed(full, time.Now().Add(5*time.Second))
			w.sim.Send(pushovertest.Outgoing{Message: "SECRET TEXT", App: "Backups"})
			w.notReady(connector.PartPublish, connector.ReasonDiskFull)
		}, "NOT READY: publish has been failing"},
		{"unlicensed", func(w *world) {
			w.sim.SetLicensed(false)
			w.run()
			w.fill()
			w.sim.DisableDevice("nas-1", true)
			w.sim.Signal("nas-1", "E")
			w.await("a halt", func(s connector.Status) bool { return s.State == connector.StateLoginNeeded })
		}, "NOT READY: session has been halted"},
		{"flood", func(w *world) {
			w.run()
			apps := make([]string, 60)
			for i := range apps {
				apps[i] = fmt.Sprintf("Sensor %d of a large building", i+1)
			}
			w.alarm(apps...)
		}, "Ready: an alarm sent now becomes an event"},
	}
}

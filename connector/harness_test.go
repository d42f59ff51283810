package connector_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// memoryLog is a sink with the contract's semantics and a script of failures.
type memoryLog struct {
	mu     sync.Mutex
	events []connector.Event
	keys   map[string]bool // of events
	known  map[string]bool // keys that the bus takes for a repeat, held or not
	calls  int
	holds  int // calls of Holds

	// script, unless nil, decides what becomes of a call: how many events are
	// stored, how many of them are confirmed, and the error. It runs without
	// the lock.
	script func(call int, events []connector.Event) (store, confirm int, err error)

	hang bool // never answer
}

func newMemoryLog() *memoryLog {
	return &memoryLog{keys: make(map[string]bool), known: make(map[string]bool)}
}

func (l *memoryLog) Publish(ctx context.Context, events []connector.Event) (int, error) {
	l.mu.Lock()
	l.calls++
	call, script := l.calls, l.script
	l.mu.Unlock()
	if l.hang {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	store, confirm := len(events), len(events)
	var err error
	if script != nil {
		store, confirm, err = script(call, events)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events[:store] {
		if key := e.DedupKey(); !l.known[key] || e.Lost && !l.keys[key] {
			l.keys[key], l.known[key] = true, true
			l.events = append(l.events, e)
			if e.Stored != nil {
				e.Stored(fmt.Sprintf("memory#%d", len(l.events)))
			}
		}
	}
	return confirm, err
}

func (l *memoryLog) Holds(_ context.Context, events []connector.Event) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holds++
	for i, e := range events {
		if !l.keys[e.DedupKey()] {
			return i, nil
		}
	}
	return len(events), nil
}

// reads is how often the log was read back.
func (l *memoryLog) reads() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holds
}

// Read implements [connector.Reader].
func (l *memoryLog) Read(_ context.Context, q connector.Query, f func(connector.Stored) error) error {
	for i, e := range l.all() {
		if !slices.Contains(q.Classes, e.Class) {
			continue
		}
		if err := f(connector.Stored{Event: e, Place: fmt.Sprintf("memory#%d", i+1), At: time.Now()}); err != nil {
			return err
		}
	}
	return nil
}

// lose removes everything from the log, as a power cut may.
func (l *memoryLog) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events, l.keys, l.known = nil, make(map[string]bool), make(map[string]bool)
}

// purge removes everything from the log, which goes on to know it: a repeat is
// not stored.
func (l *memoryLog) purge() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events, l.keys = nil, make(map[string]bool)
}

func (l *memoryLog) setScript(script func(int, []connector.Event) (int, int, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.script = script
}

func (l *memoryLog) ids(class connector.Class) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for _, e := range l.events {
		if e.Class == class {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func (l *memoryLog) all() []connector.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

var errBusDown = errors.New("bus is down")

// rig is a simulated service, a device on it, and what a connector needs. It
// lives inside a synctest bubble: every connection is in memory.
type rig struct {
	t      *testing.T
	sim    *pushovertest.Server
	device pushovertest.Device
	log    *memoryLog
	sink   connector.Sink // log, or something around it
	output *syncBuffer    // what connectors logged
	reg    *prometheus.Registry
	opts   connector.Options
	bus    *connector.Activity       // of the latest connector: ok
	dial   func(o *pushover.Options) // last word on the client's options
	cable  *cable                    // to the service

	// resumed says that the test resumes a halted session as a person does, for
	// whom the rules about what a program does by itself do not hold.
	resumed bool
}

// A cable leads to the service. While it is cut the network is half open:
// connections are not refused, nothing arrives any more, and nothing says so.
type cable struct {
	mu    sync.Mutex
	whole chan struct{} // closed while it is
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
}

func newCable(sim *pushovertest.Server) *cable {
	c := &cable{whole: make(chan struct{}), dial: sim.DialContext}
	close(c.whole)
	return c
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.whole = make(chan struct{})
}

func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.whole)
}

func (c *cable) state() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.whole
}

func (c *cable) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	select {
	case <-c.state():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	conn, err := c.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return cableConn{conn, c}, nil
}

type cableConn struct {
	net.Conn
	cable *cable
}

func (c cableConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		select {
		case <-c.cable.state():
			return n, err
		default:
			if err != nil {
				return n, err
			}
		}
	}
}

func newRig(t *testing.T, o pushovertest.Options) *rig {
	t.Helper()
	time.Sleep(time.Until(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC))) // ids hold the time, from 2018 on
	sim := pushovertest.New(o)
	sim.StartPipe()
	t.Cleanup(sim.Close)
	log := newMemoryLog()
	r := &rig{t: t, sim: sim, device: sim.AddDevice("nas-1"), log: log, sink: log, output: &syncBuffer{}, cable: newCable(sim)}
	t.Cleanup(r.wantManners)
	return r
}

func (r *rig) credentials() pushover.Credentials {
	return pushover.Credentials{
		Secret: pushover.Secret(r.device.Secret), DeviceID: pushover.DeviceID(r.device.ID), DeviceName: r.device.Name,
	}
}

// vault is a credentials file: something changes it while a connector looks.
type vault struct {
	mu    sync.Mutex
	creds pushover.Credentials
	err   error
}

func (v *vault) load() (pushover.Credentials, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.creds, v.err
}

func (v *vault) store(creds pushover.Credentials, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.creds, v.err = creds, err
}

// renewed logs in and returns the device's credentials with the new secret.
func (r *rig) renewed(run *running) pushover.Credentials {
	r.t.Helper()
	login, err := run.client.Login(r.t.Context(), r.sim.Account().Email, pushover.Secret(r.sim.Account().Password), "")
	if err != nil {
		r.t.Fatal(err)
	}
	creds := r.credentials()
	creds.Secret = login.Secret
	return creds
}

// running is a connector that runs until it is stopped.
type running struct {
	*connector.Connector
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
	client *pushover.Client
	once   sync.Once
}

func (r *rig) start() *running {
	r.t.Helper()
	o := pushover.Options{
		APIURL: r.sim.APIURL(), StreamURL: r.sim.StreamURL(), DialContext: r.cable.dialContext,
		UserAgent: "connector-test/1", Credentials: r.credentials(), Timeout: 10 * time.Second,
		Logger: slog.New(slog.NewJSONHandler(r.output, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	opts := r.opts
	opts.Logger = o.Logger
	r.reg = prometheus.NewRegistry()
	opts.Metrics = connector.NewMetrics(r.reg, "memory", "test", "none")
	opts.Health = connector.NewHealth(opts.Logger, opts.Metrics, connector.PartCommands)
	r.bus = opts.Health.Activity(connector.PartBus)
	r.bus.OK()
	opts.Health.Activity(connector.PartCommands).OK()
	o.OnAPIState = opts.Health.APIState
	if r.dial != nil {
		r.dial(&o)
	}
	client, err := pushover.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	c := connector.New(client, opts)
	if err := c.SetSink(r.sink); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	run := &running{Connector: c, t: r.t, cancel: cancel, done: make(chan error, 1), client: client}
	go func() { run.done <- c.Run(ctx) }()
	r.t.Cleanup(run.stop)
	return run
}

// whileLive runs a test in virtual time, on a connector whose session is live.
func whileLive(t *testing.T, test func(t *testing.T, r *rig, run *running)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		run := r.start()
		r.awaitState(run, connector.StateLive)
		test(t, r, run)
	})
}

// stop ends the connector in the orderly way and waits for it.
func (r *running) stop() {
	r.once.Do(func() {
		r.cancel()
		if err := <-r.done; err != nil {
			r.t.Errorf("Run returned %v, want nil", err)
		}
		r.client.Close()
	})
}

// drained waits until the server's queue is empty and nothing is in hand.
func (r *rig) drained() {
	r.t.Helper()
	r.await("the queue to drain", func(s pushovertest.State) bool {
		return len(r.sim.Queue(r.device.Name)) == 0
	})
}

// whenDrained is closed once the server's queue is empty, or the test is over.
func (r *rig) whenDrained() <-chan struct{} {
	empty := make(chan struct{})
	go func() {
		defer close(empty)
		// An error means that the test is over.
		_ = r.sim.Wait(r.t.Context(), func(pushovertest.State) bool {
			return len(r.sim.Queue(r.device.Name)) == 0
		})
	}()
	return empty
}

func (r *rig) await(what string, cond func(pushovertest.State) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 24*time.Hour)
	defer cancel()
	if err := r.sim.Wait(ctx, cond); err != nil {
		r.t.Fatalf("waiting for %s: %v\nlog:\n%s", what, err, r.output)
	}
}

// wantLog asserts that the log holds exactly these messages, once each and in
// this order, and that the service has nothing to complain of.
func (r *rig) wantLog(want []string) {
	r.t.Helper()
	if got := r.log.ids(connector.ClassMessage); !slices.Equal(got, want) {
		r.t.Errorf("log holds %d messages %v, want %d %v", len(got), head(got), len(want), head(want))
	}
	r.wantManners()
}

func (r *rig) wantManners() {
	r.t.Helper()
	for _, v := range r.sim.Violations() {
		byPerson := v.Rule == pushovertest.RuleReconnectError || v.Rule == pushovertest.RuleReconnectTakeover || v.Rule == pushovertest.RuleRepeated
		if r.resumed && byPerson {
			continue
		}
		r.t.Errorf("violation of %s: %s", v.Rule, v.Detail)
	}
}

func head(ids []string) []string { return ids[:min(len(ids), 12)] }

// send queues n messages and returns their ids.
// backlog sends messages that have waited for an hour.
func (r *rig) backlog(n int) []string {
	return r.send(n, pushovertest.Outgoing{Queued: time.Now().Add(-time.Hour)})
}

func (r *rig) send(n int, m pushovertest.Outgoing) []string {
	if m.Message == "" {
		m.Message = "message {n}"
	}
	var ids []string
	for _, s := range r.sim.SendN(n, m) {
		ids = append(ids, s.IDs...)
	}
	return ids
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// part returns the account of one part.
func part(s connector.Status, name connector.Part) connector.PartStatus {
	for _, p := range s.Parts {
		if p.Part == name {
			return p
		}
	}
	return connector.PartStatus{}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// ackWorld is everything around the program while it acknowledges: a simulated
// service with one device, a real NATS server, and a client of that server.
type ackWorld struct {
	t    testing.TB
	sim  *pushovertest.Server
	nats *server.Server
	nc   *nats.Conn
	js   jetstream.JetStream
	dir  string

	receipts []string // as the sending API answered
}

const ackDevice = "nas-1"

func newAckWorld(t testing.TB) *ackWorld {
	t.Helper()
	w := newServiceWorld(t)
	var err error
	w.nats, err = server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: filepath.Join(w.dir, "nats"),
		NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.nats.Start()
	t.Cleanup(func() { w.nats.Shutdown(); w.nats.WaitForShutdown() })
	if !w.nats.ReadyForConnections(patience) {
		t.Fatal("the NATS server did not start")
	}
	w.connect(w.nats.ClientURL())
	return w
}

// newServiceWorld is a world without a bus.
func newServiceWorld(t testing.TB) *ackWorld {
	t.Helper()
	w := &ackWorld{t: t, sim: pushovertest.New(pushovertest.Options{KeepAlive: time.Second}), dir: t.TempDir()}
	if err := w.sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sim.Close)
	device := w.sim.AddDevice(ackDevice)
	creds := pushover.Credentials{
		Secret: pushover.Secret(device.Secret), DeviceID: pushover.DeviceID(device.ID), DeviceName: device.Name,
	}
	if err := creds.Save(w.credentialsFile()); err != nil {
		t.Fatal(err)
	}
	return w
}

// connect makes the world's own client of a NATS server.
func (w *ackWorld) connect(url string) {
	w.t.Helper()
	var err error
	if w.nc, err = nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond)); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.nc.Close)
	if w.js, err = jetstream.New(w.nc); err != nil {
		w.t.Fatal(err)
	}
}

// within returns a context that bounds one wait.
func (w *ackWorld) within() context.Context {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition outside this process, which cannot wake
// anybody.
func (w *ackWorld) eventually(what string, cond func() bool) {
	w.t.Helper()
	ctx := w.within()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatalf("waited too long for %s", what)
		}
	}
}

// A daemon is the program itself in a process of its own.
type daemon struct {
	w    *ackWorld
	cmd  *exec.Cmd
	log  output
	wait func() error // waits for the process; may be called again
}

// An output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs the program, connected to the NATS server at url, with more
// settings if given.
func (w *ackWorld) start(natsURL string, settings ...string) *daemon {
	w.t.Helper()
	d := &daemon{w: w, cmd: w.program(append([]string{"NATS_URL=" + natsURL, "HTTP_ADDR="}, settings...), "run")}
	d.cmd.Stderr = &d.log
	if err := d.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	d.wait = sync.OnceValue(d.cmd.Wait)
	w.t.Cleanup(func() {
		d.kill()
		if w.t.Failed() {
			w.t.Logf("log of process %d:\n%s", d.cmd.Process.Pid, d.log.String())
		}
	})
	return d
}

// program is a run of the program that has not begun yet.
func (w *ackWorld) program(settings []string, args ...string) *exec.Cmd {
	w.t.Helper()
	path, err := exec.LookPath("pushover-connector")
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append([]string{
		"HOME=" + w.dir,
		"PUSHOVER_API_URL=" + w.sim.APIURL(), "PUSHOVER_STREAM_URL=" + w.sim.StreamURL(),
		"PUSHOVER_CREDENTIALS_FILE=" + w.credentialsFile(),
		"GOCOVERDIR=" + os.Getenv("GOCOVERDIR"),
	}, settings...)
	return cmd
}

func (w *ackWorld) credentialsFile() string { return filepath.Join(w.dir, "credentials.json") }

// kill ends the process as a power cut would, and waits until it is gone.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may have ended already
	_ = d.wait()             // killed is an error
}

// stop ends the process in the orderly way.
func (d *daemon) stop() {
	d.w.t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.w.t.Fatal(err)
	}
	if err := d.wait(); err != nil {
		d.w.t.Errorf("after SIGTERM: %v", err)
	}
}

// emergencies sends n emergencies through the sending API, lets the program
// carry them to the stream, and stops it again. They are outstanding then, and
// the program is down.
func (w *ackWorld) emergencies(n int) {
	w.t.Helper()
	for i := range n {
		w.receipts = append(w.receipts, w.sendEmergency(fmt.Sprintf("Cellar %d", i), "Water on the floor"))
	}
	d := w.start(w.nats.ClientURL())
	if err := w.sim.Wait(w.within(), func(s pushovertest.State) bool {
		return s.Device(ackDevice).Connected && len(s.Device(ackDevice).Queue) == 0
	}); err != nil {
		w.t.Fatal(err)
	}
	d.stop()
	var carried []string
	for _, m := range w.stored("pushover.messages.emergency.>") {
		carried = append(carried, m.Data.Receipt)
	}
	if !slices.Equal(carried, w.receipts) {
		w.t.Fatalf("the stream holds the receipts of %d emergencies, want the %d that were sent, in order", len(carried), n)
	}
}

// sendEmergency does what every sender of Pushover messages does.
func (w *ackWorld) sendEmergency(title, message string) string {
	w.t.Helper()
	account := w.sim.Account()
	response, err := http.PostForm(w.sim.APIURL()+"/1/messages.json", url.Values{
		"token": {account.AppToken}, "user": {account.UserKey}, "title": {title}, "message": {message},
		"priority": {"2"}, "retry": {"60"}, "expire": {"10800"},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct{ Receipt string }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Receipt) != 30 {
		w.t.Fatalf("send: HTTP %d, receipt %q, %v", response.StatusCode, answer.Receipt, err)
	}
	return answer.Receipt
}

// acknowledgedBy asks the sender's receipt API who acknowledged.
func (w *ackWorld) acknowledgedBy(receipt string) string {
	w.t.Helper()
	response, err := http.Get(w.sim.APIURL() + "/1/receipts/" + receipt + ".json?token=" + w.sim.Account().AppToken)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Status, Acknowledged int
		By                   string `json:"acknowledged_by_device"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != 1 {
		w.t.Fatalf("receipt: HTTP %d, %v", response.StatusCode, err)
	}
	if answer.Acknowledged == 0 {
		return ""
	}
	return answer.By
}

// command publishes one command and waits until it is durable.
func (w *ackWorld) command(body []byte) {
	w.t.Helper()
	if _, err := w.js.Publish(w.within(), "pushover.control.ack", body); err != nil {
		w.t.Fatal(err)
	}
}

// An ackEvent is what these tests look at in an event.
type ackEvent struct {
	Subject     string           `json:"-"`
	ID          string           `json:"id"`
	CausationID string           `json:"causationid"`
	Data        connector.Result `json:"data"`
	Acked       bool             `json:"-"` // of a message
}

// UnmarshalJSON implements [json.Unmarshaler].
func (e *ackEvent) UnmarshalJSON(body []byte) error {
	type plain ackEvent
	message := struct{ Data struct{ Acked bool } }{}
	if err := json.Unmarshal(body, &message); err != nil {
		return err
	}
	e.Acked = message.Data.Acked
	return json.Unmarshal(body, (*plain)(e))
}

// stored reads all events on a subject, in stream order.
func (w *ackWorld) stored(subject string) []ackEvent {
	w.t.Helper()
	ctx := w.within()
	stream, err := w.js.Stream(ctx, "PUSHOVER")
	if err != nil {
		w.t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []ackEvent
	for want := int(info.NumPending); len(all) < want; {
		batch, err := consumer.Fetch(want-len(all), jetstream.FetchMaxWait(patience))
		if err != nil {
			w.t.Fatal(err)
		}
		for m := range batch.Messages() {
			e := ackEvent{Subject: m.Subject()}
			if err := json.Unmarshal(m.Data(), &e); err != nil {
				w.t.Fatalf("event on %s: %v", m.Subject(), err)
			}
			all = append(all, e)
		}
		if err := batch.Error(); err != nil {
			w.t.Fatal(err)
		}
	}
	return all
}

// unsettled is how many commands the bus still holds for the program.
func (w *ackWorld) unsettled() int {
	w.t.Helper()
	consumer, err := w.js.Consumer(w.within(), "PUSHOVER_CONTROL", "pushover-connector")
	if err != nil {
		w.t.Fatal(err)
	}
	info := consumer.CachedInfo()
	return int(info.NumPending) + info.NumAckPending
}

func (w *ackWorld) awaitSettled() {
	w.t.Helper()
	w.eventually("all commands to be settled", func() bool { return w.unsettled() == 0 })
}

// wantAcknowledged asserts the promise: every emergency is acknowledged in the
// device's name as its sender sees it, each of n commands has one result, and
// the service has nothing to complain of. calls bounds the calls per receipt.
func (w *ackWorld) wantAcknowledged(n, calls int) {
	w.t.Helper()
	for i, receipt := range w.receipts {
		if by := w.acknowledgedBy(receipt); by != ackDevice {
			w.t.Errorf("emergency %d: its sender sees it acknowledged by %q, want %q", i, by, ackDevice)
		}
		if state, _ := w.sim.Receipt(receipt); state.Calls > calls {
			w.t.Errorf("emergency %d: acknowledged by %d calls, want at most %d", i, state.Calls, calls)
		}
	}
	causes, results := map[string]bool{}, map[string]int{}
	all := w.stored("pushover.results.>")
	for _, e := range all {
		causes[e.CausationID] = true
		results[e.Data.Receipt]++
		if e.Subject != "pushover.results.acknowledged" || e.Data.Status != connector.StatusAcknowledged ||
			e.Data.Device != ackDevice || e.Data.Reason != "" || e.Data.CommandID != e.CausationID {
			w.t.Errorf("result on %s is %+v, want acknowledged by %s", e.Subject, e.Data, ackDevice)
		}
	}
	if len(all) != n || len(causes) != n {
		w.t.Errorf("%d results of %d commands, want %d of %d", len(all), len(causes), n, n)
	}
	for _, receipt := range w.receipts {
		if results[receipt] != n/len(w.receipts) {
			w.t.Errorf("receipt %s has %d results, want %d", receipt, results[receipt], n/len(w.receipts))
		}
	}
	w.wantManners()
}

func (w *ackWorld) wantManners() {
	w.t.Helper()
	for _, v := range w.sim.Violations() {
		w.t.Errorf("violation of %s: %s", v.Rule, v.Detail)
	}
}

// calledTwice counts the receipts for which Pushover was called again.
func (w *ackWorld) calledTwice() int {
	n := 0
	for _, r := range w.sim.State().Receipts {
		if r.Calls > 1 {
			n++
		}
	}
	return n
}

// commandID is a sender's own id for a command.
func commandID(parts ...any) string { return strings.Join(strings.Fields(fmt.Sprintln(parts...)), "-") }

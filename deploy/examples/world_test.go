package examples_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// patience bounds every wait. It does not measure speed.
const patience = 90 * time.Second

const device = "nas-1"

var programs struct {
	sync.Once
	dir string
	err error
}

func TestMain(m *testing.M) {
	code := kafkatest.Main(m)
	if programs.dir != "" {
		_ = os.RemoveAll(programs.dir)
	}
	os.Exit(code)
}

// program returns the path of the connector, or of a Go example, built once.
func program(t *testing.T, name string) string {
	t.Helper()
	programs.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "examples-"); programs.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", programs.dir, "../../cmd/pushover-connector", "./ack-go", "./autoack-go").CombinedOutput()
		if err != nil {
			programs.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return filepath.Join(programs.dir, name)
}

// python returns the interpreter that has a package: the one named by
// EXAMPLES_PYTHON, else python3. Without one the test is skipped.
func python(t *testing.T, module, install string) string {
	t.Helper()
	name := interpreter()
	if err := exec.Command(name, "-c", "import "+module).Run(); err != nil {
		t.Skipf("SKIPPED: %s cannot import %s (%v); make a venv, pip install %s, and set EXAMPLES_PYTHON to its python", name, module, err, install)
	}
	return name
}

func interpreter() string { return cmp.Or(os.Getenv("EXAMPLES_PYTHON"), "python3") }

// world is a simulated service with one device on it.
type world struct {
	t   *testing.T
	sim *pushovertest.Server
	dir string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, sim: pushovertest.New(pushovertest.Options{KeepAlive: time.Second}), dir: t.TempDir()}
	if err := w.sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sim.Close)
	t.Cleanup(func() {
		for _, v := range w.sim.Violations() {
			t.Errorf("violation of %s: %s", v.Rule, v.Detail)
		}
	})
	d := w.sim.AddDevice(device)
	creds := pushover.Credentials{Secret: pushover.Secret(d.Secret), DeviceID: pushover.DeviceID(d.ID), DeviceName: d.Name}
	if err := creds.Save(filepath.Join(w.dir, "credentials.json")); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) within() context.Context {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

// background runs a program until it is stopped, or the test ends.
func (w *world) background(env []string, name string, args ...string) (stop func()) {
	w.t.Helper()
	var output bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), &output, &output
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // fails if it has ended, which Wait tells
		err := cmd.Wait()
		if w.t.Failed() {
			w.t.Logf("%s: %v\n%s", filepath.Base(name), err, output.String())
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// run runs a program to its end and returns what it prints. It has to exit with 0
// if it is to succeed, else with 1.
func (w *world) run(env []string, succeeds bool, name string, args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.within(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	want := 0
	if !succeeds {
		want = 1
	}
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
		w.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// connect runs the connector with a bus and waits until its session is live.
func (w *world) connect(bus ...string) (stop func()) {
	w.t.Helper()
	stop = w.background(append([]string{
		"PUSHOVER_API_URL=" + w.sim.APIURL(), "PUSHOVER_STREAM_URL=" + w.sim.StreamURL(),
		"PUSHOVER_CREDENTIALS_FILE=" + filepath.Join(w.dir, "credentials.json"), "HTTP_ADDR=",
	}, bus...), program(w.t, "pushover-connector"), "run")
	w.await("the connector", func(s pushovertest.State) bool { return s.Device(device).Connected })
	return stop
}

func (w *world) await(what string, cond func(pushovertest.State) bool) {
	w.t.Helper()
	if err := w.sim.Wait(w.within(), cond); err != nil {
		w.t.Fatalf("waiting for %s: %v", what, err)
	}
}

// emergency sends one that is on the bus when it returns.
func (w *world) emergency(title string) (receipt string) {
	w.t.Helper()
	receipt = w.sim.Send(pushovertest.Outgoing{Title: title, Message: "see the log", Priority: 2}).Receipt
	w.await("the emergency to be on the bus", func(s pushovertest.State) bool { return len(s.Device(device).Queue) == 0 })
	return receipt
}

// acknowledgedBy asks what the sender can ask: who acknowledged.
func (w *world) acknowledgedBy(receipt string) string {
	w.t.Helper()
	query := url.Values{"token": {w.sim.Account().AppToken}}
	response, err := http.Get(w.sim.APIURL() + "/1/receipts/" + receipt + ".json?" + query.Encode())
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Acknowledged int
		By           string `json:"acknowledged_by_device"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		w.t.Fatal(err)
	}
	if answer.Acknowledged == 0 {
		return ""
	}
	return answer.By
}

func (w *world) wantAcknowledged(receipt string) {
	w.t.Helper()
	if by := w.acknowledgedBy(receipt); by != device {
		w.t.Errorf("the sender sees it acknowledged by %q, want %q", by, device)
	}
}

// natsServer runs a real one and returns its address, and a client of it.
func (w *world) natsServer() (url string, js jetstream.JetStream) {
	w.t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: filepath.Join(w.dir, "nats"),
		NoLog: true, NoSigs: true,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s.Start()
	w.t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		w.t.Fatal("the NATS server did not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	if js, err = jetstream.New(nc); err != nil {
		w.t.Fatal(err)
	}
	return s.ClientURL(), js
}

package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// patience bounds every wait. It does not measure speed.
const patience = 90 * time.Second

// key is that of all encrypters.
const key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }

// tool is a foreign language's interpreter, or skips the test.
func tool(t *testing.T, variable string) string {
	t.Helper()
	name := os.Getenv(variable)
	if name == "" {
		if os.Getenv("INTEROP_REQUIRED") == "1" {
			t.Fatalf("%s is not set, see doc.go", variable)
		}
		t.Skipf("SKIPPED: %s is not set, see doc.go", variable)
	}
	return name
}

// script runs one of testdata in Python or Node.js.
func script(t *testing.T, input []byte, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	file, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var cmd *exec.Cmd
	if filepath.Ext(name) == ".py" {
		cmd = exec.CommandContext(ctx, tool(t, "INTEROP_PYTHON"), append([]string{file}, args...)...)
	} else {
		// Modules are looked for beside the script that imports them.
		dir := tool(t, "INTEROP_NODE")
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		cmd = exec.CommandContext(ctx, "node", append([]string{filepath.Join(dir, name)}, args...)...)
	}
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out, stderr.Bytes())
	}
	return out
}

var connectorProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "interop-")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", dir, "./cmd/pushover-connector")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return filepath.Join(dir, "pushover-connector"), nil
})

// A record is what a bus holds.
type record struct {
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// A world is a simulated service, and the connector between it and a bus.
type world struct {
	*pushovertest.Server
	t       *testing.T
	bus     string
	address string
}

func newWorld(t *testing.T, bus, mode string) *world {
	t.Helper()
	w := &world{Server: pushovertest.New(pushovertest.Options{KeepAlive: time.Second}), t: t, bus: bus}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	t.Cleanup(func() {
		for _, v := range w.Violations() {
			t.Errorf("violation of %s: %s", v.Rule, v.Detail)
		}
	})
	d := w.AddDevice("nas-1")
	dir := t.TempDir()
	creds := pushover.Credentials{Secret: pushover.Secret(d.Secret), DeviceID: pushover.DeviceID(d.ID), DeviceName: d.Name}
	if err := creds.Save(filepath.Join(dir, "credentials.json")); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "PUSHOVER_API_URL="+w.APIURL(), "PUSHOVER_STREAM_URL="+w.StreamURL(), "HTTP_ADDR=",
		"PUSHOVER_CREDENTIALS_FILE="+filepath.Join(dir, "credentials.json"), "PUSHOVER_E2EE_KEYS="+key, "EVENT_MODE="+mode)
	if bus == "kafka" {
		w.address = kafkatest.Brokers(t)[0]
		env = append(env, "SINK=kafka", "KAFKA_BROKERS="+w.address, "KAFKA_TOPIC="+w.topic(),
			"KAFKA_CONTROL_TOPIC="+w.topic()+".control", "KAFKA_RESULT_TOPIC="+w.topic()+".results", "KAFKA_GROUP="+w.topic())
	} else {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w.address = l.Addr().String()
		_ = l.Close() // the embedded server takes it
		env = append(env, "NATS_LISTEN="+w.address, "DATA_DIR="+dir)
	}
	program, err := connectorProgram()
	if err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := exec.Command(program)
	cmd.Env, cmd.Stderr = env, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended, which Wait tells
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("the connector ended: %v\n%s", err, output.String())
		}
	})
	w.await(func(s pushovertest.State) bool { return s.Device("nas-1").Connected })
	return w
}

func (w *world) topic() string {
	return "interop-" + strings.ToLower(strings.NewReplacer("/", "-", " ", "-").Replace(w.t.Name()))
}

func (w *world) await(cond func(pushovertest.State) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.Wait(ctx, cond); err != nil {
		w.t.Fatal(err)
	}
}

// records reads n records from the bus.
func (w *world) records(n int) []record {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	var out []record
	if w.bus == "kafka" {
		client, err := kgo.NewClient(kgo.SeedBrokers(w.address), kgo.ConsumeTopics(w.topic()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			w.t.Fatal(err)
		}
		defer client.Close()
		for len(out) < n {
			fetches := client.PollFetches(ctx)
			if ctx.Err() != nil {
				w.t.Fatalf("%d of %d records are there", len(out), n)
			}
			fetches.EachRecord(func(r *kgo.Record) {
				headers := make(map[string]string)
				for _, h := range r.Headers {
					headers[h.Key] = string(h.Value)
				}
				out = append(out, record{headers, string(r.Value)})
			})
		}
		return out
	}
	nc, err := nats.Connect("nats://" + w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(ctx, "PUSHOVER", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"pushover.messages.>"}})
	if err != nil {
		w.t.Fatal(err)
	}
	for len(out) < n {
		m, err := consumer.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			w.t.Fatalf("%d of %d messages are there: %v", len(out), n, err)
		}
		headers := make(map[string]string)
		for name, values := range m.Headers() {
			headers[name] = values[0]
		}
		out = append(out, record{headers, string(m.Data())})
	}
	return out
}

// lines writes and reads one JSON document a line.
func lines(records []record) []byte {
	var out bytes.Buffer
	for _, r := range records {
		_ = json.NewEncoder(&out).Encode(r) // strings always encode
	}
	return out.Bytes()
}

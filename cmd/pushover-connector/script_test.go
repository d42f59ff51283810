package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// patience bounds every wait of a script. It is not a measure of speed: a wait
// ends as soon as its condition holds.
const patience = 90 * time.Second

// world is what a script's program talks to: a simulated service, a real NATS
// server that is not the program's own, and what was sent.
type world struct {
	sim  *pushovertest.Server
	nats *server.Server
	sent []string // ids in the order of sending
}

type worldKey struct{}

// setUpScript builds a world for one script and points the environment at it.
func setUpScript(env *testscript.Env) error {
	w := &world{sim: pushovertest.New(pushovertest.Options{KeepAlive: time.Second})}
	if err := w.sim.Start(); err != nil {
		return err
	}
	env.Defer(w.sim.Close)
	var err error
	w.nats, err = server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: filepath.Join(env.WorkDir, ".nats"),
		NoLog: true, NoSigs: true,
	})
	if err != nil {
		return err
	}
	w.nats.Start()
	env.Defer(func() { w.nats.Shutdown(); w.nats.WaitForShutdown() })
	if !w.nats.ReadyForConnections(patience) {
		return fmt.Errorf("the NATS server did not start")
	}
	ca := filepath.Join(env.WorkDir, "ca.pem")
	if err := os.WriteFile(ca, w.sim.CAPEM(), 0o600); err != nil {
		return err
	}
	device := w.sim.AddDevice("script")
	creds := pushover.Credentials{
		Secret: pushover.Secret(device.Secret), DeviceID: pushover.DeviceID(device.ID), DeviceName: device.Name,
	}
	if err := creds.Save(filepath.Join(env.WorkDir, "credentials.json")); err != nil {
		return err
	}
	httpAddr, err := freeAddress()
	if err != nil {
		return err
	}
	listenAddr, err := freeAddress()
	if err != nil {
		return err
	}
	account := w.sim.Account()
	for name, value := range map[string]string{
		"HOME": env.WorkDir, "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": "",
		"PUSHOVER_API_URL": w.sim.APIURL(), "PUSHOVER_STREAM_URL": w.sim.StreamURL(),
		"PUSHOVER_CREDENTIALS_FILE": filepath.Join(env.WorkDir, "credentials.json"),
		"TLS_API_URL":               w.sim.TLSAPIURL(), "TLS_STREAM_URL": w.sim.TLSStreamURL(), "CA_FILE": ca,
		"EMAIL": account.Email, "PASSWORD": account.Password,
		"NATS_URL": w.nats.ClientURL(), "HTTP_ADDR": httpAddr, "FREE_ADDR": listenAddr,
		"BUS_ADDR":      strings.TrimPrefix(w.nats.ClientURL(), "nats://"),
		"DEVICE_SECRET": device.Secret, "DEVICE_ID": device.ID,
	} {
		env.Setenv(name, value)
	}
	env.Values[worldKey{}] = w
	return nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// simCommand drives the simulated service:
//
//	sim send N [priority]   queue N messages for the device "script"; MESSAGE
//	                        becomes the last one's id, RECEIPT its receipt
//	sim page N              give at most N of them at a time from now on
//	sim twofa               demand a second factor; CODE becomes the current code
//	sim signal X            send a signal
//	sim disable             disable the device
//	sim acknowledged        all emergencies are acknowledged, by "script"
//	sim post PATH JSON      call its control interface
//	sim violations          fail if there are any
func simCommand(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg || len(args) == 0 {
		ts.Fatalf("usage: sim send|page|twofa|signal|acknowledged|post|violations ...")
	}
	switch args[0] {
	case "send":
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		m := pushovertest.Outgoing{Title: "Title {n}", Message: "Message {n}"}
		if len(args) > 2 {
			m.Priority, err = strconv.Atoi(args[2])
			ts.Check(err)
		}
		for _, s := range w.sim.SendN(n, m) {
			w.sent = append(w.sent, s.IDs...)
			ts.Setenv("MESSAGE", w.sent[len(w.sent)-1])
			if s.Receipt != "" {
				ts.Setenv("RECEIPT", s.Receipt)
			}
		}
	case "page":
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		w.sim.SetPageSize(n)
	case "twofa":
		account := w.sim.AddAccount("two@example.org", "two factors", true)
		ts.Setenv("EMAIL", account.Email)
		ts.Setenv("PASSWORD", account.Password)
		ts.Setenv("CODE", account.Code())
	case "signal":
		w.sim.Signal("script", args[1])
	case "disable":
		w.sim.DisableDevice("script", true)
	case "acknowledged":
		for _, r := range w.sim.State().Receipts {
			if !r.Acknowledged || r.AcknowledgedByDevice != "script" {
				ts.Fatalf("receipt %s: acknowledged %t by %q", r.Receipt, r.Acknowledged, r.AcknowledgedByDevice)
			}
		}
	case "post":
		answer, err := http.Post(w.sim.APIURL()+"/sim/"+args[1], "application/json", strings.NewReader(args[2]))
		ts.Check(err)
		ts.Check(answer.Body.Close())
		if answer.StatusCode != http.StatusOK {
			ts.Fatalf("sim post %s: %s", args[1], answer.Status)
		}
	case "violations":
		for _, v := range w.sim.Violations() {
			ts.Fatalf("%s: %s", v.Rule, v.Detail)
		}
	default:
		ts.Fatalf("unknown: sim %s", args[0])
	}
}

// awaitCommand waits for a condition:
//
//	await drained        the device's queue is empty
//	await published N    at least N events are in the stream
//	await ready          /readyz answers 200
//	await answer PATH    HTTP_ADDR answers PATH with 200
//	await state X        the session is in state X
//	await failing PART   the part has failed, and is not just starting
//	await printed F X    the file F has the text X
func awaitCommand(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch args[0] {
	case "drained":
		err := w.sim.Wait(ctx, func(pushovertest.State) bool { return len(w.sim.Queue("script")) == 0 })
		if err != nil {
			ts.Fatalf("%d messages are left: %v", len(w.sim.Queue("script")), err)
		}
	case "published":
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		nc, err := nats.Connect(w.nats.ClientURL())
		ts.Check(err)
		defer nc.Close()
		js, err := jetstream.New(nc)
		ts.Check(err)
		poll(ctx, ts, args, func() bool {
			stream, err := js.Stream(ctx, "PUSHOVER")
			return err == nil && stream.CachedInfo().State.Msgs >= uint64(n)
		})
	case "ready":
		poll(ctx, ts, args, func() bool {
			code, _ := w.ask(ts, "/readyz")
			return code == http.StatusOK
		})
	case "answer":
		poll(ctx, ts, args, func() bool {
			code, _ := w.ask(ts, args[1])
			return code == http.StatusOK
		})
	case "state":
		poll(ctx, ts, args, func() bool {
			_, status := w.ask(ts, "/status.json")
			return strings.Contains(status, `"state": "`+args[1]+`"`)
		})
	case "failing":
		poll(ctx, ts, args, func() bool {
			var status connector.Status
			if _, body := w.ask(ts, "/status.json"); json.Unmarshal([]byte(body), &status) != nil {
				return false
			}
			return slices.ContainsFunc(status.Parts, func(p connector.PartStatus) bool {
				return string(p.Part) == args[1] && !p.OK && p.Reason != connector.ReasonStarting
			})
		})
	case "printed":
		poll(ctx, ts, args, func() bool {
			content, err := os.ReadFile(ts.MkAbs(args[1]))
			return err == nil && strings.Contains(string(content), args[2])
		})
	default:
		ts.Fatalf("unknown: await %s", args[0])
	}
}

// poll is for conditions outside this process, which cannot wake anybody.
func poll(ctx context.Context, ts *testscript.TestScript, what []string, cond func() bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			ts.Fatalf("await %v: it did not come", what)
		case <-tick.C:
		}
	}
}

func (w *world) ask(ts *testscript.TestScript, path string) (int, string) {
	response, err := http.Get("http://" + ts.Getenv("HTTP_ADDR") + path)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, ""
	}
	return response.StatusCode, string(body)
}

// streamCommand asserts what the log holds:
//
//	stream exactly          every message sent, once, in order, and no other
//	stream count SUBJECT N  N messages on the subject
func streamCommand(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	switch args[0] {
	case "exactly":
		got := w.stored(ts, "pushover.messages.>")
		if !slices.Equal(got, w.sent) {
			ts.Fatalf("the stream holds %d messages, %d were sent, or their order differs", len(got), len(w.sent))
		}
	case "count":
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		if got := len(w.stored(ts, args[1])); got != n {
			ts.Fatalf("%d messages on %s, want %d", got, args[1], n)
		}
	default:
		ts.Fatalf("unknown: stream %s", args[0])
	}
}

// stored reads the ids of all events on a subject, in stream order.
func (w *world) stored(ts *testscript.TestScript, subject string) []string {
	nc, err := nats.Connect(w.nats.ClientURL())
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := js.Stream(ctx, "PUSHOVER")
	if err != nil {
		return nil // not there yet
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	ts.Check(err)
	info, err := consumer.Info(ctx)
	ts.Check(err)
	var ids []string
	for pending := info.NumPending; pending > 0; {
		batch, err := consumer.Fetch(int(min(pending, 1000)), jetstream.FetchMaxWait(patience))
		ts.Check(err)
		for m := range batch.Messages() {
			var e struct {
				ID string `json:"id"`
			}
			ts.Check(json.Unmarshal(m.Data(), &e))
			ids = append(ids, e.ID)
			pending--
		}
		ts.Check(batch.Error())
	}
	return ids
}

// kafkaCommand is a Kafka cluster beside the NATS server:
//
//	kafka start             start one; KAFKA_BROKERS names it
//	kafka produce TOPIC X   append a record
//	kafka exactly           the message topic holds what was sent, once, in order
//	kafka count TOPIC N     wait until there are N records on the topic
func kafkaCommand(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	if args[0] == "start" {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(1))
		ts.Check(err)
		ts.Defer(cluster.Close)
		ts.Setenv("KAFKA_BROKERS", strings.Join(cluster.ListenAddrs(), ","))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(ts.Getenv("KAFKA_BROKERS"), ",")...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	ts.Check(err)
	defer client.Close()
	read := func(topic string, n int) []string {
		client.AddConsumeTopics(topic)
		var ids []string
		for len(ids) < n {
			fetches := client.PollFetches(ctx)
			if ctx.Err() != nil {
				ts.Fatalf("%d records on %s, want %d", len(ids), topic, n)
			}
			fetches.EachRecord(func(r *kgo.Record) {
				var e struct {
					ID string `json:"id"`
				}
				ts.Check(json.Unmarshal(r.Value, &e))
				ids = append(ids, e.ID)
			})
		}
		return ids
	}
	switch args[0] {
	case "produce":
		ts.Check(client.ProduceSync(ctx, &kgo.Record{Topic: args[1], Value: []byte(args[2])}).FirstErr())
	case "exactly":
		if got := read("pushover.messages", len(w.sent)); !slices.Equal(got, w.sent) {
			ts.Fatalf("the topic holds %d messages, %d were sent, or their order differs", len(got), len(w.sent))
		}
	case "count":
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		if got := read(args[1], n); len(got) != n {
			ts.Fatalf("%d records on %s, want %d", len(got), args[1], n)
		}
	default:
		ts.Fatalf("unknown: kafka %s", args[0])
	}
}

// exitsCommand runs a program and demands its exit code:
//
//	exits CODE PROGRAM ARGS...
func exitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if want, err := strconv.Atoi(args[0]); err != nil || code != want {
		ts.Fatalf("exit code is %d, want %s", code, args[0])
	}
}

// publishCommand publishes a text on a subject, as any NATS client would.
func publishCommand(ts *testscript.TestScript, _ bool, args []string) {
	nc, err := nats.Connect(worldOf(ts).nats.ClientURL())
	ts.Check(err)
	defer nc.Close()
	ts.Check(nc.Publish(args[0], []byte(args[1])))
	ts.Check(nc.Flush())
}

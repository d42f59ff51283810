// Package nats tests the accounts beside it on a real server.
package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	sink "github.com/pushover-connector/pushover-connector/sinks/nats"
)

// A world is a server with the accounts, the connector's bus on it, one event
// and the readers' consumer.
type world struct {
	url      string
	bus      *sink.Bus
	admin    jetstream.JetStream // in the connector's account
	commands chan string         // bodies of the commands that arrived
}

const receipt = "abcdefghijklmnopqrstuvwxyz0123"

func newWorld(t *testing.T) *world {
	t.Helper()
	for _, user := range []string{"CONNECTOR", "READER", "OPERATOR"} {
		t.Setenv("NATS_"+user+"_PASSWORD", "password-of-"+user)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "server.conf")
	// The server resolves what is included from its own file's directory.
	relative, err := filepath.Rel(dir, filepath.Join(here, "accounts.conf"))
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream {store_dir: %q}\ninclude %q\n", dir, relative)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := natsserver.ProcessConfigFile(config)
	if err != nil {
		t.Fatal(err)
	}
	options.NoLog, options.NoSigs = true, true
	server, err := natsserver.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	t.Cleanup(func() { server.Shutdown(); server.WaitForShutdown() })
	if !server.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}

	w := &world{url: server.ClientURL(), commands: make(chan string, 16)}
	w.bus = w.open(t, "connector", "password-of-CONNECTOR", sink.Options{Mode: connector.ModeStructured})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = w.bus.ServeCommands(ctx, w.handle) // ends with ctx
	}()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_ = w.bus.ServeEndpoints(ctx, []connector.Endpoint{w.endpoint("ack"), w.endpoint("status"), w.endpoint("resume")}, "1.0.0")
	}()
	t.Cleanup(func() { cancel(); <-served; <-answered })

	w.admin, err = jetstream.New(dial(t, w.url, "connector", "password-of-CONNECTOR"))
	if err != nil {
		t.Fatal(err)
	}
	w.publish(t, "1")
	if _, err := w.admin.CreateConsumer(t.Context(), "PUSHOVER", jetstream.ConsumerConfig{
		Durable: "reader", FilterSubject: "pushover.messages.>", AckPolicy: jetstream.AckExplicitPolicy,
	}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) open(t *testing.T, user, password string, o sink.Options) *sink.Bus {
	t.Helper()
	b, err := sink.Open(t.Context(), sink.Config{URL: w.url, User: user, Password: connector.Secret(password)}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}

func (w *world) publish(t *testing.T, id string) {
	t.Helper()
	if _, err := w.bus.Publish(t.Context(), []connector.Event{{
		ID: id, Source: connector.Source("d"), Type: connector.TypeMessage, Subject: "app", Time: time.Unix(1, 0),
		Data: []byte(`{"receipt":"` + receipt + `","message":"the text"}`), Class: connector.ClassMessage,
		Route: []string{"messages", "emergency", "app"}, Key: connector.Source("d"),
	}}); err != nil {
		t.Fatal(err)
	}
}

// handle acknowledges every command, and publishes the result as the connector
// does.
func (w *world) handle(ctx context.Context, c connector.Command) (connector.Result, error) {
	w.commands <- string(c.Body)
	r := connector.Result{Receipt: receipt, Status: connector.StatusAcknowledged, CommandID: c.ID}
	data, err := json.Marshal(r)
	if err != nil {
		return r, err
	}
	_, err = w.bus.Publish(ctx, []connector.Event{{
		ID: c.ID + "@1", Source: connector.Source("d"), Type: connector.TypeAcknowledged, Time: time.Unix(1, 0),
		Extensions: []connector.Extension{{Name: "causationid", Value: c.ID}},
		Data:       data, Class: connector.ClassResult, Route: []string{"results", "acknowledged"}, Key: receipt,
	}})
	return r, err
}

func (w *world) endpoint(name string) connector.Endpoint {
	return connector.Endpoint{
		Name: name, RequestSchema: []byte("{}"), ResponseSchema: []byte("{}"),
		Handle: func(context.Context, []byte) ([]byte, error) { return []byte(`{"endpoint":"` + name + `"}`), nil },
	}
}

func dial(t *testing.T, url, user, password string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, nats.UserInfo(user, password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// nobody says whether a request found nobody who did what it asked: no one
// listens, or only the JetStream of an account that has none.
func nobody(nc *nats.Conn, subject string, body []byte) error {
	m, err := nc.Request(subject, body, time.Second)
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrTimeout):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", subject, err)
	case strings.Contains(string(m.Data), `"err_code":10039`): // JetStream not enabled for account
		return nil
	default:
		return fmt.Errorf("%s: got the answer %q", subject, m.Data)
	}
}

// commandCount is how many commands the control stream holds or held.
func (w *world) commandCount(t *testing.T) uint64 {
	t.Helper()
	s, err := w.admin.Stream(t.Context(), "PUSHOVER_CONTROL")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

func TestReaderReadsAndSettlesEvents(t *testing.T) {
	w := newWorld(t)
	js, err := jetstream.NewWithAPIPrefix(dial(t, w.url, "reader", "password-of-READER"), "JS.PUSHOVER")
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), "PUSHOVER", "reader")
	if err != nil {
		t.Fatal(err)
	}
	m, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject() != "pushover.messages.emergency.app" {
		t.Errorf("got subject %s", m.Subject())
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := w.admin.Consumer(t.Context(), "PUSHOVER", "reader")
	if err != nil {
		t.Fatal(err)
	}
	if i := info.CachedInfo(); i.NumAckPending != 0 || i.AckFloor.Stream != 1 {
		t.Errorf("the event is not settled: %+v", i)
	}
}

func TestReaderCannotAcknowledge(t *testing.T) {
	w := newWorld(t)
	nc := dial(t, w.url, "reader", "password-of-READER")
	for _, subject := range []string{"pushover.control.ack", "pushover.rpc.ack", "pushover.rpc.resume", "pushover.rpc.status"} {
		if err := nobody(nc, subject, []byte(receipt)); err != nil {
			t.Error(err)
		}
	}
	// Have the event itself delivered to where commands go: it arrives there, but
	// in the reader's own account.
	home, err := nc.SubscribeSync("pushover.control.ack")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("JS.PUSHOVER.CONSUMER.MSG.NEXT.PUSHOVER.reader", "pushover.control.ack", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if _, err := home.NextMsg(10 * time.Second); err != nil {
		t.Fatalf("the event was not delivered anywhere: %v", err)
	}
	if got := w.commandCount(t); got != 0 {
		t.Errorf("the control stream got %d commands, want none", got)
	}
}

func TestReaderCannotTouchTheStreams(t *testing.T) {
	w := newWorld(t)
	nc := dial(t, w.url, "reader", "password-of-READER")
	for _, subject := range []string{
		"$JS.API.STREAM.PURGE.PUSHOVER", "$JS.API.STREAM.DELETE.PUSHOVER", "$JS.API.STREAM.UPDATE.PUSHOVER",
		"$JS.API.STREAM.MSG.DELETE.PUSHOVER", "$JS.API.STREAM.MSG.GET.PUSHOVER_CONTROL", "$JS.API.CONSUMER.DELETE.PUSHOVER.reader",
		"$JS.API.CONSUMER.CREATE.PUSHOVER.other", "$JS.API.CONSUMER.MSG.NEXT.PUSHOVER_CONTROL.pushover-connector",
	} {
		if err := nobody(nc, subject, nil); err != nil {
			t.Error(err)
		}
	}
	s, err := w.admin.Stream(t.Context(), "PUSHOVER")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("got %d events, want the one", got)
	}
}

func TestOperatorAcknowledges(t *testing.T) {
	w := newWorld(t)
	nc := dial(t, w.url, "operator", "password-of-OPERATOR")
	for _, name := range []string{"ack", "status"} {
		m, err := nc.Request("pushover.rpc."+name, []byte(receipt), 10*time.Second)
		if err != nil || string(m.Data) != `{"endpoint":"`+name+`"}` {
			t.Errorf("rpc.%s: got %v, %v", name, m, err)
		}
	}
	m, err := nc.Request("pushover.control.ack", []byte(receipt), 10*time.Second)
	if err != nil {
		t.Fatalf("send a durable command: %v", err)
	}
	if got := <-w.commands; got != receipt {
		t.Errorf("got command %q, want the receipt; the answer was %s", got, m.Data)
	}
}

// TestOperatorUsesTheProgram sends a command and waits for its result as
// "pushover-connector ack" does.
func TestOperatorUsesTheProgram(t *testing.T) {
	w := newWorld(t)
	bus := w.open(t, "operator", "password-of-OPERATOR", sink.Options{Attach: true})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	result, err := bus.SendCommand(ctx, []byte(`{"command":"ack","receipt":"`+receipt+`"}`))
	if err != nil || result.Status != connector.StatusAcknowledged {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestOperatorCannotReadMessages(t *testing.T) {
	w := newWorld(t)
	nc := dial(t, w.url, "operator", "password-of-OPERATOR")
	// All there is, and results as a sign of when to stop waiting.
	all, err := nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		"$JS.API.STREAM.MSG.GET.PUSHOVER", "$JS.API.DIRECT.GET.PUSHOVER.pushover.messages.emergency.app",
		"$JS.API.CONSUMER.MSG.NEXT.PUSHOVER.reader", "$JS.API.STREAM.INFO.PUSHOVER", "JS.PUSHOVER.CONSUMER.MSG.NEXT.PUSHOVER.reader",
		"$JS.API.STREAM.MSG.GET.PUSHOVER_CONTROL",
	} {
		if err := nobody(nc, subject, []byte(`{"last_by_subj":"pushover.messages.>"}`)); err != nil {
			t.Error(err)
		}
	}
	w.publish(t, "2")
	if err := nc.Publish("end.of.test", nil); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := all.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == "end.of.test" {
			return
		}
		if strings.HasPrefix(m.Subject, "pushover.messages.") || strings.Contains(string(m.Data), "the text") {
			t.Errorf("got %s: %s", m.Subject, m.Data)
		}
	}
}

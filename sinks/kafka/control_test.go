package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
)

// receipt makes a receipt of Pushover's form.
func receipt(n int) string { return fmt.Sprintf("r%029d", n) }

// sendCommands produces command bodies with an independent client, as kcat
// would.
func sendCommands(t testing.TB, c kafka.Config, bodies ...string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.UnknownTopicRetries(10))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, body := range bodies {
		if err := cl.ProduceSync(waitContext(t), &kgo.Record{Topic: c.ControlTopic, Value: []byte(body)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// committed is the group's offset in the control topic's first partition.
func committed(t testing.TB, c kafka.Config) int64 {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var res kadm.OffsetResponses
	for ctx := waitContext(t); ; {
		res, err = kadm.NewClient(cl).FetchOffsets(ctx, c.Group)
		if errors.Is(err, kerr.GroupIDNotFound) {
			return -1
		}
		if err == nil {
			break
		}
		if !kerr.IsRetriable(err) { // as it is while a fresh cluster makes its own topics
			t.Fatal(err)
		}
		if pauseFor(ctx, 20); ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	o, ok := res.Lookup(c.ControlTopic, 0)
	if !ok {
		return -1
	}
	return o.At
}

// A worker is a command handler under a test's control.
type worker struct {
	bus    *kafka.Bus
	source string
	before func(connector.Command) error // may be nil; an error is the handler's

	mu    sync.Mutex
	calls []string
	ended chan string // the bodies of commands that ended
}

func newWorker(b *kafka.Bus, source string) *worker {
	return &worker{bus: b, source: source, ended: make(chan string, 10_000)}
}

// handle publishes a result with a deterministic id, as the connector does.
func (w *worker) handle(ctx context.Context, cmd connector.Command) (connector.Result, error) {
	w.mu.Lock()
	w.calls = append(w.calls, string(cmd.Body))
	w.mu.Unlock()
	if w.before != nil {
		if err := w.before(cmd); err != nil {
			return connector.Result{}, err
		}
	}
	key := string(cmd.Body)
	result := connector.Result{Receipt: key, Status: connector.StatusAcknowledged, CommandID: cmd.ID}
	_, err := w.bus.Publish(ctx, []connector.Event{{ // as the connector makes its id of the command's
		ID: cmd.ID + "@1", Source: w.source, Type: "net.pushover.emergency.acknowledged", Class: connector.ClassResult, Key: key,
		Data:       []byte(fmt.Sprintf(`{"receipt":%q,"status":"acknowledged","command_id":%q}`, key, cmd.ID)),
		Extensions: []connector.Extension{{Name: "causationid", Value: cmd.ID}},
	}})
	if err != nil {
		return connector.Result{}, err
	}
	w.ended <- string(cmd.Body)
	return result, nil
}

func (w *worker) await(t testing.TB, n int) []string {
	t.Helper()
	var out []string
	for ctx := waitContext(t); len(out) < n; {
		select {
		case body := <-w.ended:
			out = append(out, body)
		case <-ctx.Done():
			t.Fatalf("%d of %d commands ended: %v", len(out), n, out)
		}
	}
	return out
}

// serve serves commands until the returned function is called, or the test ends.
func serve(t testing.TB, b *kafka.Bus, h connector.CommandHandler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- b.ServeCommands(ctx, h) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-served:
			if err != nil {
				t.Errorf("ServeCommands: %v", err)
			}
		case <-time.After(wait):
			t.Error("ServeCommands does not return")
		}
	})
	t.Cleanup(stop)
	return stop
}

func awaitCommitted(t testing.TB, c kafka.Config, want int64) {
	t.Helper()
	for ctx := waitContext(t); ; {
		at := committed(t, c)
		if at == want {
			return
		}
		if at > want {
			t.Fatalf("committed offset: got %d, want %d", at, want)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("committed offset: got %d, want %d", at, want)
		}
	}
}

func TestCommandsSentWhileDownAreCarriedOutAfterTheStart(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		closeBus(t, open(t, c, o)) // makes the topics
		var bodies []string
		for i := range 5 {
			bodies = append(bodies, receipt(i))
		}
		sendCommands(t, c, bodies...)

		b := open(t, c, o)
		w := newWorker(b, o.Source)
		stop := serve(t, b, w.handle)
		got := w.await(t, 5)
		slices.Sort(got)
		if diff := cmp.Diff(got, bodies); diff != "" {
			t.Errorf("commands carried out (-got +want):\n%s", diff)
		}
		awaitCommitted(t, c, 5)
		stop()

		results := readTopic(t, brokers, c.ResultTopic, false)
		if len(results) != 5 {
			t.Errorf("results: got %d, want 5", len(results))
		}
		for _, r := range results {
			if !slices.Contains(bodies, string(r.Key)) {
				t.Errorf("key of a result: got %q, want a receipt", r.Key)
			}
		}

		again := newWorker(b, o.Source)
		serve(t, b, again.handle)
		sendCommands(t, c, receipt(9))
		if got := again.await(t, 1); got[0] != receipt(9) {
			t.Errorf("first command of the next run: got %v, want only what is new", got)
		}
	})
}

func TestACommandWhoseCommitWasLostHasOneResult(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		for range 3 { // three lives, each ended between result and commit
			b := open(t, c, o)
			if committed(t, c) < 0 && len(readTopic(t, brokers, c.ControlTopic, false)) == 0 {
				sendCommands(t, c, receipt(1), receipt(2))
			}
			w := newWorker(b, o.Source)
			results := 0
			var mu sync.Mutex
			both := make(chan struct{})
			stop := serve(t, b, func(ctx context.Context, cmd connector.Command) (connector.Result, error) {
				if _, err := w.handle(ctx, cmd); err != nil {
					return connector.Result{}, err
				}
				mu.Lock()
				if results++; results == 2 {
					close(both)
				}
				mu.Unlock()
				<-ctx.Done() // dies before the outcome is known to the bus
				return connector.Result{}, ctx.Err()
			})
			select {
			case <-both:
			case <-time.After(wait):
				t.Fatal("commands are not delivered")
			}
			stop()
			closeBus(t, b)
		}
		if at := committed(t, c); at > 0 {
			t.Errorf("committed offset: got %d although nothing was settled", at)
		}
		if got := len(readTopic(t, brokers, c.ResultTopic, false)); got != 2 {
			t.Errorf("results of two commands: got %d", got)
		}
	})
}

func TestACommandThatMustWaitHoldsUpNoOther(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		b := open(t, c, o)
		w := newWorker(b, o.Source)
		release := make(chan struct{})
		w.before = func(cmd connector.Command) error {
			if !strings.Contains(string(cmd.Body), receipt(1)) {
				return nil
			}
			select {
			case <-release:
				return nil
			default:
				return &connector.RetryError{After: time.Millisecond, Err: errors.New("service is down")}
			}
		}
		sendCommands(t, c, receipt(2), receipt(1), receipt(3), `{"command":"ack","receipt":"`+receipt(1)+`"}`, receipt(4))
		stop := serve(t, b, w.handle)
		got := w.await(t, 3)
		slices.Sort(got)
		if diff := cmp.Diff(got, []string{receipt(2), receipt(3), receipt(4)}); diff != "" {
			t.Errorf("commands beside one that waits (-got +want):\n%s", diff)
		}
		awaitCommitted(t, c, 1) // and no further: the second is not settled
		close(release)
		w.await(t, 2)
		awaitCommitted(t, c, 5)
		stop()
	})
}

func TestSendCommandReturnsTheResultOfItsOwnCommand(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		b := open(t, c, o)
		w := newWorker(b, o.Source)
		serve(t, b, w.handle)
		mustPublish(t, b, messages(o.Source, 1, 3))

		side := o
		side.ReadOnly = true
		sender := open(t, c, side)
		for i := range 3 {
			res, err := sender.SendCommand(waitContext(t), []byte(receipt(i)))
			if err != nil || res.Status != connector.StatusAcknowledged || res.Receipt != receipt(i) {
				t.Fatalf("SendCommand: got %+v, %v", res, err)
			}
		}
		if _, err := sender.Publish(waitContext(t), messages(o.Source, 4, 1)); err == nil {
			t.Error("Publish on a read-only bus: got no error")
		}
		mustPublish(t, b, messages(o.Source, 4, 1)) // and the sender took nothing over
	})
}

// A worker of the connector's own: every command has one result, whoever else
// uses the same id.
func TestEachLeverHasOneResultWithAnAnswer(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		o.Source = connector.Source(c.Group)
		health := watch(&o)
		b := open(t, c, o)
		conn := connector.New(nil, connector.Options{Device: c.Group, Health: health.Health, Logger: o.Logger})
		if err := conn.SetSink(b); err != nil {
			t.Fatal(err)
		}
		serve(t, b, conn.HandleCommand)
		health.await(t, connector.PartCommands, ok)

		o.ReadOnly = true
		sender := open(t, c, o)
		for i, tt := range []struct {
			body, command string
			status        connector.ResultStatus
		}{
			{`{"command":"status"}`, "status", connector.StatusDone},
			{`{"command":"status","id":"mine"}`, "status", connector.StatusDone},
			{`{"command":"sync","id":"mine"}`, "sync", connector.StatusDone},
			{`{"command":"resume","id":"mine"}`, "resume", connector.StatusRejected}, // there is nothing to resume
			{`{"command":"dance"}`, "", connector.StatusRejected},
		} {
			res, err := sender.SendCommand(waitContext(t), []byte(tt.body))
			if err != nil || res.Command != tt.command || res.Status != tt.status {
				t.Fatalf("SendCommand %s: got %+v, %v, want %s", tt.body, res, err, tt.status)
			}
			if answered := res.Answer != nil; answered != (tt.command == "status") {
				t.Errorf("SendCommand %s: answered %v", tt.body, answered)
			} else if answered && (res.Answer.Device != c.Group || len(res.Answer.Parts) == 0) {
				t.Errorf("answer to status: got %+v, want the device and its parts", res.Answer)
			}
			if got := len(readTopic(t, brokers, c.ResultTopic, true)); got != i+1 {
				t.Errorf("results of %d commands: got %d", i+1, got)
			}
		}
	})
}

func TestServingEndsAtOnceWhileItWaitsForCommands(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		b := open(t, c, optionsFor(t, c))
		w := newWorker(b, "")
		w.source = optionsFor(t, c).Source
		stop := serve(t, b, w.handle)
		sendCommands(t, c, receipt(1))
		w.await(t, 1)
		stop()
		awaitCommitted(t, c, 1)
	})
}

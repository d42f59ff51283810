package nats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	natsserver "github.com/nats-io/nats-server/v2/server"
	upstream "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
)

func receipt(n int) string { return fmt.Sprintf("r%029d", n) }

// handler records what it is given and answers as told.
type handler struct {
	mu      sync.Mutex
	handled []connector.Command
	answer  func(connector.Command) (connector.Result, error)
}

func (h *handler) handle(_ context.Context, c connector.Command) (connector.Result, error) {
	h.mu.Lock()
	h.handled = append(h.handled, c)
	answer := h.answer
	h.mu.Unlock()
	if answer == nil {
		return connector.Result{Status: connector.StatusAcknowledged}, nil
	}
	return answer(c)
}

func (h *handler) bodies() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, c := range h.handled {
		all = append(all, string(c.Body))
	}
	return all
}

// serve runs ServeCommands until the test ends or stop is called.
func serve(t *testing.T, b *nats.Bus, h connector.CommandHandler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.ServeCommands(ctx, h) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ServeCommands: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func send(t *testing.T, js jetstream.JetStream, bodies ...[]byte) {
	t.Helper()
	for _, body := range bodies {
		if _, err := js.Publish(t.Context(), "pushover.control.ack", body); err != nil {
			t.Fatal(err)
		}
	}
}

// pending is how many commands are not settled: those above the consumer's ack
// floor. (The consumer's own count of what is pending is 0 for a moment after it
// was made.)
func pending(t *testing.T, js jetstream.JetStream) int {
	t.Helper()
	stream, err := js.Stream(t.Context(), "PUSHOVER_CONTROL")
	if err != nil {
		return -1
	}
	cons, err := stream.Consumer(t.Context(), "pushover-connector")
	if err != nil {
		return -1
	}
	return int(stream.CachedInfo().State.LastSeq - cons.CachedInfo().AckFloor.Stream)
}

func settled(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	eventually(t, "all commands are settled", func() bool { return pending(t, js) == 0 })
}

func TestCommandsSentWhileDownAreCarriedOutOnceEach(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	c := nats.Config{URL: srv.ClientURL()}
	b := open(t, c, nats.Options{})
	var want []string
	for i := range 100 {
		send(t, js, []byte(receipt(i)))
		want = append(want, receipt(i))
	}
	h := &handler{}
	stop := serve(t, b, h.handle)
	settled(t, js)
	stop()
	got := h.bodies()
	seen := map[string]int{}
	for _, body := range got {
		seen[body]++
	}
	for _, body := range want {
		if seen[body] != 1 {
			t.Errorf("command %s was carried out %d times", body, seen[body])
		}
	}
	for _, c := range h.handled {
		if !strings.HasPrefix(c.ID, "PUSHOVER_CONTROL#") || c.Time.IsZero() || time.Since(c.Time) > time.Hour || c.Progress == nil {
			t.Errorf("command %+v: want id, time of the server and a way to report progress", c)
		}
	}
	// Another connector finds nothing to do.
	again := &handler{}
	stop = serve(t, open(t, c, nats.Options{}), again.handle)
	send(t, js, []byte("last"))
	settled(t, js)
	stop()
	if diff := cmp.Diff(again.bodies(), []string{"last"}); diff != "" {
		t.Errorf("after a restart (-got +want):\n%s", diff)
	}
}

func TestPayloadsOfEveryKindReachTheHandler(t *testing.T) {
	b := open(t, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: t.TempDir()})
	_, js := client(t, b.URL())
	payloads := [][]byte{
		{}, []byte("\xff\xfe\x00"), bytes.Repeat([]byte("x"), 1<<20), []byte(`{"receipt":17}`),
		[]byte("a/../b"), []byte(receipt(1)), []byte(`[1,2]`),
	}
	send(t, js, payloads...)
	h := &handler{answer: func(c connector.Command) (connector.Result, error) {
		return connector.Result{Status: connector.StatusRejected, Reason: "no command", Malformed: true}, nil
	}}
	serve(t, b, h.handle)
	settled(t, js)
	got := map[string]bool{}
	for _, body := range h.bodies() {
		got[body] = true
	}
	for _, p := range payloads {
		if !got[string(p)] {
			t.Errorf("a payload of %d bytes did not reach the handler", len(p))
		}
	}
	if n := len(h.bodies()); n != len(payloads) {
		t.Errorf("%d calls, want %d: poison is not delivered again", n, len(payloads))
	}
}

func TestPoisonIsTerminatedWithItsReason(t *testing.T) {
	srv := startServer(t, nil)
	nc, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	advisories, err := nc.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.PUSHOVER_CONTROL.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	serve(t, b, func(context.Context, connector.Command) (connector.Result, error) {
		return connector.Result{Malformed: true, Reason: "receipt is too short"}, nil
	})
	send(t, js, []byte("x"))
	m, err := advisories.NextMsg(patience)
	if err != nil || !strings.Contains(string(m.Data), "receipt is too short") {
		t.Errorf("advisory: got %v, %v, want the reason", m, err)
	}
}

func TestCommandGivenBackComesAgainAndHoldsUpNoOther(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	const waiting = 40
	for i := range waiting {
		send(t, js, []byte(receipt(i)))
	}
	send(t, js, []byte(receipt(waiting)))
	var mu sync.Mutex
	times := map[string]int{}
	ready := false
	serve(t, b, func(_ context.Context, c connector.Command) (connector.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		times[string(c.Body)]++
		if string(c.Body) != receipt(waiting) && !ready {
			return connector.Result{}, &connector.RetryError{After: 300 * time.Millisecond, Err: errors.New("503")}
		}
		return connector.Result{}, nil
	})
	eventually(t, "the last command is carried out while the others wait", func() bool {
		mu.Lock()
		defer mu.Unlock()
		ready = len(times) == waiting+1 // workers have no order
		return ready
	})
	settled(t, js)
	mu.Lock()
	defer mu.Unlock()
	for i := range waiting {
		if times[receipt(i)] < 2 {
			t.Errorf("command %d was handed over %d times, want it again", i, times[receipt(i)])
		}
	}
}

func TestAnyOtherErrorMeansAgain(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	send(t, js, []byte(receipt(1)))
	var first atomic.Bool
	serve(t, b, func(context.Context, connector.Command) (connector.Result, error) {
		if first.CompareAndSwap(false, true) {
			return connector.Result{}, errors.New("something")
		}
		return connector.Result{}, nil
	})
	settled(t, js)
}

func TestCommandsInHandAreFinishedOnShutdownAndTheRestGivenBack(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	const sent, inHand = 9, 4 // as many as there are workers
	for i := range sent {
		send(t, js, []byte(receipt(i)))
	}
	begun, finish := make(chan struct{}, sent), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.ServeCommands(ctx, func(ctx context.Context, _ connector.Command) (connector.Result, error) {
			begun <- struct{}{}
			<-finish
			return connector.Result{}, ctx.Err()
		})
	}()
	for range inHand {
		<-begun
	}
	cancel()
	close(finish)
	if err := <-done; err != nil {
		t.Fatalf("ServeCommands: %v", err)
	}
	if n := len(begun); n != 0 {
		t.Errorf("%d more commands were begun, want none", n)
	}
	if n := pending(t, js); n != sent-inHand {
		t.Errorf("%d commands are left, want %d", n, sent-inHand)
	}
	h := &handler{}
	serve(t, b, h.handle) // at once, without waiting for a redelivery
	settled(t, js)
	if n := len(h.bodies()); n != sent-inHand {
		t.Errorf("%d commands were carried out next, want %d", n, sent-inHand)
	}
}

func TestCommandsSurviveOutagesOfTheBus(t *testing.T) {
	srv := startServer(t, nil)
	p := startProxy(t, srv.Addr().String())
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: p.url()}, nats.Options{})
	h := &handler{}
	serve(t, b, h.handle)
	for i := range 30 {
		send(t, js, []byte(receipt(i)))
		if i%10 == 5 {
			p.cut()
		}
	}
	settled(t, js)
	seen := map[string]int{}
	for _, body := range h.bodies() {
		seen[body]++
	}
	for i := range 30 {
		if seen[receipt(i)] == 0 {
			t.Errorf("command %d was lost", i)
		}
	}
}

func TestDeletedConsumerAndStreamAreMadeAgain(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	h := &handler{}
	serve(t, b, h.handle)
	send(t, js, []byte("one"))
	settled(t, js)
	if err := js.DeleteStream(t.Context(), "PUSHOVER_CONTROL"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream is back", func() bool {
		_, err := js.Stream(t.Context(), "PUSHOVER_CONTROL")
		return err == nil
	})
	send(t, js, []byte("two"))
	eventually(t, "the command is carried out", func() bool { return len(h.bodies()) == 2 })
}

func TestConsumerThatIsNotOursIsNamedInTheLog(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	book := &logBook{}
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{Health: book.health()})
	_, err := js.CreateConsumer(t.Context(), "PUSHOVER_CONTROL", jetstream.ConsumerConfig{
		Durable: "pushover-connector", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	h := &handler{}
	serve(t, b, h.handle)
	eventually(t, "the log names it", func() bool {
		return strings.Contains(book.String(), "nats consumer rm PUSHOVER_CONTROL pushover-connector")
	})
	if err := js.DeleteConsumer(t.Context(), "PUSHOVER_CONTROL", "pushover-connector"); err != nil {
		t.Fatal(err)
	}
	send(t, js, []byte("x"))
	eventually(t, "the command is carried out", func() bool { return len(h.bodies()) == 1 })
	if failed, recovered := book.count("commands failed, retrying"), book.count("commands recovered"); failed != 1 || recovered != 1 {
		t.Errorf("%d failures and %d recoveries, want one of each:\n%s", failed, recovered, book)
	}
}

// Whatever a consumer of our name withholds, strips or repeats is not seen from
// the commands that do come.
func TestConsumerThatWithholdsOrRepeatsCommandsIsRefused(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	later := time.Now().Add(time.Hour)
	for want, change := range map[string]func(*jetstream.ConsumerConfig){
		"ack policy":                  func(c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckAllPolicy },
		"at most 3 deliveries":        func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 3 },
		"deliver policy new":          func(c *jetstream.ConsumerConfig) { c.DeliverPolicy = jetstream.DeliverNewPolicy },
		"headers only":                func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true },
		"original pace":               func(c *jetstream.ConsumerConfig) { c.ReplayPolicy = jetstream.ReplayOriginalPolicy },
		"at most 1 pending":           func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 1 },
		"ack wait 1s":                 func(c *jetstream.ConsumerConfig) { c.AckWait = time.Second },
		"its own pace of redelivery":  func(c *jetstream.ConsumerConfig) { c.BackOff = []time.Duration{time.Minute} },
		"at most 100 bytes a request": func(c *jetstream.ConsumerConfig) { c.MaxRequestMaxBytes = 100 },
		"requests of at most 1s":      func(c *jetstream.ConsumerConfig) { c.MaxRequestExpires = time.Second },
		"priority groups": func(c *jetstream.ConsumerConfig) {
			c.PriorityPolicy, c.PriorityGroups = jetstream.PriorityPolicyPinned, []string{"a"}
		},
		"kept in memory":                  func(c *jetstream.ConsumerConfig) { c.MemoryStorage = true },
		"removed after 1h0m0s":            func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = time.Hour },
		"is paused until":                 func(c *jetstream.ConsumerConfig) { c.PauseUntil = &later },
		"filter pushover.control.nothing": func(c *jetstream.ConsumerConfig) { c.FilterSubject = "pushover.control.nothing" },
	} {
		c := jetstream.ConsumerConfig{Durable: "pushover-connector", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute}
		change(&c)
		if _, err := js.CreateConsumer(t.Context(), "PUSHOVER_CONTROL", c); err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		wantFailure(t, consumerCheck(t, b).Err, connector.ReasonBusMisconfigured, "NATS_CONTROL_STREAM", want)
		if err := js.DeleteConsumer(t.Context(), "PUSHOVER_CONTROL", "pushover-connector"); err != nil {
			t.Fatal(err)
		}
	}
}

// It takes fewer at a time, and that is all.
func TestConsumerWithSmallRequestsIsUsed(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	if _, err := js.CreateConsumer(t.Context(), "PUSHOVER_CONTROL", jetstream.ConsumerConfig{
		Durable: "pushover-connector", AckPolicy: jetstream.AckExplicitPolicy, MaxRequestBatch: 2,
	}); err != nil {
		t.Fatal(err)
	}
	h := &handler{}
	serve(t, b, h.handle)
	for i := range 10 {
		send(t, js, []byte(receipt(i)))
	}
	eventually(t, "the commands are carried out", func() bool { return len(h.bodies()) == 10 })
}

// carryOutWithEarlierConsumer creates the consumer as an earlier version did, and has a
// command carried out.
func carryOutWithEarlierConsumer(t *testing.T, js jetstream.JetStream, b *nats.Bus) {
	t.Helper()
	if _, err := js.CreateConsumer(t.Context(), "PUSHOVER_CONTROL", jetstream.ConsumerConfig{
		Durable: "pushover-connector", Description: "Carries out commands", FilterSubject: "pushover.control.ack",
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: 10 * time.Second, MaxAckPending: 16, MaxDeliver: -1,
	}); err != nil {
		t.Fatal(err)
	}
	h := &handler{}
	serve(t, b, h.handle)
	send(t, js, []byte(receipt(1)))
	eventually(t, "the command is carried out", func() bool { return len(h.bodies()) == 1 })
}

// An earlier version let sixteen be under way or waiting, which held up others.
func TestConsumerOfAnEarlierVersionIsBroughtUpToDate(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
	carryOutWithEarlierConsumer(t, js, b)
	cons, err := js.Consumer(t.Context(), "PUSHOVER_CONTROL", "pushover-connector")
	if err != nil {
		t.Fatal(err)
	}
	if got := cons.CachedInfo().Config.MaxAckPending; got != 256 {
		t.Errorf("the consumer lets %d be pending, want 256", got)
	}
}

// Its filter takes commands of another prefix only: without a word to anybody, it
// would get none of ours.
func TestConsumerOfAnotherPrefixIsNamedInTheLogAndByChecks(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	c := nats.Config{URL: srv.ClientURL()}
	stop := serve(t, open(t, c, nats.Options{}), (&handler{}).handle)
	eventually(t, "the consumer is made", func() bool { return pending(t, js) == 0 })
	stop()
	for name, add := range map[string][]string{
		"PUSHOVER":         {"home.deadletter", "home.messages.>", "home.results.>"},
		"PUSHOVER_CONTROL": {"home.control.>"},
	} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		config := s.CachedInfo().Config
		config.Subjects = append(config.Subjects, add...)
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	c.SubjectPrefix = "home"
	book := &logBook{}
	b := open(t, c, nats.Options{Health: book.health()})
	if err := consumerCheck(t, b).Err; err == nil || !strings.Contains(err.Error(), "home.control.ack: filter pushover.control.ack") {
		t.Errorf("check of the consumer: got %v, want both subjects named", err)
	}
	h := &handler{}
	serve(t, b, h.handle)
	if _, err := js.Publish(t.Context(), "home.control.ack", []byte(receipt(2))); err != nil {
		t.Fatal(err)
	}
	const remedy = "nats consumer rm PUSHOVER_CONTROL pushover-connector"
	eventually(t, "the log names it", func() bool { return strings.Contains(book.String(), remedy) })
	if err := js.DeleteConsumer(t.Context(), "PUSHOVER_CONTROL", "pushover-connector"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command is carried out", func() bool { return len(h.bodies()) == 1 })
	if err := consumerCheck(t, b).Err; err != nil {
		t.Errorf("check of the new consumer: %v", err)
	}
}

func consumerCheck(t *testing.T, b *nats.Bus) connector.Check {
	t.Helper()
	for _, c := range b.Checks(t.Context()) {
		if c.Name == "nats consumer pushover-connector" {
			return c
		}
	}
	t.Fatal("Checks do not look at the consumer")
	return connector.Check{}
}

func TestConsumerWithAnyFilterThatTakesCommandsIsUsed(t *testing.T) {
	for name, config := range map[string]jetstream.ConsumerConfig{
		"none":     {},
		"wildcard": {FilterSubject: "pushover.control.>"},
		"several":  {FilterSubjects: []string{"pushover.control.other", "pushover.control.ack"}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := startServer(t, nil)
			_, js := client(t, srv.ClientURL())
			b := open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{})
			if c := consumerCheck(t, b); c.Err != nil || !strings.Contains(c.Detail, "will be created") {
				t.Errorf("check before there is a consumer: got %+v, want it to say that it will be created", c)
			}
			config.Durable, config.AckPolicy = "pushover-connector", jetstream.AckExplicitPolicy
			if _, err := js.CreateConsumer(t.Context(), "PUSHOVER_CONTROL", config); err != nil {
				t.Fatal(err)
			}
			if err := consumerCheck(t, b).Err; err != nil {
				t.Errorf("check of the consumer: %v", err)
			}
			serve(t, b, (&handler{}).handle)
			send(t, js, []byte(receipt(1)))
			settled(t, js)
		})
	}
}

func TestTwoConnectorsShareTheCommands(t *testing.T) {
	srv := startServer(t, func(o *natsserver.Options) {})
	_, js := client(t, srv.ClientURL())
	hs := []*handler{{}, {}}
	for _, h := range hs {
		serve(t, open(t, nats.Config{URL: srv.ClientURL()}, nats.Options{}), h.handle)
	}
	for i := range 60 {
		send(t, js, []byte(receipt(i)))
	}
	settled(t, js)
	seen := map[string]int{}
	for _, h := range hs {
		for _, body := range h.bodies() {
			seen[body]++
		}
	}
	for i := range 60 {
		if seen[receipt(i)] != 1 {
			t.Errorf("command %d was carried out %d times, want once", i, seen[receipt(i)])
		}
	}
}

func TestConsumerOfAnEarlierVersionThatMayNotBeChangedIsUsed(t *testing.T) {
	srv := startServer(t, func(o *natsserver.Options) {
		o.Users = []*natsserver.User{{Username: "admin", Password: "p"}, {Username: "u", Password: "p", Permissions: &natsserver.Permissions{
			Publish: &natsserver.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.CREATE.PUSHOVER_CONTROL.>", "$JS.API.CONSUMER.DURABLE.CREATE.>"}},
		}}}
	})
	_, js := client(t, srv.ClientURL(), upstream.UserInfo("admin", "p"))
	b := open(t, nats.Config{URL: srv.ClientURL(), User: "u", Password: "p"}, nats.Options{})
	carryOutWithEarlierConsumer(t, js, b)
}

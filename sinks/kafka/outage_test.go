package kafka_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// load publishes messages one small batch after the other, as long as it is not
// stopped, and tries again after failures, as a connector does.
type load struct {
	bus    *kafka.Bus
	source string
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	confirmed int
	failures  int
	changed   chan struct{} // closed and replaced at every change
}

func startLoad(t *testing.T, b *kafka.Bus, source string) *load {
	l := &load{bus: b, source: source, changed: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(func() {
		for size := 1; l.ctx.Err() == nil; size = size%17 + 1 {
			l.mu.Lock()
			next := l.confirmed + 1
			l.mu.Unlock()
			n, err := b.Publish(l.ctx, messages(source, next, size))
			l.mu.Lock()
			l.confirmed += n
			if err != nil {
				l.failures++
			}
			close(l.changed)
			l.changed = make(chan struct{})
			l.mu.Unlock()
			if errors.Is(err, connector.ErrFenced) || errors.Is(err, connector.ErrRejected) {
				t.Errorf("Publish: %v", err)
				return
			}
			pauseFor(l.ctx, 10)
		}
	})
	t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

// await waits until more messages were confirmed, or more calls failed.
func (l *load) await(t *testing.T, confirmed, failures int) {
	t.Helper()
	l.mu.Lock()
	confirmed += l.confirmed
	failures += l.failures
	l.mu.Unlock()
	for ctx := waitContext(t); ; {
		l.mu.Lock()
		done := l.confirmed >= confirmed && l.failures >= failures
		changed := l.changed
		l.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Fatalf("confirmed %d, want %d; failures %d, want %d", l.confirmed, confirmed, l.failures, failures)
		}
	}
}

// finish ends the load, publishes what was left open, and compares the topic.
func (l *load) finish(t *testing.T, c kafka.Config, readers []string) {
	t.Helper()
	l.stop()
	rest := messages(l.source, l.confirmed+1, 20) // more than any call left open
	mustPublish(t, l.bus, rest)
	want := idsOf(messages(l.source, 1, l.confirmed+20))
	t.Logf("%d messages, %d failed calls", len(want), l.failures)
	for _, committed := range []bool{false, true} {
		got := ids(readTopic(t, readers, c.Topic, committed))
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("read committed %v: %d records, want %d (-got +want):\n%.2000s", committed, len(got), len(want), diff)
		}
	}
}

// outageLength may be set to see a long outage: KAFKATEST_OUTAGE=60s.
func outageLength(t *testing.T) time.Duration {
	s := os.Getenv("KAFKATEST_OUTAGE")
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAStoppedBrokerCostsNothingAndLogsItsBeginningItsChangesAndItsEnd(t *testing.T) {
	t.Parallel() // with the other tests that mostly wait for a broker of their own
	cluster := kafkatest.Start(t, kafkatest.Options{})
	c := configFor(cluster.Brokers())
	o := optionsFor(t, c)
	health := watch(&o)
	b := open(t, c, o)
	w := newWorker(b, o.Source)
	serve(t, b, w.handle)
	sendCommands(t, c, receipt(1))
	w.await(t, 1)
	l := startLoad(t, b, o.Source)

	for i, end := range []func(){cluster.Nodes[0].Stop, cluster.Nodes[0].Kill} {
		l.await(t, 100, 0)
		end()
		l.await(t, 0, 50)
		pauseFor(context.Background(), int(outageLength(t).Milliseconds()))
		health.await(t, connector.PartBus, connector.ReasonBusUnreachable)
		health.await(t, connector.PartCommands, connector.ReasonBusUnreachable)
		if err := cluster.Nodes[0].Start(); err != nil {
			t.Fatal(err)
		}
		sendCommands(t, c, receipt(2+i))
		w.await(t, 1)
		l.await(t, 100, 0)
	}
	l.finish(t, c, cluster.Brokers())
	for _, part := range []connector.Part{connector.PartBus, connector.PartCommands} {
		health.await(t, part, ok)
		failed := health.log.reasons(string(part) + " failed, retrying")
		t.Logf("reasons in the log for %s: %v", part, failed)
		if len(failed) < 2 || len(failed) > l.failures/2+12 {
			t.Errorf("log lines about %s in %d failed calls: got %d, want a few for each outage", part, l.failures, len(failed))
		}
		if got := health.log.count(string(part) + " recovered"); got < 2 {
			t.Errorf("log lines about the recovery of %s: got %d, want one for each outage", part, got)
		}
	}
}

func TestEveryFailoverUnderLoadLosesAndRepeatsNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("three brokers are too much for a short run")
	}
	cluster := kafkatest.Start(t, kafkatest.Options{Nodes: 3})
	c := configFor(cluster.Brokers())
	o := optionsFor(t, c)
	b := open(t, c, o)
	d, err := b.Durability(waitContext(t))
	if err != nil || d.Grade != connector.GradePower {
		t.Errorf("Durability of three replicas, two in sync: got %v, %v, want power", d, err)
	}
	w := newWorker(b, o.Source)
	serve(t, b, w.handle)
	l := startLoad(t, b, o.Source)
	for i := range 2 {
		l.await(t, 5000, 0)
		leader := awaitInSync(t, c, 3)
		node := cluster.Nodes[leader-1]
		node.Kill()
		l.await(t, 5000, 0)
		if now := awaitInSync(t, c, 2); now == leader {
			t.Errorf("the leader is still %d", now)
		}
		sendCommands(t, c, receipt(i))
		w.await(t, 1)
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
	}
	awaitInSync(t, c, 3)
	l.finish(t, c, cluster.Brokers())
	awaitCommitted(t, c, 2)
	if got := len(readTopic(t, cluster.Brokers(), c.ResultTopic, false)); got != 2 {
		t.Errorf("results: got %d, want 2", got)
	}
}

// awaitInSync waits until as many replicas of the message topic are in sync,
// and returns its leader.
func awaitInSync(t *testing.T, c kafka.Config, want int) int {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for ctx := waitContext(t); ; {
		res, err := kadm.NewClient(cl).ListTopics(ctx, c.Topic)
		if err == nil {
			p := res[c.Topic].Partitions[0]
			if len(p.ISR) == want && p.Leader > 0 && slices.Contains(p.ISR, p.Leader) {
				return int(p.Leader)
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("replicas in sync: want %d: %+v, %v", want, res[c.Topic], err)
		}
	}
}

func TestOfTwoConnectorsForOneDeviceTheOlderIsFenced(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		older := open(t, c, o)
		l := startTwin(t, older, o.Source)
		l.awaitConfirmed(t, 50)
		newer := open(t, c, o) // while the older publishes
		held := readTopic(t, brokers, c.Topic, false)
		select {
		case <-time.After(wait):
			t.Fatal("the older is not fenced")
		case err := <-l.ended:
			if !errors.Is(err, connector.ErrFenced) {
				t.Fatalf("the older ends with %v, want ErrFenced", err)
			}
			t.Logf("%v", err)
		}
		if got := len(readTopic(t, brokers, c.Topic, false)); got != len(held) {
			t.Errorf("the older added %d records after the newer was open", got-len(held))
		}
		if _, err := older.Publish(waitContext(t), messages(o.Source, 1, 1)); !errors.Is(err, connector.ErrFenced) {
			t.Errorf("Publish after being fenced: got %v, want ErrFenced", err)
		}
		all := messages(o.Source, 1, len(held)+50)
		mustPublish(t, newer, all)
		wantIDs(t, brokers, c.Topic, false, idsOf(all))
	})
}

// A twin publishes until it fails for good.
type twin struct {
	confirmed chan int
	ended     chan error
}

func startTwin(t *testing.T, b *kafka.Bus, source string) *twin {
	tw := &twin{confirmed: make(chan int, 1), ended: make(chan error, 1)}
	ctx := waitContext(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for next := 1; ; {
			n, err := b.Publish(ctx, messages(source, next, 3))
			next += n
			if errors.Is(err, connector.ErrFenced) || ctx.Err() != nil {
				tw.ended <- err
				return
			}
			select {
			case <-tw.confirmed:
			default:
			}
			tw.confirmed <- next - 1
		}
	})
	t.Cleanup(wg.Wait)
	return tw
}

func (tw *twin) awaitConfirmed(t *testing.T, want int) {
	t.Helper()
	for ctx := waitContext(t); ; {
		select {
		case n := <-tw.confirmed:
			if n >= want {
				return
			}
		case <-ctx.Done():
			t.Fatal("nothing is confirmed")
		}
	}
}

package kafka_test

import (
	"cmp"
	"context"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

func TestSinkContractOnKfake(t *testing.T) {
	for _, mode := range []connector.Mode{connector.ModeStructured, connector.ModeBinary} {
		t.Run(mode.String(), func(t *testing.T) {
			sinktest.Run(t, func(t *testing.T) sinktest.Harness {
				var g gate
				h := harness(t, fake(t, kfake.ListenFn(g.listen)).ListenAddrs(), mode)
				h.Outage = func(_ *testing.T, during func()) {
					g.shut()
					defer g.open()
					during()
				}
				return h
			})
		})
	}
}

// testContract runs the contract on a real broker.
func testContract(t *testing.T, brokers []string, outage func(*testing.T, func())) {
	for _, mode := range []connector.Mode{connector.ModeStructured, connector.ModeBinary} {
		t.Run(mode.String(), func(t *testing.T) {
			sinktest.Run(t, func(t *testing.T) sinktest.Harness {
				h := harness(t, brokers, mode)
				if h.Outage = outage; outage == nil {
					h.Lacks = append(h.Lacks, sinktest.Outages)
				}
				return h
			})
		})
	}
}

func TestSinkContractOnTheBrokerOfTheEnvironment(t *testing.T) {
	if os.Getenv("KAFKA_BROKERS") == "" {
		t.Skip("KAFKA_BROKERS is not set; the contract is tested on a broker of our own")
	}
	testContract(t, kafkatest.Brokers(t), nil)
}

func harness(t *testing.T, brokers []string, mode connector.Mode) sinktest.Harness {
	c := configFor(brokers)
	o := kafka.Options{Mode: mode, Source: sinktest.Message("a", 1).Source, Logger: testLogger(t)}
	b := open(t, c, o)
	s := &spaced{bus: b}
	return sinktest.Harness{
		Sink: s, Mode: mode, Binding: kafka.Binding, MaxBytes: 1_100_000,
		WantKey: func(e connector.Event) string { return e.Key },
		ReadAll: func(t *testing.T) []sinktest.Stored { return readStored(t, brokers, c) },
		Reopen: func(t *testing.T) connector.Sink {
			closeBus(t, s.bus)
			s = &spaced{bus: open(t, c, o)}
			return s
		},
		Twin:    func(t *testing.T) connector.Sink { return &spaced{bus: open(t, c, o)} },
		Lose:    func(t *testing.T) { deleteRecords(t, c) },
		Foreign: func(t *testing.T) { publishForeign(t, c) },
	}
}

// deleteRecords empties the topics of events.
func deleteRecords(t *testing.T, c kafka.Config) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	ends, err := adm.ListEndOffsets(waitContext(t), c.Topic, c.ResultTopic, c.DeadletterTopic)
	if err == nil {
		_, err = adm.DeleteRecords(waitContext(t), ends.Offsets())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// readStored reads the three topics, oldest record first.
func readStored(t *testing.T, brokers []string, c kafka.Config) []sinktest.Stored {
	t.Helper()
	var records []*kgo.Record
	for _, topic := range []string{c.Topic, c.ResultTopic, c.DeadletterTopic} {
		records = append(records, readTopic(t, brokers, topic, false)...)
	}
	slices.SortStableFunc(records, func(a, b *kgo.Record) int { return cmp.Compare(a.Timestamp.UnixMilli(), b.Timestamp.UnixMilli()) })
	var out []sinktest.Stored
	for _, r := range records {
		s := sinktest.Stored{Body: r.Value, Key: string(r.Key)}
		for _, h := range r.Headers {
			s.Headers = append(s.Headers, connector.Header{Name: h.Key, Value: string(h.Value)})
		}
		out = append(out, s)
	}
	return out
}

// spaced is a bus whose calls fall into different milliseconds, so that the
// records of several topics can be put in the order of the calls.
type spaced struct {
	bus *kafka.Bus

	mu   sync.Mutex
	last int64
}

func (s *spaced) Publish(ctx context.Context, events []connector.Event) (int, error) {
	s.mu.Lock()
	for time.Now().UnixMilli() <= s.last {
		<-time.After(100 * time.Microsecond)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.last = time.Now().UnixMilli()
	}()
	return s.bus.Publish(ctx, events)
}

func (s *spaced) Holds(ctx context.Context, events []connector.Event) (int, error) {
	return s.bus.Holds(ctx, events)
}

func (s *spaced) Read(ctx context.Context, q connector.Query, f func(connector.Stored) error) error {
	return s.bus.Read(ctx, q, f)
}

// A gate lets connections in while it is open, and ends all when it is shut.
type gate struct {
	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
}

func (g *gate) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return gateListener{l, g}, err
}

type gateListener struct {
	net.Listener
	gate *gate
}

func (l gateListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.gate.admit(c) {
			return c, nil
		}
		_ = c.Close()
	}
}

func (g *gate) admit(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	if g.conns == nil {
		g.conns = map[net.Conn]bool{}
	}
	g.conns[c] = true
	return true
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for c := range g.conns {
		_ = c.Close()
	}
	clear(g.conns)
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = false
}

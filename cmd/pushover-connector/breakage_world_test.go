package main

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A scene is the world of one breakage: the program in a process of its own, and
// everything around it.
type scene struct {
	*ackWorld
	settings []string // of the program, beside those of the world
	http     string   // where it serves
	daemon   *daemon
	device   string   // that it is
	sent     []string // ids of the messages to it

	bus     *natsProcess // the server, where that is a process of its own
	listen  string       // address of the program's own server, where it has one
	brokers []string     // the Kafka cluster, where it publishes there

	twin      *daemon // another program with the same credentials
	unplugged string  // address at which the service is not there yet
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{ackWorld: newServiceWorld(t), device: ackDevice, http: mustFreeAddress(t)}
	s.settings = []string{"HTTP_ADDR=" + s.http, "DATA_DIR=" + filepath.Join(s.dir, "data"), "LOG_FORMAT=json"}
	return s
}

func mustFreeAddress(t testing.TB) string {
	t.Helper()
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// toNATS has the program publish to a NATS server in a process of its own.
func (s *scene) toNATS() {
	s.t.Helper()
	s.bus = &natsProcess{t: s.t, address: mustFreeAddress(s.t), store: filepath.Join(s.dir, "nats")}
	s.bus.start()
	s.connect("nats://" + s.bus.address)
	s.settings = append(s.settings, "NATS_URL=nats://"+s.bus.address)
}

// toEmbedded has it publish to its own NATS server.
func (s *scene) toEmbedded() {
	s.t.Helper()
	s.listen = mustFreeAddress(s.t)
	s.settings = append(s.settings, "NATS_LISTEN="+s.listen)
}

// toKafka has it publish to a Kafka cluster.
func (s *scene) toKafka() {
	s.t.Helper()
	s.toBrokers(fakeKafka(s.t))
}

func (s *scene) toBrokers(brokers []string) {
	s.brokers = brokers
	s.settings = append(s.settings, "SINK=kafka", "KAFKA_BROKERS="+strings.Join(s.brokers, ","))
}

func fakeKafka(t testing.TB) []string {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster.ListenAddrs()
}

func (s *scene) launch() { s.daemon = s.start("", s.settings...) }

// send has the service queue a message for the program's device.
func (s *scene) send() {
	s.t.Helper()
	for _, sent := range s.sim.SendN(1, pushovertest.Outgoing{Device: s.device, Message: strings.Repeat("x", 10_000)}) {
		s.sent = append(s.sent, sent.IDs...)
	}
}

// ready reports nil when the program says that it is ready and nothing waits at
// the service.
func (s *scene) ready() error {
	code, body, err := s.get("/readyz")
	switch {
	case err != nil:
		return err
	case code != http.StatusOK:
		return fmt.Errorf("/readyz answers %d: %s", code, body)
	case s.sim.Waiting(s.device) > 0:
		return fmt.Errorf("%d messages wait at the service", s.sim.Waiting(s.device))
	}
	return nil
}

// messages returns the events of messages on the bus, in its order.
func (s *scene) messages() []ackEvent {
	s.t.Helper()
	if s.brokers != nil {
		return kafkaEvents(s.t, s.brokers, "pushover.messages")
	}
	if s.nc == nil {
		s.connect("nats://" + s.listen)
	}
	return s.stored("pushover.messages.>")
}

// arrived returns the ids of the messages on the bus.
func (s *scene) arrived() []string {
	s.t.Helper()
	var ids []string
	for _, e := range s.messages() {
		ids = append(ids, e.ID)
	}
	return ids
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// await polls until cond returns nil. A test that waits for more than the limit
// fails.
func (s *scene) await(what string, limit time.Duration, cond func() error) {
	s.t.Helper()
	began := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return
		}
		if took := time.Since(began); took > limit {
			s.t.Fatalf("after %v, %s: %v", took.Round(time.Millisecond), what, err)
		}
		<-tick.C
	}
}

// recovered reports nil when the log says that the part has recovered, and the
// status command, the page and the metric say that all is well.
func (s *scene) recovered(part connector.Part) error {
	if !strings.Contains(s.daemon.log.String(), `"`+string(part)+` recovered"`) {
		return fmt.Errorf("the log does not say that %s has recovered", part)
	}
	if text, code := s.run("status"); code != 0 || !strings.HasPrefix(text, "ready\n") {
		return fmt.Errorf("status ends with code %d and says\n%s", code, text)
	}
	_, page, err := s.get("/")
	if err != nil {
		return err
	}
	if !strings.Contains(page, "<title>Ready") {
		return errors.New("the page does not say Ready")
	}
	_, metrics, err := s.get("/metrics")
	if err != nil {
		return err
	}
	for _, p := range connector.Parts() {
		if strings.Contains(metrics, fmt.Sprintf("pushover_connector_part_up{part=%q} 0", p)) {
			return fmt.Errorf("the metrics say that %s does not work", p)
		}
	}
	return nil
}

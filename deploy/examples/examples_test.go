package examples_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

const unknown = "aaaaaaaaaabbbbbbbbbbcccccccccc"

// acknowledgers are the programs that acknowledge one emergency over NATS.
var acknowledgers = []struct {
	name    string
	command func(*testing.T) []string
	said    string // with the status
	refused string
}{
	{"shell", func(t *testing.T) []string {
		if _, err := exec.LookPath("nats"); err != nil {
			t.Skip("SKIPPED: there is no nats command line on the PATH; go install github.com/nats-io/natscli/nats@latest")
		}
		return []string{"sh", "ack.sh"}
	}, `"status":"acknowledged"`, `"status":"rejected"`},
	{"Go", func(t *testing.T) []string { return []string{program(t, "ack-go")} }, "acknowledged", "rejected: Pushover: "},
	{"Python", func(t *testing.T) []string {
		return []string{python(t, "nats", "nats-py"), "ack_nats.py"}
	}, "acknowledged", "rejected Pushover: "},
}

func TestAcknowledgeOverNATS(t *testing.T) {
	for _, test := range acknowledgers {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			command := test.command(t)
			w := newWorld(t)
			url, _ := w.natsServer()
			w.connect("NATS_URL=" + url)
			receipt := w.emergency("Cellar")
			env := []string{"NATS_URL=" + url}
			if said := w.run(env, true, command[0], append(command[1:], receipt)...); !strings.Contains(said, test.said) {
				t.Errorf("it says %q, want %q", said, test.said)
			}
			w.wantAcknowledged(receipt)
			if said := w.run(env, false, command[0], append(command[1:], unknown)...); !strings.Contains(said, test.refused) {
				t.Errorf("of an unknown receipt it says %q, want %q", said, test.refused)
			}
		})
	}
}

func TestAcknowledgeOverKafkaInPython(t *testing.T) {
	interpreter := python(t, "kafka", "kafka-python")
	t.Parallel()
	for name, start := range map[string]func(*testing.T) []string{
		"kfake": func(t *testing.T) []string {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cluster.Close)
			return cluster.ListenAddrs()
		},
		"kafka": func(t *testing.T) []string { return kafkatest.Start(t, kafkatest.Options{}).Brokers() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			brokers := strings.Join(start(t), ",")
			w := newWorld(t)
			w.connect("SINK=kafka", "KAFKA_BROKERS="+brokers)
			receipt := w.emergency("Cellar")
			env := []string{"KAFKA_BROKERS=" + brokers}
			if said := w.run(env, true, interpreter, "ack_kafka.py", receipt); strings.TrimSpace(said) != "acknowledged" {
				t.Errorf("it says %q, want acknowledged", said)
			}
			w.wantAcknowledged(receipt)
			if said := w.run(env, false, interpreter, "ack_kafka.py", unknown); !strings.HasPrefix(said, "rejected Pushover: ") {
				t.Errorf("of an unknown receipt it says %q, want rejected with Pushover's words", said)
			}
		})
	}
}

// A consumer acknowledges what its rule matches and nothing else, also what
// arrived while it was down.
func TestAcknowledgeAClassOfAlerts(t *testing.T) {
	for name, command := range map[string]func(*testing.T) []string{
		"Go": func(t *testing.T) []string {
			return []string{program(t, "autoack-go"), "-app", "Backup", "-title", "^retry [0-9]+ failed"}
		},
		"Python": func(t *testing.T) []string {
			return []string{python(t, "nats", "nats-py"), "autoack_nats.py", "Backup", "^retry [0-9]+ failed"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := command(t)
			w := newWorld(t)
			url, js := w.natsServer()
			w.connect("NATS_URL=" + url)
			send := func(app, title string) string {
				receipt := w.sim.Send(pushovertest.Outgoing{App: app, Title: title, Message: "see the log", Priority: 2}).Receipt
				w.await("the emergency to be on the bus", func(s pushovertest.State) bool { return len(s.Device(device).Queue) == 0 })
				return receipt
			}
			before := send("Backup", "retry 1 failed")
			other := []string{send("Cellar", "retry 1 failed"), send("Backup", "disk on fire")}
			w.background([]string{"NATS_URL=" + url}, args[0], args[1:]...)
			after := send("Backup", "retry 2 failed")
			w.await("the matching emergencies to be acknowledged", func(s pushovertest.State) bool {
				return s.Receipt(before).Acknowledged && s.Receipt(after).Acknowledged
			})
			wantConsumed(t, w, js)
			for receipt, want := range map[string]string{before: device, after: device, other[0]: "", other[1]: ""} {
				if state, _ := w.sim.Receipt(receipt); state.AcknowledgedByDevice != want {
					t.Errorf("emergency %s was acknowledged by %q, want %q", receipt, state.AcknowledgedByDevice, want)
				}
			}
		})
	}
}

// wantConsumed waits until the consumer of the example has settled every event,
// so that none comes again at its next start, and has published two commands.
func wantConsumed(t *testing.T, w *world, js jetstream.JetStream) {
	t.Helper()
	stream, err := js.Stream(w.within(), "PUSHOVER_CONTROL")
	if err != nil {
		t.Fatal(err)
	}
	settled := func() bool {
		consumer, err := js.Consumer(w.within(), "PUSHOVER", "autoack")
		if err != nil {
			t.Fatal(err)
		}
		info := consumer.CachedInfo()
		return info.NumPending == 0 && info.NumAckPending == 0
	}
	w.eventually("all events to be settled", settled)
	info, err := stream.Info(w.within())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != 2 {
		t.Errorf("%d commands were published, want 2", info.State.Msgs)
	}
}

package examples_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

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
		"kafka": func(t *testing.T) []string { return kafkatest.Brokers(t) },
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

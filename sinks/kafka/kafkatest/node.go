package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

// startTimeout is how long a node may take until it serves.
const startTimeout = 90 * time.Second

// supervise runs a command and passes signals on that it reads from its input.
// When the input ends, because whoever wrote to it is gone, or a signal goes to
// the whole process group, the command is killed and its directory removed.
const supervise = `
dir=$1; shift
trap : TERM INT HUP
"$@" </dev/null & pid=$!
while read -r sig; do
	kill -"$sig" $pid
	case $sig in TERM|KILL) wait $pid; exit ;; esac
done
kill -KILL $pid
wait $pid
rm -rf "$dir"
`

// A Node is one broker of a [Cluster].
type Node struct {
	id      int
	cluster *Cluster
	libs    string
	dir     string
	ports   map[string]int

	cmd   *exec.Cmd // nil = not running
	input io.WriteCloser
}

func (n *Node) addr(listener string) string {
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(n.ports[listener]))
}

// Addr is the node's plain address.
func (n *Node) Addr() string { return n.addr(plain) }

// ID is the node's id in metadata, from 1.
func (n *Node) ID() int { return n.id }

func (n *Node) logFile() string    { return filepath.Join(n.dir, "log") }
func (n *Node) configFile() string { return filepath.Join(n.dir, "server.properties") }

// java is the command line of a class of the broker's. The machine is told to
// start quickly and stay small rather than to run fast.
func (n *Node) java(class string, args ...string) []string {
	return append([]string{
		"java", "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Djava.awt.headless=true",
		"-cp", filepath.Join(n.libs, "*"), class,
	}, args...)
}

func (n *Node) format(clusterID, properties string, scram map[string]string) error {
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(n.configFile(), []byte(properties), 0o600); err != nil {
		return err
	}
	// An id may begin with a dash, so it must not stand as an argument of its own.
	args := []string{"format", "--cluster-id=" + clusterID, "--config", n.configFile()}
	for user, password := range scram {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, user, password))
		}
	}
	line := n.java("kafka.tools.StorageTool", args...)
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("format storage: %w: %s", err, out)
	}
	return nil
}

// launch starts the node without waiting for it.
func (n *Node) launch() error {
	log, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command("sh", append([]string{"-c", supervise, "sh", n.cluster.dir}, n.java("kafka.Kafka", n.configFile())...)...)
	cmd.Stdout, cmd.Stderr = log, log // a file, so that no goroutine copies
	if n.input, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	n.cmd = cmd
	return nil
}

// Start starts a stopped node on its old ports and data, and waits until it
// serves.
func (n *Node) Start() error {
	if err := n.launch(); err != nil {
		return err
	}
	return n.await(0)
}

// Stop shuts the node down in good order. A stopped node stays stopped.
func (n *Node) Stop() { n.end("TERM") }

// Kill ends the node at once, as a power cut of its process.
func (n *Node) Kill() { n.end("KILL") }

func (n *Node) end(signal string) {
	if n.cmd == nil {
		return
	}
	_, _ = fmt.Fprintln(n.input, signal)
	_ = n.input.Close()
	_ = n.cmd.Wait() // the supervisor has waited for the broker
	n.cmd, n.input = nil, nil
}

// Signal sends the node a signal by name, such as STOP or CONT.
func (n *Node) Signal(name string) error {
	if n.cmd == nil {
		return errors.New("node is stopped")
	}
	_, err := fmt.Fprintln(n.input, name)
	return err
}

// await waits until the node answers, knows of brokers many brokers, and there
// is a controller, so that topics can be created.
func (n *Node) await(brokers int) error {
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(n.Addr()), Transport: transport}
	var err error
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); {
		if err = n.probe(client, brokers); err == nil {
			return nil
		}
		if log, lerr := os.ReadFile(n.logFile()); lerr == nil && bytes.Contains(log, []byte("Address already in use")) {
			return fmt.Errorf("node %d: %w", n.id, errPortTaken)
		}
		transport.CloseIdleConnections()
		<-time.After(50 * time.Millisecond)
	}
	return fmt.Errorf("node %d does not serve: %w", n.id, err)
}

func (n *Node) probe(client *kafka.Client, brokers int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	res, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{"none"}})
	if err != nil {
		return err
	}
	if len(res.Brokers) < brokers {
		return fmt.Errorf("%d of %d brokers are there", len(res.Brokers), brokers)
	}
	// Creating an invalid topic reaches the controller and changes nothing.
	_, err = client.CreateTopics(ctx, &kafka.CreateTopicsRequest{
		ValidateOnly: true, Topics: []kafka.TopicConfig{{Topic: "probe", NumPartitions: 1, ReplicationFactor: -1}},
	})
	return err
}

package kafkatest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

// childEnv makes the test binary start a broker and panic.
const childEnv = "KAFKATEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		c, err := New(Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		fmt.Println(c.Brokers()[0])
		fmt.Println(c.dir)
		panic("as a failing test binary may")
	}
	os.Exit(Main(m))
}

func TestASharedBrokerServes(t *testing.T) {
	client := &kafka.Client{Addr: kafka.TCP(Brokers(t)...), Transport: &kafka.Transport{}}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name := fmt.Sprintf("serves-%d", time.Now().UnixNano())
	res, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: name, NumPartitions: 1, ReplicationFactor: -1}}})
	if err != nil || res.Errors[name] != nil {
		t.Fatal(err, res)
	}
	again := Brokers(t)
	if again[0] != Brokers(t)[0] {
		t.Error("two tests of one binary have different brokers")
	}
}

func TestABrokerEndsWithABinaryThatPanics(t *testing.T) {
	if _, err := jars(); err != nil {
		unavailable(t, err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	if err := cmd.Wait(); err == nil || len(said) < 2 {
		t.Fatalf("child: %v, said %q; want a panic after two lines", err, said)
	}
	addr, dir := said[0], said[1]
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := net.Dial("tcp", addr)
		_, serr := os.Stat(dir)
		if err != nil && os.IsNotExist(serr) {
			return
		}
		if err == nil {
			_ = conn.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the panic the broker listens: %v; its directory is there: %v", err == nil, serr == nil)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func TestANodeKeepsItsDataOverStopAndKill(t *testing.T) {
	c := Start(t, Options{})
	node := c.Nodes[0]
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(node.Addr()), Transport: transport}
	res, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: "kept", NumPartitions: 3, ReplicationFactor: -1}}})
	if err != nil || res.Errors["kept"] != nil {
		t.Fatal(err, res)
	}
	for name, end := range map[string]func(){"stop": node.Stop, "kill": node.Kill} {
		end()
		if conn, err := net.Dial("tcp", node.Addr()); err == nil {
			_ = conn.Close()
			t.Errorf("after %s the node listens", name)
		}
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
		transport.CloseIdleConnections()
		meta, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{"kept"}})
		if err != nil || len(meta.Topics[0].Partitions) != 3 {
			t.Errorf("after %s: %+v, %v", name, meta, err)
		}
	}
}

func TestNoPortIsDrawnTwice(t *testing.T) {
	seen := map[int]bool{}
	for range 20 {
		ports, err := freePorts(5)
		if err != nil || len(ports) != 5 {
			t.Fatalf("got %v, %v, want five ports", ports, err)
		}
		for _, p := range ports {
			if seen[p] {
				t.Errorf("port %d was drawn before", p)
			}
			seen[p] = true
		}
	}
}

func TestATakenPortIsToldFromOtherFailures(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a broker")
	}
	libs, err := jars()
	if err != nil {
		unavailable(t, err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	_, err = startOnce(Options{Properties: map[string]string{
		"listeners":                fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d", taken.Addr(), port),
		"advertised.listeners":     fmt.Sprintf("PLAINTEXT://%s", taken.Addr()),
		"controller.quorum.voters": fmt.Sprintf("1@127.0.0.1:%d", port),
	}}, libs)
	if !errors.Is(err, errPortTaken) {
		t.Errorf("got %v, want errPortTaken", err)
	}
}

package kafkatest

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Options say how a cluster differs from one node that speaks plain text.
type Options struct {
	// Nodes is the number of nodes; 0 means 1. Each is broker and controller.
	Nodes int

	// Listeners are for clients, beside the plain one named PLAINTEXT that every
	// node has.
	Listeners []Listener

	// Properties are further settings of the broker.
	Properties map[string]string

	// ScramUsers maps users to passwords, for both SCRAM mechanisms.
	ScramUsers map[string]string
}

// A Listener is one more way into a node.
type Listener struct {
	Name     string // upper-case letters
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL

	// Advertise, unless empty, is the host:port that the first node tells clients
	// to use for this listener, such as that of a proxy in front of it.
	Advertise string
}

// plain is the listener that every node has.
const plain = "PLAINTEXT"

// A Cluster is a running Kafka. Its methods are not safe for concurrent use with
// each other, except [Cluster.Addr] and [Cluster.Brokers].
type Cluster struct {
	Nodes []*Node
	dir   string
}

// Start starts a cluster that ends with the test, and waits until it serves.
// When the test fails the end of its logs is shown. Without a way to have a
// cluster the test is skipped.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c, err := New(o)
	if err != nil {
		unavailable(t, err)
	}
	t.Cleanup(func() {
		c.showLogs(t)
		c.Close()
	})
	return c
}

// New starts a cluster for a program that is not a test, which must close it, and
// waits until it serves. Between drawing a port and a node's listening on it
// another process may take the port: then it starts once more, with other ports.
func New(o Options) (*Cluster, error) {
	libs, err := jars()
	if err != nil {
		return nil, err
	}
	c, err := startOnce(o, libs)
	if errors.Is(err, errPortTaken) {
		c, err = startOnce(o, libs)
	}
	return c, err
}

var errPortTaken = errors.New("another process took a port")

func startOnce(o Options, libs string) (_ *Cluster, err error) {
	dir, err := os.MkdirTemp("", "kafkatest-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, c.logs())
			c.Close()
		}
	}()
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	o.Listeners = append([]Listener{{Name: plain, Protocol: "PLAINTEXT"}}, o.Listeners...)
	names := append(slices.Clone(o.Listeners), Listener{Name: "CONTROLLER"})
	ports, err := freePorts(o.Nodes * len(names))
	if err != nil {
		return nil, err
	}
	for id := 1; id <= o.Nodes; id++ {
		n := &Node{id: id, cluster: c, libs: libs, dir: filepath.Join(dir, fmt.Sprint(id)), ports: map[string]int{}}
		for _, l := range names {
			n.ports[l.Name], ports = ports[0], ports[1:]
		}
		c.Nodes = append(c.Nodes, n)
	}
	clusterID, err := newID()
	if err != nil {
		return nil, err
	}
	for _, n := range c.Nodes {
		if err := n.format(clusterID, c.properties(n, o), o.ScramUsers); err != nil {
			return nil, err
		}
	}
	for _, n := range c.Nodes {
		if err := n.launch(); err != nil {
			return nil, err
		}
	}
	for _, n := range c.Nodes {
		if err := n.await(o.Nodes); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// properties writes a node's configuration: small, quick to start, and with
// the bookkeeping topics as replicated as the cluster allows.
func (c *Cluster) properties(n *Node, o Options) string {
	var voters, listeners, advertised, protocols []string
	for _, v := range c.Nodes {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", v.id, v.ports["CONTROLLER"]))
	}
	for _, l := range o.Listeners {
		addr := n.addr(l.Name)
		listeners = append(listeners, l.Name+"://"+addr)
		if l.Advertise != "" && n.id == 1 {
			addr = l.Advertise
		}
		advertised = append(advertised, l.Name+"://"+addr)
		protocols = append(protocols, l.Name+":"+l.Protocol)
	}
	listeners = append(listeners, "CONTROLLER://"+n.addr("CONTROLLER"))
	protocols = append(protocols, "CONTROLLER:PLAINTEXT")

	replicas := fmt.Sprint(min(3, o.Nodes))
	inSync := fmt.Sprint(min(2, o.Nodes))
	p := map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          fmt.Sprint(n.id),
		"controller.quorum.voters":                         strings.Join(voters, ","),
		"listeners":                                        strings.Join(listeners, ","),
		"advertised.listeners":                             strings.Join(advertised, ","),
		"listener.security.protocol.map":                   strings.Join(protocols, ","),
		"inter.broker.listener.name":                       plain,
		"controller.listener.names":                        "CONTROLLER",
		"log.dirs":                                         filepath.Join(n.dir, "data"),
		"auto.create.topics.enable":                        "false",
		"default.replication.factor":                       replicas,
		"min.insync.replicas":                              inSync,
		"offsets.topic.num.partitions":                     "1",
		"offsets.topic.replication.factor":                 replicas,
		"transaction.state.log.num.partitions":             "1",
		"transaction.state.log.replication.factor":         replicas,
		"transaction.state.log.min.isr":                    inSync,
		"share.coordinator.state.topic.num.partitions":     "1",
		"share.coordinator.state.topic.replication.factor": replicas,
		"share.coordinator.state.topic.min.isr":            inSync,
		"group.initial.rebalance.delay.ms":                 "0",
		"num.network.threads":                              "2",
		"num.io.threads":                                   "2",
		"log.cleaner.dedupe.buffer.size":                   "4194304",
		"broker.session.timeout.ms":                        "3000",
		"broker.heartbeat.interval.ms":                     "500",
	}
	maps.Copy(p, o.Properties)
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%s\n", k, p[k])
	}
	return b.String()
}

// Brokers returns the nodes' plain addresses.
func (c *Cluster) Brokers() []string {
	var out []string
	for _, n := range c.Nodes {
		out = append(out, n.addr(plain))
	}
	return out
}

// Addr is the first node's address of a listener.
func (c *Cluster) Addr(listener string) string { return c.Nodes[0].addr(listener) }

// Close kills the nodes and removes what they have written.
func (c *Cluster) Close() {
	for _, n := range c.Nodes {
		n.Kill()
	}
	_ = os.RemoveAll(c.dir)
}

func (c *Cluster) showLogs(t testing.TB) {
	if t.Failed() {
		t.Logf("end of the brokers' logs:\n%s", c.logs())
	}
}

func (c *Cluster) logs() string {
	const most = 8 << 10
	var b strings.Builder
	for _, n := range c.Nodes {
		text, err := os.ReadFile(n.logFile())
		if err != nil {
			continue
		}
		text = text[max(0, len(text)-most):]
		fmt.Fprintf(&b, "--- node %d\n%s\n", n.id, text)
	}
	return b.String()
}

// newID makes a cluster id: 16 bytes in URL-safe base64.
func newID() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

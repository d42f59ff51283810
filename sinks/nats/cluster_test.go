package nats_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	upstream "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

// clusterOptions are those of three servers that find each other.
func clusterOptions(t testing.TB) (options [3]*natsserver.Options) {
	t.Helper()
	var routes []*url.URL
	for i := range options {
		o := &natsserver.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: natsserver.RANDOM_PORT,
			JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		}
		addr := freeAddr(t)
		o.Cluster.Name, o.Cluster.Host = "c", "127.0.0.1"
		if _, err := fmt.Sscan(addr[strings.LastIndexByte(addr, ':')+1:], &o.Cluster.Port); err != nil {
			t.Fatal(err)
		}
		routes = append(routes, &url.URL{Scheme: "nats", Host: addr})
		options[i] = o
	}
	for _, o := range options {
		o.Routes = routes
	}
	return options
}

// startCluster runs three servers with a replicated stream.
func startCluster(t *testing.T) (servers []*natsserver.Server, js jetstream.JetStream) {
	t.Helper()
	for _, o := range clusterOptions(t) {
		servers = append(servers, runServer(t, o))
	}
	_, js = client(t, servers[0].ClientURL())
	eventually(t, "the cluster makes a stream", func() bool {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
			Name: "PUSHOVER", Subjects: []string{"pushover.messages.>", "pushover.results.>", "pushover.deadletter"},
			Replicas: 3, Duplicates: nats.Retention,
		})
		return err == nil
	})
	return servers, js
}

func TestClusterWithoutALeaderIsWaitedForAtStart(t *testing.T) {
	waitedFor(t, clusterOptions(t))
}

// The server that is there has no JetStream, and says so, while those that have
// it restart.
func TestClusterWhoseServersWithJetStreamRestartIsWaitedForAtStart(t *testing.T) {
	options := clusterOptions(t)
	options[0].JetStream = false
	waitedFor(t, options)
}

func TestClusterWithoutJetStreamIsNamedWhileItIsWaitedFor(t *testing.T) {
	options := clusterOptions(t)
	options[0].JetStream = false
	srv := runServer(t, options[0])
	book := &logBook{}
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error, 1)
	go func() {
		_, err := nats.Open(ctx, nats.Config{URL: srv.ClientURL()}, nats.Options{Health: book.health()})
		opened <- err
	}()
	eventually(t, "it is reported", func() bool {
		return book.count("bus failed, retrying") == 1 && book.count("has no JetStream") == 1 && book.count("NATS_URL") == 1
	})
	cancel()
	wantFailure(t, <-opened, connector.ReasonBusMisconfigured, "has no JetStream", "NATS_URL")
}

// waitedFor checks that a bus opens that found only the first server at first.
func waitedFor(t *testing.T, options [3]*natsserver.Options) {
	t.Helper()
	first := runServer(t, options[0])
	book := &logBook{}
	opened := make(chan error, 1)
	go func() {
		b, err := nats.Open(t.Context(), nats.Config{URL: first.ClientURL()}, nats.Options{Health: book.health()})
		if err == nil {
			closeBus(t, b)
		}
		opened <- err
	}()
	eventually(t, "it waits", func() bool { return book.count("bus failed, retrying") > 0 })
	select {
	case err := <-opened:
		t.Fatalf("opened without a leader: %v", err)
	default:
	}
	for _, o := range options[1:] {
		runServer(t, o)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestReplicatedStreamKeepsOrderAndOneOfEachThroughAChangeOfLeader(t *testing.T) {
	servers, js := startCluster(t)
	const n = 600
	var group sync.WaitGroup
	ctx := within(t)
	for seed := range uint64(2) {
		b := open(t, nats.Config{URL: servers[seed+1].ClientURL()}, nats.Options{})
		group.Go(func() { hammer(ctx, t, b, sinktest.Messages("a", 1, n), seed) })
	}
	nc, _ := client(t, servers[0].ClientURL())
	for i := range 3 {
		eventually(t, "progress", func() bool { return streamLength(js) >= uint64(100*(i+1)) })
		eventually(t, "the leader steps down", func() bool { return stepDown(nc) })
	}
	group.Wait()
	eventually(t, "the new leader has it all", func() bool { return streamLength(js) >= n })
	wantIDs(t, readAll(t, js), "a", 1, n)
}

// stepDown asks the stream's leader to give up; false means ask again, as between
// two leaders nobody answers, or the answer is that there is none.
func stepDown(nc *upstream.Conn) bool {
	m, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.PUSHOVER", nil, 5*time.Second)
	if err != nil {
		return false
	}
	var answer struct {
		Success bool `json:"success"`
	}
	return json.Unmarshal(m.Data, &answer) == nil && answer.Success
}

func TestReplicatedStreamIsGradedToSurviveAPowerCut(t *testing.T) {
	servers, _ := startCluster(t)
	b := open(t, nats.Config{URL: servers[0].ClientURL()}, nats.Options{})
	d, err := b.Durability(t.Context())
	if err != nil || d.Grade != connector.GradePower || len(d.Warnings) > 0 {
		t.Errorf("got %+v, %v, want grade power and no warning", d, err)
	}
}

package nats_test

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

// startCluster runs three servers with a replicated stream.
func startCluster(t *testing.T) (servers []*natsserver.Server, js jetstream.JetStream) {
	t.Helper()
	var routes []*url.URL
	var options []*natsserver.Options
	for i := range 3 {
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
		options = append(options, o)
	}
	for _, o := range options {
		o.Routes = routes
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
		if _, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.PUSHOVER", nil, patience); err != nil {
			t.Fatal(err)
		}
	}
	group.Wait()
	eventually(t, "the stream can be read", func() bool { return streamLength(js) > 0 })
	wantIDs(t, readAll(t, js), "a", 1, n)
}

func TestReplicatedStreamIsGradedToSurviveAPowerCut(t *testing.T) {
	servers, _ := startCluster(t)
	b := open(t, nats.Config{URL: servers[0].ClientURL()}, nats.Options{})
	d, err := b.Durability(t.Context())
	if err != nil || d.Grade != connector.GradePower || len(d.Warnings) > 0 {
		t.Errorf("got %+v, %v, want grade power and no warning", d, err)
	}
}

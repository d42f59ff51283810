package kafka_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// proxied is a broker that clients reach through toxiproxy only.
type proxied struct {
	cluster *kafkatest.Cluster
	addr    string // of the proxy

	mu    sync.Mutex
	proxy *toxiproxy.Proxy
}

const proxiedListener = "PROXIED"

func startProxied(t *testing.T, o kafkatest.Options) *proxied {
	t.Helper()
	port, err := kafkatest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	p := &proxied{addr: fmt.Sprintf("127.0.0.1:%d", port)}
	o.Listeners = append(o.Listeners, kafkatest.Listener{Name: proxiedListener, Protocol: "PLAINTEXT", Advertise: p.addr})
	p.cluster = kafkatest.Start(t, o)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	p.proxy = toxiproxy.NewProxy(server, "kafka", p.addr, p.cluster.Addr(proxiedListener))
	p.restore(t)
	t.Cleanup(func() { p.cut(t) })
	return p
}

// cut ends all connections and refuses new ones.
func (p *proxied) cut(testing.TB) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proxy.Stop()
}

func (p *proxied) restore(t testing.TB) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.proxy.Start(); err != nil {
		t.Errorf("start the proxy: %v", err)
	}
}

// poison adds a toxic, in the proxy's own JSON, and returns how to remove it.
func (p *proxied) poison(t testing.TB, toxic string) {
	t.Helper()
	if _, err := p.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		t.Errorf("add toxic: %v", err)
	}
}

// cure removes the toxic.
func (p *proxied) cure(testing.TB) {
	p.proxy.Toxics.ResetToxics(context.Background())
}

// endConnections makes clients connect anew, and so meet the toxic.
func (p *proxied) endConnections(t testing.TB) {
	p.cut(t)
	p.restore(t)
}

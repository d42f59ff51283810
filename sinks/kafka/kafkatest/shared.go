package kafkatest

import (
	"os"
	"strings"
	"sync"
	"testing"
)

// shared is the broker that the tests of one binary have in common.
var shared struct {
	sync.Mutex
	cluster *Cluster
	err     error
}

// Brokers returns the addresses of a real Kafka without security: the one in
// KAFKA_BROKERS, else one that is started at the first call and lives as long as
// the test binary. Tests share it, so each uses topics, groups and event sources
// of its own. Without a way to have one the test is skipped.
func Brokers(t testing.TB) []string {
	t.Helper()
	if env := os.Getenv("KAFKA_BROKERS"); env != "" {
		return strings.Split(env, ",")
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil && shared.err == nil {
		shared.cluster, shared.err = New(Options{})
	}
	if shared.err != nil {
		unavailable(t, shared.err)
	}
	c := shared.cluster
	t.Cleanup(func() { c.showLogs(t) })
	return c.Brokers()
}

// Main runs the tests and stops the shared broker: call it from TestMain. A
// binary that ends without it leaves no broker behind either.
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster != nil {
		shared.cluster.Close()
	}
	return code
}

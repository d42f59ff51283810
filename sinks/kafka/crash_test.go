package kafka_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// The toxics with which connections are cut around a produce request. All hit
// every connection made while they last.
var cuts = []struct{ name, toxic string }{
	{"before the request", `{"name":"cut","type":"limit_data","stream":"upstream","attributes":{"bytes":0}}`},
	{"during the handshake", `{"name":"cut","type":"limit_data","stream":"upstream","attributes":{"bytes":30}}`},
	{"during the request", `{"name":"cut","type":"limit_data","stream":"upstream","attributes":{"bytes":900}}`},
	{"after the request, before the response", `{"name":"cut","type":"timeout","stream":"downstream","attributes":{"timeout":1}}`},
	{"during the response", `{"name":"cut","type":"limit_data","stream":"downstream","attributes":{"bytes":9}}`},
	{"after some responses", `{"name":"cut","type":"limit_data","stream":"downstream","attributes":{"bytes":900}}`},
}

func TestRealBrokerBehindAProxy(t *testing.T) {
	p := startProxied(t, kafkatest.Options{})
	t.Run("keeps the sink contract", func(t *testing.T) {
		testContract(t, []string{p.addr}, func(t *testing.T, during func()) {
			p.cut(t)
			defer p.restore(t)
			during()
		})
	})
	t.Run("cut off around the produce response nothing is lost or repeated", func(t *testing.T) { testCutOff(t, p) })
	t.Run("killed and cut off at any moment nothing is lost or repeated", func(t *testing.T) { testKilled(t, p) })
}

func testKilled(t *testing.T, p *proxied) {
	total, kills := 10_000, 100
	if testing.Short() {
		total, kills = 1_000, 10
	}
	direct := p.cluster.Brokers()

	c := configFor([]string{p.addr})
	dir := t.TempDir()
	job := child{
		Config: c, Source: optionsFor(t, c).Source, Total: total,
		Arrived: filepath.Join(dir, "arrived"), Cleared: filepath.Join(dir, "cleared"), Opened: filepath.Join(dir, "opened"),
	}
	for _, f := range []string{job.Arrived, job.Cleared} {
		if err := writeNumber(f, 0); err != nil {
			t.Fatal(err)
		}
	}

	// Cut connections all the while.
	ctx, stop := context.WithCancel(context.Background())
	var cutter sync.WaitGroup
	cutOffs := 0
	cutter.Go(func() {
		for ctx.Err() == nil {
			pick := cuts[rand.IntN(len(cuts))]
			p.poison(t, pick.toxic)
			pauseFor(ctx, 5+rand.IntN(40))
			p.cure(t)
			if rand.IntN(3) == 0 {
				p.cut(t)
				pauseFor(ctx, rand.IntN(20))
				p.restore(t)
			}
			cutOffs++
			pauseFor(ctx, 20+rand.IntN(200))
		}
	})
	defer func() { stop(); cutter.Wait() }()

	killed := 0
	for ; killed < kills; killed++ {
		if err := writeNumber(job.Arrived, (total-1)*(killed+1)/kills); err != nil {
			t.Fatal(err)
		}
		if !job.runAndKill(t, time.Duration(rand.IntN(150))*time.Millisecond) {
			break
		}
	}
	if killed < kills {
		t.Fatalf("the publisher ended by itself after %d kills", killed)
	}
	stop()
	cutter.Wait()
	if err := writeNumber(job.Arrived, total); err != nil {
		t.Fatal(err)
	}
	if out, err := job.command(t).CombinedOutput(); err != nil {
		t.Fatalf("last run: %v\n%s", err, out)
	}
	t.Logf("%d kills, %d cuts, %d messages", killed, cutOffs, total)
	for _, committed := range []bool{false, true} {
		got := ids(readTopic(t, direct, c.Topic, committed))
		if diff := cmp.Diff(got, idsOf(messages(job.Source, 1, total))); diff != "" {
			t.Errorf("read committed %v: %d records, want %d (-got +want):\n%.2000s", committed, len(got), total, diff)
		}
	}
}

func (c child) command(t *testing.T) *exec.Cmd {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	return cmd
}

// runAndKill starts the child and kills it some time after its bus is open, or,
// one time in four, after its start, whatever it is doing then. It returns false
// if the child ended before.
func (c child) runAndKill(t *testing.T, after time.Duration) bool {
	t.Helper()
	_ = os.Remove(c.Opened)
	cmd := c.command(t)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if rand.IntN(4) > 0 {
		for deadline := time.Now().Add(wait); time.Now().Before(deadline); <-time.After(time.Millisecond) {
			if _, err := os.Stat(c.Opened); err == nil {
				break
			}
		}
	}
	<-time.After(after)
	_ = cmd.Process.Kill()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
		return true
	}
	t.Logf("child: %v\n%s", err, out.String())
	return false
}

func pauseFor(ctx context.Context, ms int) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(ms) * time.Millisecond):
	}
}

func testCutOff(t *testing.T, p *proxied) {
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	for _, cut := range cuts {
		t.Run(cut.name, func(t *testing.T) {
			c := configFor([]string{p.addr})
			o := optionsFor(t, c)
			b := open(t, c, o)
			next, failures := 1, 0
			publish := func(n int) {
				events := messages(o.Source, next, n)
				m, err := b.Publish(waitContext(t), events)
				if err != nil {
					failures++
				}
				next += m
			}
			for i := range rounds {
				publish(1 + i%7)
				p.poison(t, cut.toxic)
				p.endConnections(t)
				publish(1 + i%5)
				publish(2)
				p.cure(t)
				for want := next + 7; next < want; { // more than any call above left open
					publish(want - next)
				}
			}
			t.Logf("%d calls failed", failures)
			if failures < rounds {
				t.Errorf("only %d calls in %d rounds failed: the cut has no effect", failures, rounds)
			}
			for _, committed := range []bool{false, true} {
				got := ids(readTopic(t, p.cluster.Brokers(), c.Topic, committed))
				if diff := cmp.Diff(got, idsOf(messages(o.Source, 1, next-1))); diff != "" {
					t.Errorf("read committed %v (-got +want):\n%.2000s", committed, diff)
				}
			}
		})
	}
}

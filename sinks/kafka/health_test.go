package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
)

// A watched health is that of a bus under test.
type watched struct {
	*connector.Health
	log *logLines
}

// watch gives the bus to be opened a health.
func watch(o *kafka.Options) watched {
	log := &logLines{}
	o.Health = connector.NewHealth(log.logger(), nil, connector.PartCommands)
	return watched{o.Health, log}
}

// part is the present account of a part.
func (w watched) part(name connector.Part) connector.PartStatus {
	for _, p := range connector.New(nil, connector.Options{Health: w.Health}).Status().Parts {
		if p.Part == name {
			return p
		}
	}
	return connector.PartStatus{}
}

// await waits until a part is ok, or fails for a reason.
func (w watched) await(t testing.TB, name connector.Part, want connector.Reason) connector.PartStatus {
	t.Helper()
	for ctx := waitContext(t); ; {
		changed := w.Changed()
		p := w.part(name)
		if p.Reason == want {
			return p
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s: got %+v, want reason %q", name, p, want)
		}
	}
}

// ok is the reason of a part that is well.
const ok connector.Reason = ""

func TestAnIdleBusKnowsOfAnOutageAndOfItsEnd(t *testing.T) {
	var g gate
	c := configFor(fake(t, kfake.ListenFn(g.listen)).ListenAddrs())
	o := optionsFor(t, c)
	health := watch(&o)
	b := open(t, c, o)
	serve(t, b, newWorker(b, o.Source).handle)
	for range 2 {
		health.await(t, connector.PartBus, ok)
		health.await(t, connector.PartCommands, ok)
		g.shut()
		for _, part := range []connector.Part{connector.PartBus, connector.PartCommands} {
			p := health.await(t, part, connector.ReasonBusUnreachable)
			if p.NextAttempt == nil || p.Since.IsZero() || p.Attempts == 0 {
				t.Errorf("%s in an outage: got %+v, want since, attempts and next attempt", part, p)
			}
		}
		g.open()
	}
	health.await(t, connector.PartBus, ok)
	health.await(t, connector.PartCommands, ok)
	closeBus(t, b)
}

func TestOpenWaitsForACoordinatorAndSaysSo(t *testing.T) {
	cluster := fake(t)
	c := configFor(cluster.ListenAddrs())
	o := optionsFor(t, c)
	health := watch(&o)
	starting := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.LeaderNotAvailable, Count: -1})
	opened := make(chan *kafka.Bus, 1)
	go func() {
		b, err := kafka.Open(waitContext(t), c, o)
		if err != nil {
			t.Errorf("Open: %v", err)
		}
		opened <- b
	}()
	if p := health.await(t, connector.PartBus, connector.ReasonBusUnreachable); p.NextAttempt == nil {
		t.Errorf("health while the topics have no leaders: got %+v, want the next attempt", p)
	}
	starting.Remove()
	if b := <-opened; b != nil {
		health.await(t, connector.PartBus, ok)
		closeBus(t, b)
	}
}

package nats_test

import (
	"context"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
)

// parts is an account of health whose parts can be asked about.
type parts struct {
	*logBook
	*connector.Health
	registry *prometheus.Registry
}

func newParts() parts {
	p := parts{logBook: &logBook{}, registry: prometheus.NewRegistry()}
	p.Health = connector.NewHealth(p.logger(), connector.NewMetrics(p.registry, "nats", "", ""), connector.PartCommands, connector.PartStore)
	return p
}

func (p parts) ok(t *testing.T, part connector.Part) bool {
	t.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "pushover_connector_part_up" && m.GetLabel()[0].GetValue() == string(part) {
				return m.GetGauge().GetValue() == 1
			}
		}
	}
	t.Fatalf("no metric for part %s", part)
	return false
}

func TestPartsAreWellOnlyWhileTheyWork(t *testing.T) {
	srv := startServer(t, nil)
	proxy := startProxy(t, srv.Addr().String())
	p := newParts()
	b := open(t, nats.Config{URL: proxy.url()}, nats.Options{Health: p.Health})
	want := func(bus, commands bool) {
		t.Helper()
		eventually(t, "the parts are reported", func() bool {
			return p.ok(t, connector.PartBus) == bus && p.ok(t, connector.PartCommands) == commands
		})
	}
	want(true, false) // commands are not received yet
	stop := serve(t, b, (&handler{}).handle)
	want(true, true)
	proxy.Stop()
	want(false, false)
	proxy.up()
	want(true, true)
	stop()
	closeBus(t, b)
	want(false, false)
	if n := p.count("reason=unexpected"); n > 0 {
		t.Errorf("%d failures without a class:\n%s", n, p)
	}
}

func TestStreamThatFitsNoMoreIsReportedWithoutAPublish(t *testing.T) {
	srv := startServer(t, nil)
	proxy := startProxy(t, srv.Addr().String())
	_, js := client(t, srv.ClientURL())
	p := newParts()
	open(t, nats.Config{URL: proxy.url()}, nats.Options{Health: p.Health})
	s, err := js.Stream(t.Context(), "PUSHOVER")
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	fits := config.Subjects
	config.Subjects = fits[:1]
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	proxy.cut()
	eventually(t, "it is reported with its remedy", func() bool {
		return p.count("reason=bus_misconfigured") > 0 && p.count("run: nats stream edit PUSHOVER --subjects") > 0
	})
	config.Subjects = fits
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bus is well again", func() bool { return p.ok(t, connector.PartBus) })
}

// The server says nothing to a user who may not ask for commands.
func TestCommandsThatCannotBeReceivedAreNotWell(t *testing.T) {
	allow := []string{"$JS.API.STREAM.>", "$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.DURABLE.>", "$JS.API.CONSUMER.INFO.>"}
	options := func(o *natsserver.Options) {
		o.Users = []*natsserver.User{{Username: "me", Password: "pw", Permissions: &natsserver.Permissions{
			Publish: &natsserver.SubjectPermission{Allow: allow},
		}}}
	}
	srv := startServer(t, options)
	p := newParts()
	b := open(t, nats.Config{URL: srv.ClientURL(), User: "me", Password: "pw"}, nats.Options{Health: p.Health})
	serve(t, b, func(context.Context, connector.Command) (connector.Result, error) { return connector.Result{}, nil })
	eventually(t, "it is reported with its remedy", func() bool {
		return p.count("commands failed, retrying") == 1 && p.count("reason=bus_auth") == 1 &&
			p.count("permit this user to publish to $JS.API.CONSUMER.MSG.NEXT.PUSHOVER_CONTROL.pushover-connector") > 0
	})
	if p.count("commands recovered") > 0 {
		t.Errorf("commands are said to be well that are not received:\n%s", p)
	}
}

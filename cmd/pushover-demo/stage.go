package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
)

const deviceName = "demo"

// A stage is everything the demonstration needs, running.
type stage struct {
	simulator  *pushovertest.Server
	health     *connector.Health
	connector  *connector.Connector
	page       string // address of the connector's status page
	bus        *nats.Bus
	subscriber *natsgo.Conn     // an ordinary NATS client, as a consumer would have
	events     chan *natsgo.Msg // what it received
	failed     chan error       // the connector, should it stop by itself

	undo []func() error // in reverse order
}

// build starts the parts, one after the other. setUp bounds the starting, life
// the running.
func build(setUp, life context.Context, logTo io.Writer) (_ *stage, err error) {
	st := &stage{events: make(chan *natsgo.Msg, 1024), failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.close())
		}
	}()
	log := slog.New(slog.NewTextHandler(logTo, nil))

	st.simulator = pushovertest.New(pushovertest.Options{KeepAlive: time.Second})
	if err := st.simulator.StartOn("127.0.0.1:0", ""); err != nil {
		return nil, fmt.Errorf("start the simulator: %w", err)
	}
	st.later(func() error { st.simulator.Close(); return nil })

	registry := prometheus.NewRegistry()
	metrics := connector.NewMetrics(registry, "nats", "demo", "")
	st.health = connector.NewHealth(log, metrics, connector.PartCommands, connector.PartStore)
	client, err := enroll(setUp, st.simulator, pushover.Options{
		Logger: log, OnRequest: metrics.Request, OnAPIState: st.health.APIState,
	})
	if err != nil {
		return nil, err
	}
	st.connector = connector.New(client, connector.Options{
		Device: deviceName, Health: st.health, Metrics: metrics, Logger: log, Version: "demo",
	})
	if err := st.servePage(setUp, life, st.connector.Handler(registry)); err != nil {
		return nil, fmt.Errorf("serve the status page: %w", err)
	}
	if err := st.openBus(setUp, life, log); err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	if err := st.subscribe(setUp); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	st.run(life)
	return st, st.awaitReady(setUp)
}

// servePage serves the connector's page on a free port.
func (st *stage) servePage(setUp, life context.Context, handler http.Handler) error {
	l, err := new(net.ListenConfig).Listen(setUp, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	st.page = "http://" + l.Addr().String() + "/"
	open, endPages := context.WithCancel(context.WithoutCancel(life))
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return open },
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // always ErrServerClosed: it ends with the stage
	}()
	st.later(func() error {
		endPages()
		err := server.Close()
		<-done
		return err
	})
	return nil
}

// openBus starts the embedded server and makes it the connector's sink.
func (st *stage) openBus(setUp, life context.Context, log *slog.Logger) error {
	dir, err := os.MkdirTemp("", "pushover-demo-")
	if err != nil {
		return err
	}
	st.later(func() error { return os.RemoveAll(dir) })
	st.bus, err = nats.Open(setUp, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: dir, Logger: log, Health: st.health})
	if err != nil {
		return err
	}
	st.later(func() error {
		closing, cancel := context.WithTimeout(context.WithoutCancel(life), 5*time.Second)
		defer cancel()
		return st.bus.Close(closing)
	})
	if err := st.connector.SetSink(st.bus); err != nil {
		return err
	}
	durability, err := st.bus.Durability(setUp)
	if err != nil {
		return err
	}
	st.health.SetSink(st.bus.URL(), durability)
	return nil
}

// subscribe connects the subscriber to messages and results.
func (st *stage) subscribe(ctx context.Context) (err error) {
	st.subscriber, err = natsgo.Connect(st.bus.URL(), natsgo.Name("demo subscriber"))
	if err != nil {
		return err
	}
	st.later(func() error { st.subscriber.Close(); return nil })
	for _, subject := range []string{"pushover.messages.>", "pushover.results.>"} {
		if _, err := st.subscriber.ChanSubscribe(subject, st.events); err != nil {
			return err
		}
	}
	return st.subscriber.FlushWithContext(ctx)
}

// run starts the connector and its control side; closing the stage ends them.
func (st *stage) run(life context.Context) {
	ctx, cancel := context.WithCancel(life)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return st.connector.Run(groupCtx) })
	group.Go(func() error { return st.bus.ServeCommands(groupCtx, st.connector.HandleCommand) })
	group.Go(func() error { return st.bus.ServeEndpoints(groupCtx, st.connector.Endpoints(), "0.0.0") })
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := group.Wait(); err != nil && ctx.Err() == nil {
			st.failed <- err
		}
	}()
	st.later(func() error { cancel(); <-done; return nil })
}

// awaitReady waits until every part works.
func (st *stage) awaitReady(ctx context.Context) error {
	for {
		changed := st.health.Changed() // before looking, so that none is missed
		status := st.connector.Status()
		if status.Ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the connector did not come up: session %s, parts %+v", status.State, status.Parts)
		case err := <-st.failed:
			return err
		case <-changed:
		}
	}
}

// enroll logs in and registers a device, as the login command does.
func enroll(ctx context.Context, sim *pushovertest.Server, o pushover.Options) (*pushover.Client, error) {
	o.APIURL, o.StreamURL, o.UserAgent = sim.APIURL(), sim.StreamURL(), "pushover-demo"
	client, err := pushover.New(o)
	if err != nil {
		return nil, err
	}
	creds, err := client.Enroll(ctx, pushover.Enrollment{
		Email: sim.Account().Email, Password: pushover.Secret(sim.Account().Password), DeviceName: deviceName,
	})
	if err != nil {
		return nil, fmt.Errorf("register the device: %w", err)
	}
	client = client.WithCredentials(creds)
	if err := client.DeleteWelcome(ctx); err != nil {
		return nil, err
	}
	return client, nil
}

func (st *stage) later(undo func() error) { st.undo = append(st.undo, undo) }

func (st *stage) close() error {
	var errs []error
	for len(st.undo) > 0 {
		last := len(st.undo) - 1
		errs = append(errs, st.undo[last]())
		st.undo = st.undo[:last]
	}
	return errors.Join(errs...)
}

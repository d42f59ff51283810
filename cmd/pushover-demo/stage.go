package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	natsgo "github.com/nats-io/nats.go"
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
	bus        *nats.Bus
	connector  *connector.Connector
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

	client, err := enroll(setUp, st.simulator, log)
	if err != nil {
		return nil, err
	}

	dir, err := os.MkdirTemp("", "pushover-demo-")
	if err != nil {
		return nil, err
	}
	st.later(func() error { return os.RemoveAll(dir) })
	st.bus, err = nats.Open(setUp, nats.Config{Listen: "127.0.0.1:0"}, nats.Options{StoreDir: dir, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	st.later(func() error {
		closing, cancel := context.WithTimeout(context.WithoutCancel(life), 5*time.Second)
		defer cancel()
		return st.bus.Close(closing)
	})

	st.subscriber, err = natsgo.Connect(st.bus.URL(), natsgo.Name("demo subscriber"))
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	st.later(func() error { st.subscriber.Close(); return nil })
	for _, subject := range []string{"pushover.messages.>", "pushover.results.>"} {
		if _, err := st.subscriber.ChanSubscribe(subject, st.events); err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
	}
	if err := st.subscriber.FlushWithContext(setUp); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}

	st.connector, err = connector.New(client, st.bus, connector.Options{
		Device: deviceName, SinkConnected: st.bus.Connected, Logger: log, Version: "demo",
	})
	if err != nil {
		return nil, err
	}
	st.run(life)
	return st, st.awaitLive(setUp)
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

// awaitLive waits until the simulator has spoken on the push stream.
func (st *stage) awaitLive(ctx context.Context) error {
	for st.connector.Status().State != connector.StateLive {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the connector did not come up: state %s", st.connector.Status().State)
		case err := <-st.failed:
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// enroll logs in and registers a device, as the login command does.
func enroll(ctx context.Context, sim *pushovertest.Server, log *slog.Logger) (*pushover.Client, error) {
	client, err := pushover.New(pushover.Options{
		APIURL: sim.APIURL(), StreamURL: sim.StreamURL(), UserAgent: "pushover-demo", Logger: log,
	})
	if err != nil {
		return nil, err
	}
	account, err := client.Login(ctx, sim.Account().Email, pushover.Secret(sim.Account().Password), "")
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	creds := pushover.Credentials{Secret: account.Secret, DeviceName: deviceName}
	if creds.DeviceID, err = client.WithCredentials(creds).RegisterDevice(ctx, deviceName); err != nil {
		return nil, fmt.Errorf("register the device: %w", err)
	}
	client = client.WithCredentials(creds)
	batch, err := client.Download(ctx)
	if err != nil {
		return nil, fmt.Errorf("download the welcome message: %w", err)
	}
	if err := client.DeleteThrough(ctx, batch.Last()); err != nil {
		return nil, fmt.Errorf("delete the welcome message: %w", err)
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

package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A ledger is a bus in memory that keeps what is published, once per event.
type ledger struct {
	mu      sync.Mutex
	keys    map[string]bool
	results []connector.Event
}

func (l *ledger) Publish(_ context.Context, events []connector.Event) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		if !l.keys[e.DedupKey()] {
			l.keys[e.DedupKey()] = true
			if e.Class == connector.ClassResult {
				l.results = append(l.results, e)
			}
		}
	}
	return len(events), nil
}

func TestCommandsOutlastAMinuteOfOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := pushovertest.New(pushovertest.Options{})
		sim.StartPipe()
		defer sim.Close()
		device := sim.AddDevice(ackDevice)
		client, err := pushover.New(pushover.Options{
			APIURL: sim.APIURL(), StreamURL: sim.StreamURL(), DialContext: sim.DialContext, UserAgent: "ackproof/1",
			Credentials: pushover.Credentials{
				Secret: pushover.Secret(device.Secret), DeviceID: pushover.DeviceID(device.ID), DeviceName: device.Name,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		log := &ledger{keys: map[string]bool{}}
		c := connector.New(client, connector.Options{})
		if err := c.SetSink(log); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if err := c.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		defer group.Wait()
		defer cancel()
		sent := sim.SendN(ackCommands, pushovertest.Outgoing{Message: "fire {n}", Priority: 2, Retry: time.Hour, Expire: 3 * time.Hour})
		err = sim.Wait(t.Context(), func(s pushovertest.State) bool {
			return len(sim.Queue(ackDevice)) == 0 && s.Device(ackDevice).Connected
		})
		if err != nil {
			t.Fatal(err)
		}

		const outage = time.Minute
		sim.Fault(pushovertest.Fault{On: "POST acknowledge", Status: http.StatusServiceUnavailable, For: outage})
		begun := time.Now()
		// The bus hands four commands out at a time and keeps what comes back for as
		// long as it is asked to.
		slots := make(chan struct{}, 4)
		var commands sync.WaitGroup
		for i, s := range sent {
			commands.Go(func() {
				cmd := connector.Command{ID: commandID("C", i), Body: []byte(s.Receipt), Time: begun}
				for {
					slots <- struct{}{}
					result, err := c.HandleCommand(ctx, cmd)
					<-slots
					if err == nil {
						if result.Status != connector.StatusAcknowledged || time.Since(begun) < outage {
							t.Errorf("command %d: %+v after %v, want acknowledged after the outage", i, result, time.Since(begun))
						}
						return
					}
					var retry *connector.RetryError
					if !errors.As(err, &retry) || retry.After < 5*time.Second {
						t.Errorf("command %d: %v, want to be asked for 5 s or more", i, err)
						return
					}
					time.Sleep(retry.After)
				}
			})
		}
		commands.Wait() // for three hours at most: then they would expire
		log.mu.Lock()
		defer log.mu.Unlock()
		causes := map[any]bool{}
		for _, e := range log.results {
			causes[e.Extensions[0].Value] = true
		}
		if len(log.results) != ackCommands || len(causes) != ackCommands {
			t.Errorf("%d results of %d commands, want %d", len(log.results), len(causes), ackCommands)
		}
		for _, s := range sent {
			if r, _ := sim.Receipt(s.Receipt); r.AcknowledgedByDevice != ackDevice || r.Calls != 1 {
				t.Errorf("receipt %s: acknowledged by %q in %d calls, want %s in one", s.Receipt, r.AcknowledgedByDevice, r.Calls, ackDevice)
			}
		}
		if n := sim.Requests("POST acknowledge"); n <= ackCommands {
			t.Errorf("%d calls for %d commands: nothing was tried during the outage", n, ackCommands)
		}
		for _, v := range sim.Violations() {
			t.Errorf("violation of %s: %s", v.Rule, v.Detail)
		}
	})
}

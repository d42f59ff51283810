package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/pushover-connector/pushover-connector/deploy/internal/process"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A group is what a fault is of. At most one of each is in force at a time.
type group string

const (
	ofConnector group = "connector"
	ofBus       group = "bus"
	ofNetwork   group = "network"
	ofService   group = "service"
	ofStream    group = "stream"
)

// A fault breaks something, waits for d, and mends it.
type fault struct {
	name  string
	group group
	do    func(ctx context.Context, w *world, d time.Duration) error
}

// faults are all that can be done to w.
func (w *world) faults() []fault {
	all := []fault{
		{"connector killed", ofConnector, func(_ context.Context, w *world, _ time.Duration) error {
			if err := w.connector.End(syscall.SIGKILL); err != nil {
				return err
			}
			return w.connector.Start()
		}},
		{"connector restarted", ofConnector, func(_ context.Context, w *world, _ time.Duration) error {
			if err := w.connector.End(syscall.SIGTERM); err != nil {
				return err
			}
			return w.connector.Start()
		}},
		{"connector frozen", ofConnector, func(ctx context.Context, w *world, d time.Duration) error { return frozen(w.connector)(ctx, w, 2*d) }},
		{"session revoked, new credentials", ofConnector, renew},
		w.service("503", pushovertest.Fault{On: pushovertest.OpAny, Status: http.StatusServiceUnavailable}),
		w.service("429", pushovertest.Fault{On: pushovertest.OpAny, Status: http.StatusTooManyRequests, RetryAfter: 2 * time.Second}),
		w.service("HTML", pushovertest.Fault{On: pushovertest.OpAny, Status: http.StatusOK, ContentType: "text/html", Body: "<html>Sorry</html>"}),
		w.service("downloads cut", pushovertest.Fault{On: pushovertest.OpDownload, Drop: pushovertest.DropHalf}),
		// A process that ends in the middle of an answer knows of no failure, and the next
		// one asks at once: so not together with what ends it.
		{"service: downloads stall", ofConnector, w.service("", pushovertest.Fault{On: pushovertest.OpDownload, Drop: pushovertest.DropStall}).do},
		w.service("a download of 100 MB", pushovertest.Fault{On: pushovertest.OpDownload, PadTo: 100 << 20, Count: 1}),
		w.service("deletions unconfirmed", pushovertest.Fault{On: pushovertest.OpDelete, Drop: pushovertest.DropAfter}),
		w.service("deletions without effect", pushovertest.Fault{On: pushovertest.OpDelete, Status: http.StatusOK, Body: `{"status":1}`}),
		w.service("acknowledgements unconfirmed", pushovertest.Fault{On: pushovertest.OpAcknowledge, Drop: pushovertest.DropAfter}),
		{"stream closed", ofStream, func(_ context.Context, w *world, _ time.Duration) error {
			w.sim.CloseStreams(w.device.Name, 1001, "going away")
			return nil
		}},
		{"stream reloaded", ofStream, func(_ context.Context, w *world, _ time.Duration) error {
			w.sim.Signal(w.device.Name, "R")
			return nil
		}},
		{"stream without keep-alive", ofStream, func(ctx context.Context, w *world, d time.Duration) error {
			w.sim.StopKeepAlive(true)
			wait(ctx, 4*d)
			w.sim.StopKeepAlive(false)
			return nil
		}},
	}
	if w.proxy != nil {
		all = append(all,
			w.toxic("latency", `{"name":"latency","type":"latency","attributes":{"latency":300,"jitter":300}}`),
			w.toxic("20 kB/s", `{"name":"bandwidth","type":"bandwidth","stream":"upstream","attributes":{"rate":20}}`),
			w.toxic("no answers", `{"name":"timeout","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`),
			w.toxic("no requests", `{"name":"timeout","type":"timeout","stream":"upstream","attributes":{"timeout":0}}`),
			fault{"network cut", ofNetwork, func(ctx context.Context, w *world, d time.Duration) error {
				w.proxy.Stop()
				wait(ctx, d)
				return w.proxy.Start()
			}})
	}
	if w.twin != nil {
		all = append(all, fault{"second connector", ofConnector, second})
	}
	return append(all, w.bus.faults()...)
}

// service is a fault of the service's answers.
func (w *world) service(name string, f pushovertest.Fault) fault {
	return fault{"service: " + name, ofService, func(ctx context.Context, w *world, d time.Duration) error {
		w.sim.Fault(f)
		wait(ctx, d)
		w.sim.ClearFaults()
		return nil
	}}
}

// toxic is a fault of the way to the bus.
func (w *world) toxic(name, description string) fault {
	return fault{"network: " + name, ofNetwork, func(ctx context.Context, w *world, d time.Duration) error {
		t, err := w.proxy.Toxics.AddToxicJson(strings.NewReader(description))
		if err != nil {
			return err
		}
		wait(ctx, d)
		return w.proxy.Toxics.RemoveToxic(context.WithoutCancel(ctx), t.Name)
	}}
}

// down ends a process, and starts it again after a while.
func down(p *process.Process, s syscall.Signal) func(context.Context, *world, time.Duration) error {
	return func(ctx context.Context, _ *world, d time.Duration) error {
		if err := p.End(s); err != nil {
			return err
		}
		wait(ctx, d)
		return p.Start()
	}
}

// frozen stops a process for a while.
func frozen(p *process.Process) func(context.Context, *world, time.Duration) error {
	return func(ctx context.Context, _ *world, d time.Duration) error {
		p.Signal(syscall.SIGSTOP)
		wait(ctx, d)
		p.Signal(syscall.SIGCONT)
		return nil
	}
}

// second runs another connector for the same device for a while. Only one of two can
// have the session, and on Kafka the topic; the one that is to go on is restarted, as
// the log of the other says.
func second(ctx context.Context, w *world, d time.Duration) error {
	began := time.Now()
	if err := w.twin.Start(); err != nil {
		return err
	}
	wait(ctx, 2*d)
	if err := w.twin.End(syscall.SIGTERM); err != nil {
		return err
	}
	// What one has noted of an outage the other may have removed.
	w.doubled = append(w.doubled, [2]time.Time{began, time.Now().Add(10 * time.Second)})
	if err := w.connector.End(syscall.SIGTERM); err != nil {
		return err
	}
	return w.connector.Start()
}

// renew revokes the session, and after a while stores the secret of a new login.
func renew(ctx context.Context, w *world, d time.Duration) error {
	w.sim.RevokeSecret(w.device.Secret)
	wait(ctx, d)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), process.Patience)
	defer cancel()
	for {
		secret, err := w.login(ctx)
		if err == nil {
			w.device.Secret = secret
			return w.saveCredentials()
		}
		if ctx.Err() != nil {
			return err
		}
		wait(ctx, 6*time.Second) // a service in trouble is asked every five seconds at most
	}
}

func (w *world) login(ctx context.Context) (secret string, err error) {
	account := w.sim.Account()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.sim.APIURL()+"/1/users/login.json",
		strings.NewReader(url.Values{"email": {account.Email}, "password": {account.Password}}.Encode()))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("User-Agent", "operator/1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var answer struct{ Secret string }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Secret == "" {
		return "", fmt.Errorf("login of the operator: %s, %w", response.Status, err)
	}
	return answer.Secret, nil
}

func (w *world) saveCredentials() error {
	return pushover.Credentials{
		Secret: pushover.Secret(w.device.Secret), DeviceID: pushover.DeviceID(w.device.ID), DeviceName: w.device.Name,
	}.Save(w.credentials)
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

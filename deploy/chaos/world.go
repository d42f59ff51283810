package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/pushover-connector/pushover-connector/deploy/internal/process"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A world is everything there is: the service, in this process, and the bus, the
// connector and another one, which have processes of their own.
type world struct {
	dir         string
	sim         *pushovertest.Server
	device      pushovertest.Device
	credentials string // file
	bus         bus
	proxy       *toxiproxy.Proxy // the connector's way to the bus; nil without one
	connector   *process.Process
	twin        *process.Process // nil where there can be none
	http        string           // where the connector serves

	mu         sync.Mutex
	sent       []string
	receipts   []string
	commands   map[string]string // receipts, by the commands' ids
	publishing sync.WaitGroup    // the commands
	failed     []error           // of publishing commands
	doubled    [][2]time.Time    // when there were two connectors, or the first request after that
}

func newWorld(ctx context.Context, kind, dir string) (_ *world, err error) {
	w := &world{dir: dir, credentials: filepath.Join(dir, "credentials.json"), commands: map[string]string{}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	w.sim = pushovertest.New(pushovertest.Options{KeepAlive: 5 * time.Second, PageSize: 50, MonthlyLimit: 1 << 30})
	if err := w.sim.Start(); err != nil {
		return nil, err
	}
	w.sim.LooseIDs(true)
	w.device = w.sim.AddDevice("chaos")
	if err := w.saveCredentials(); err != nil {
		return nil, err
	}
	addresses, err := process.FreeAddresses(ctx, 4)
	if err != nil {
		return nil, err
	}
	w.http = addresses[0]
	if err := w.openBus(ctx, kind, addresses[1], addresses[2]); err != nil {
		return nil, err
	}
	program, err := process.Build(ctx, dir, "pushover-connector", "./cmd/pushover-connector")
	if err != nil {
		return nil, err
	}
	if w.connector, err = w.newConnector(program, "connector", w.http); err != nil {
		return nil, err
	}
	if kind != "embedded" { // its store has one owner
		if w.twin, err = w.newConnector(program, "twin", addresses[3]); err != nil {
			return nil, err
		}
	}
	return w, w.connector.Start()
}

func (w *world) newConnector(program, name, address string) (*process.Process, error) {
	home := filepath.Join(w.dir, name)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	return &process.Process{Path: program, Args: []string{"run"}, Log: home + ".log", Env: append([]string{
		"HOME=" + home, "LOG_FORMAT=json", "HTTP_ADDR=" + address,
		"PUSHOVER_API_URL=" + w.sim.APIURL(), "PUSHOVER_STREAM_URL=" + w.sim.StreamURL(), "PUSHOVER_CREDENTIALS_FILE=" + w.credentials,
	}, w.bus.settings()...)}, nil
}

func (w *world) openBus(ctx context.Context, kind, proxy, listen string) error {
	var err error
	switch kind {
	case "nats":
		var b *natsBus
		if b, err = newNATS(ctx, w.dir, 1); err == nil {
			b.proxy, w.bus = proxy, b
		}
	case "cluster":
		w.bus, err = newNATS(ctx, w.dir, 3)
	case "embedded":
		w.bus = &natsBus{listen: listen, url: "nats://" + listen}
	case "kafka":
		w.bus, err = newKafka(proxy)
	default:
		return fmt.Errorf("-bus %q: want nats, cluster, embedded or kafka", kind)
	}
	if err != nil || w.bus.proxied() == "" {
		return err
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	w.proxy = toxiproxy.NewProxy(server, kind, proxy, w.bus.proxied())
	return w.proxy.Start()
}

func (w *world) close() {
	for _, p := range []*process.Process{w.connector, w.twin} {
		if p != nil {
			_ = p.End(syscall.SIGKILL) // always ends
		}
	}
	if w.proxy != nil {
		w.proxy.Stop()
	}
	if w.bus != nil {
		w.bus.close()
	}
	if w.sim != nil {
		w.sim.Close()
	}
}

// send sends messages in bursts until ctx ends. Some are emergencies, and half of those
// are acknowledged by a command a little later.
func (w *world) send(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		for range 1 + random.IntN(20) {
			m := pushovertest.Outgoing{Message: "chaos", Device: w.device.Name}
			if random.IntN(20) == 0 {
				m.Priority, m.Retry, m.Expire = 2, time.Hour, 3*time.Hour
			}
			sent := w.sim.Send(m)
			w.mu.Lock()
			w.sent = append(w.sent, sent.IDs...)
			if sent.Receipt != "" {
				w.receipts = append(w.receipts, sent.Receipt)
			}
			w.mu.Unlock()
			if sent.Receipt != "" && random.IntN(2) == 0 {
				w.acknowledge(ctx, sent.Receipt, time.Duration(random.IntN(5000))*time.Millisecond)
			}
		}
		wait(ctx, time.Duration(random.IntN(500))*time.Millisecond)
	}
}

// acknowledge publishes a command after a while, whatever the bus is doing.
func (w *world) acknowledge(ctx context.Context, receipt string, after time.Duration) {
	w.mu.Lock()
	id := fmt.Sprintf("chaos-%d", len(w.commands)+1)
	w.commands[id] = receipt
	w.mu.Unlock()
	w.publishing.Go(func() {
		wait(ctx, after)
		long, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*process.Patience)
		defer cancel()
		body, _ := json.Marshal(map[string]string{"receipt": receipt, "id": id}) // strings always can be
		if err := w.bus.command(long, id, body); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.failed = append(w.failed, fmt.Errorf("command %s: %w", id, err))
		}
	})
}

// flows sends a message and waits until it is on the bus and gone from the service.
func (w *world) flows(ctx context.Context) (took time.Duration, err error) {
	began := time.Now()
	sent := w.sim.Send(pushovertest.Outgoing{Message: "does it flow?", Device: w.device.Name})
	w.mu.Lock()
	w.sent = append(w.sent, sent.IDs...)
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*process.Patience)
	defer cancel()
	err = w.sim.Wait(ctx, func(s pushovertest.State) bool {
		return !slices.Contains(s.Device(w.device.Name).Queue, sent.IDs[0])
	})
	if err != nil {
		err = fmt.Errorf("nothing flows %s after all was well: %w", 2*process.Patience, err)
	}
	return time.Since(began), err
}

// settle waits until everything has arrived that will, and returns what came of it.
func (w *world) settle(ctx context.Context) (history, error) {
	w.publishing.Wait()
	ctx, cancel := context.WithTimeout(ctx, 2*process.Patience)
	defer cancel()
	err := w.sim.Wait(ctx, func(pushovertest.State) bool { return w.sim.Waiting(w.device.Name) == 0 })
	h := history{sent: w.sent, commands: w.commands, loose: true, acknowledged: map[string]bool{}}
	for err == nil {
		if h.messages, h.results, err = w.bus.read(ctx); err != nil {
			break
		}
		h.outstanding = 0
		for _, receipt := range w.receipts {
			state, _ := w.sim.Receipt(receipt)
			if state.Acknowledged {
				h.acknowledged[receipt] = true
			} else {
				h.outstanding++
			}
		}
		if h.told, err = w.told(ctx); err == nil && len(h.results) >= len(h.commands) && h.told == h.outstanding {
			break
		}
		if ctx.Err() != nil {
			err = nil // what is missing is for the judge to say
			break
		}
		err = nil
		wait(ctx, time.Second)
	}
	for _, v := range w.sim.Violations() {
		if w.doubledAt(v.At) {
			continue // two programs cannot keep the manners of one
		}
		h.manners = append(h.manners, fmt.Sprintf("%s: %s", v.Rule, v.Detail))
	}
	return h, errors.Join(append(w.failed, err)...)
}

func (w *world) doubledAt(at time.Time) bool {
	return slices.ContainsFunc(w.doubled, func(d [2]time.Time) bool { return !at.Before(d[0]) && !at.After(d[1]) })
}

// told is how many emergencies the connector says are outstanding.
func (w *world) told(ctx context.Context) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.http+"/status.json", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var status struct {
		Emergencies struct{ Outstanding []json.RawMessage }
	}
	err = json.NewDecoder(response.Body).Decode(&status)
	return len(status.Emergencies.Outstanding), err
}

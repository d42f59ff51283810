//go:build linux

package main

import (
	"context"
	_ "embed" // for the script
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/pushover-connector/pushover-connector/deploy/internal/process"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A drained backlog: from the first request for it to the last deletion.
type drained struct {
	took                            time.Duration
	connector, servers, service     time.Duration // computing
	resident, anonymous, throughput float64
}

// drain lets program, which is not running, empty a queue of n messages.
func (w *world) drain(ctx context.Context, program *process.Process, n, size int) (d drained, err error) {
	w.send(n, text(size), 0)
	before := w.sim.Requests(pushovertest.OpDownload)
	if err := program.Start(); err != nil {
		return d, err
	}
	err = until(ctx, "the first download", func() bool { return w.sim.Requests(pushovertest.OpDownload) > before })
	if err != nil {
		return d, err
	}
	pid, watching := program.PID(), make(chan float64, 1)
	watched, stop := context.WithCancel(ctx)
	defer stop()
	go func() { watching <- peak(watched, pid) }()
	began, used := time.Now(), [3]time.Duration{}
	for i, pids := range [][]int{{pid}, w.bus.pids(), {os.Getpid()}} {
		if used[i], err = cpu(pids...); err != nil {
			return d, err
		}
	}
	if err := w.drained(ctx); err != nil {
		return d, err
	}
	d.took = time.Since(began)
	for i, pids := range [][]int{{pid}, w.bus.pids(), {os.Getpid()}} {
		now, err := cpu(pids...)
		if err != nil {
			return d, err
		}
		*[]*time.Duration{&d.connector, &d.servers, &d.service}[i] = now - used[i]
	}
	stop()
	d.anonymous = <-watching
	d.throughput = float64(n) / d.took.Seconds()
	m, err := memory(pid, "VmHWM")
	if err == nil {
		d.resident = m[0]
	}
	return d, err
}

func each(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / 1000 / float64(n) }

// drainPart compares a drain with publishing the same bytes.
func (b *bench) drainPart(ctx context.Context, kind string) error {
	for _, n := range b.counts {
		if err := b.in(ctx, kind, func(w *world) error {
			d, err := w.drain(ctx, w.connector, n, 60)
			if err != nil {
				return err
			}
			if err := w.bus.prepare(ctx); err != nil {
				return err
			}
			records, err := w.bus.records(ctx, n)
			if err != nil {
				return err
			}
			spec := w.bus.bare()
			spec.File = filepath.Join(w.dir, "records")
			server := w.bus.pids()
			if kind == "embedded" {
				server = []int{w.connector.PID()}
			}
			before, err := cpu(server...)
			if err != nil {
				return err
			}
			r, err := spec.run(ctx, records)
			if err != nil {
				return err
			}
			after, err := cpu(server...)
			if err != nil {
				return err
			}
			add := func(what, unit string, v float64) {
				b.report.add("drain", kind, fmt.Sprintf("%d: %s", n, what), unit, v)
			}
			bareRate := float64(n) / r.Took.Seconds()
			add("connector", "messages/s", d.throughput)
			add("bare client", "messages/s", bareRate)
			add("connector of bare", "ratio", d.throughput/bareRate)
			add("connector's CPU", "µs/message", each(d.connector, n))
			add("bare client's CPU", "µs/message", each(r.CPU, n))
			if kind != "embedded" {
				add("servers' CPU", "µs/message", each(d.servers, n))
			}
			add("servers' CPU, bare client", "µs/message", each(after-before, n))
			add("simulator's CPU", "µs/message", each(d.service, n))
			add("connector's peak memory, resident", "MiB", d.resident)
			add("connector's peak memory, anonymous", "MiB", d.anonymous)
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// latencyPart measures one message, and one command, at a time.
func (b *bench) latencyPart(ctx context.Context, kind string) error {
	return b.in(ctx, kind, func(w *world) error {
		if err := w.live(ctx); err != nil {
			return err
		}
		if err := w.bus.prepare(ctx); err != nil {
			return err
		}
		arrived, err := w.bus.events(ctx)
		if err != nil {
			return err
		}
		var wake, wakeParts, ack, ackParts []time.Duration
		lap := func(list *[]time.Duration, do ...func() error) error {
			began := time.Now()
			for _, f := range do {
				if err := f(); err != nil {
					return err
				}
			}
			*list = append(*list, time.Since(began))
			return nil
		}
		trip := func() error { return w.roundTrip(ctx) }
		publish := func() error { return w.bus.publish(ctx) }
		for i := range b.samples + 1 {
			var receipt string
			if err := lap(&wake, func() error {
				receipt = w.send(1, "fire", 2)[0].Receipt
				return event(ctx, arrived)
			}); err != nil {
				return err
			}
			if err := w.drained(ctx); err != nil {
				return err
			}
			if err := lap(&wakeParts, trip, publish); err != nil {
				return err
			}
			if err := lap(&ack, func() error {
				if err := w.bus.command(ctx, receipt); err != nil {
					return err
				}
				return w.sim.Wait(ctx, func(pushovertest.State) bool { r, _ := w.sim.Receipt(receipt); return r.Acknowledged })
			}); err != nil {
				return err
			}
			if err := lap(&ackParts, publish, trip); err != nil {
				return err
			}
			if i == 0 { // connections are made, caches filled
				wake, wakeParts, ack, ackParts = nil, nil, nil, nil
			}
		}
		b.report.percentiles("latency", kind, "wake to event", wake, wakeParts)
		b.report.percentiles("latency", kind, "command to acknowledged", ack, ackParts)
		return nil
	})
}

// startPart starts a connector that finds a message, lets it idle, and ends it.
func (b *bench) startPart(ctx context.Context, kind string) error {
	return b.in(ctx, kind, func(w *world) error {
		if err := w.live(ctx); err != nil { // makes the streams, and shows where events come
			return err
		}
		if kind != "embedded" {
			if err := w.connector.End(syscall.SIGTERM); err != nil {
				return err
			}
		}
		arrived, err := w.bus.events(ctx)
		if err != nil {
			return err
		}
		if err := w.connector.End(syscall.SIGTERM); err != nil {
			return err
		}
		w.send(1, "good morning", 0)
		began := time.Now()
		if err := w.connector.Start(); err != nil {
			return err
		}
		ready := make(chan error, 1)
		var readyAfter time.Duration
		go func() {
			err := w.ready(ctx)
			readyAfter = time.Since(began)
			ready <- err
		}()
		if kind == "embedded" { // a subscriber comes back too late: the service sees the deletion
			err = w.drained(ctx)
		} else {
			err = event(ctx, arrived)
		}
		if err != nil {
			return err
		}
		first := time.Since(began)
		if err := <-ready; err != nil {
			return err
		}
		wait(ctx, b.idle)
		m, err := memory(w.connector.PID(), "VmRSS", "RssAnon")
		if err != nil {
			return err
		}
		ending := time.Now()
		if err := w.connector.End(syscall.SIGTERM); err != nil {
			return err
		}
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		b.report.add("start", kind, "start to first event (embedded: to its deletion)", "ms", ms(first))
		b.report.add("start", kind, "start to ready", "ms", ms(readyAfter))
		b.report.add("start", kind, fmt.Sprintf("memory after %s idle, resident", b.idle), "MiB", m[0])
		b.report.add("start", kind, fmt.Sprintf("memory after %s idle, anonymous", b.idle), "MiB", m[1])
		b.report.add("start", kind, "SIGTERM to end", "ms", ms(time.Since(ending)))
		return nil
	})
}

// recoveryPart sends a message during each outage, and takes the time from its end to
// the message's deletion at the service, which is after its event.
func (b *bench) recoveryPart(ctx context.Context, kind string) error {
	outages := []struct {
		name string
		do   func(w *world) error // returns when all is well again
	}{
		{"connector killed", func(w *world) error {
			err := w.connector.End(syscall.SIGKILL)
			w.send(1, "hello", 0)
			if err == nil {
				err = w.connector.Start()
			}
			return err
		}},
		{"stream closed", func(w *world) error {
			w.sim.CloseStreams(w.device.Name, 1001, "going away")
			w.send(1, "hello", 0)
			return nil
		}},
		{"service: 503", func(w *world) error {
			w.sim.Fault(pushovertest.Fault{On: pushovertest.OpAny, Status: 503})
			w.send(1, "hello", 0)
			wait(ctx, b.outage)
			w.sim.ClearFaults()
			return nil
		}},
		{"a server of the bus killed", func(w *world) error {
			late := time.AfterFunc(b.outage/2, func() { w.send(1, "hello", 0) })
			defer late.Stop()
			return w.bus.(*natsBus).fails(ctx, b.outage)
		}},
	}
	if kind == "embedded" || kind == "kafka" { // the connector is the server; and it finds Kafka before we do
		outages = outages[:len(outages)-1]
	}
	for _, o := range outages {
		if err := b.in(ctx, kind, func(w *world) error {
			if err := w.live(ctx); err != nil {
				return err
			}
			if err := o.do(w); err != nil {
				return err
			}
			mended := time.Now()
			if err := w.drained(ctx); err != nil {
				return fmt.Errorf("%s: %w", o.name, err)
			}
			b.report.add("recovery", kind, o.name, "s", time.Since(mended).Seconds())
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// costPart takes one thing at a time to its limits: the backlog, then the text.
func (b *bench) costPart(ctx context.Context, kind string) error {
	one := func(what string, n, size int) error {
		return b.in(ctx, kind, func(w *world) error {
			d, err := w.drain(ctx, w.connector, n, size)
			if err != nil {
				return err
			}
			b.report.add("cost", kind, what+": time", "ms", float64(d.took.Microseconds())/1000)
			b.report.add("cost", kind, what+": connector's CPU", "µs/message", each(d.connector, n))
			b.report.add("cost", kind, what+": peak memory, anonymous", "MiB", d.anonymous)
			return nil
		})
	}
	for n := 1; n <= b.most; n *= 10 {
		if err := one(fmt.Sprintf("backlog of %d", n), n, 60); err != nil {
			return err
		}
	}
	for _, size := range []int{100, 256, 512, 1024, 2048, 4096} {
		if err := one(fmt.Sprintf("%d B of text", size), min(10_000, b.most), size); err != nil {
			return err
		}
	}
	return nil
}

// imagePart builds what the image holds, as the Dockerfile does.
func (b *bench) imagePart(ctx context.Context, _ string) error {
	file := filepath.Join(b.dir, "static")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", file, "./cmd/pushover-connector")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	total := 0.0
	for what, path := range map[string]string{
		"program": file, "authorities": "/etc/ssl/certs/ca-certificates.crt",
		"time zones": filepath.Join(string(root[:len(root)-1]), "lib/time/zoneinfo.zip"),
	} {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		total += float64(info.Size())
		if what == "program" {
			b.report.add("image", "", "program", "MiB", float64(info.Size())/(1<<20))
		}
	}
	b.report.add("image", "", "program, authorities and time zones, uncompressed", "MiB", total/(1<<20))
	return nil
}

//go:embed script.py
var script []byte

// requirements are the script's libraries.
var requirements = []string{"requests==2.34.2", "websocket-client==1.9.2", "nats-py==2.16.0"}

// scriptPart drains with a script, then kills it once in the middle of another drain.
// The connector gets the same.
func (b *bench) scriptPart(ctx context.Context, kind string) error {
	for _, name := range []string{"script", "connector"} {
		for _, kill := range []bool{false, true} {
			if err := b.in(ctx, kind, func(w *world) error {
				program := w.connector
				if name == "script" {
					file := filepath.Join(w.dir, "script.py")
					if err := os.WriteFile(file, script, 0o600); err != nil {
						return err
					}
					program = &process.Process{Path: b.python, Args: []string{file}, Log: file + ".log", Env: []string{
						"API_URL=" + w.sim.APIURL(), "STREAM_URL=" + w.sim.StreamURL(), "SECRET=" + w.device.Secret, "DEVICE=" + w.device.ID,
						"NATS_URL=" + w.bus.bare().Server,
					}}
					defer func() { _ = program.End(syscall.SIGKILL) }() // always ends
				}
				n := b.counts[0]
				if !kill {
					d, err := w.drain(ctx, program, n, 60)
					if err == nil {
						b.report.add("script", kind, name, "messages/s", d.throughput)
						b.report.add("script", kind, name+"'s CPU", "µs/message", each(d.connector, n))
						b.report.add("script", kind, name+"'s peak memory, anonymous", "MiB", d.anonymous)
					}
					return err
				}
				return b.killed(ctx, w, program, kind, name, n)
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) killed(ctx context.Context, w *world, program *process.Process, kind, name string, n int) error {
	var sent []string
	for _, s := range w.send(n, text(60), 0) {
		sent = append(sent, s.IDs...)
	}
	arrived, err := w.bus.events(ctx)
	if err != nil {
		return err
	}
	if err := program.Start(); err != nil {
		return err
	}
	for range n/2 + n/20 { // in the middle of a download: pages have 5000
		if err := event(ctx, arrived); err != nil {
			return err
		}
	}
	if err := program.End(syscall.SIGKILL); err != nil {
		return err
	}
	if err := program.Start(); err != nil {
		return err
	}
	if err := w.drained(ctx); err != nil {
		return err
	}
	total, err := w.bus.(*natsBus).stored(ctx)
	if err != nil {
		return err
	}
	records, err := w.bus.records(ctx, total)
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, r := range records {
		var e struct {
			ID    json.RawMessage // a number in what the script stores
			IDStr string          `json:"id_str"`
		}
		if err := json.Unmarshal(r.Value, &e); err != nil {
			return err
		}
		id := e.IDStr
		if id == "" {
			id = string(e.ID[1 : len(e.ID)-1])
		}
		count[id]++
	}
	lost := slices.DeleteFunc(sent, func(id string) bool { return count[id] > 0 })
	b.report.add("script", kind, fmt.Sprintf("%s killed once in %d: lost", name, n), "messages", float64(len(lost)))
	b.report.add("script", kind, fmt.Sprintf("%s killed once in %d: twice", name, n), "messages", float64(total-len(count)))
	return nil
}

//go:build linux

// Command bench measures the connector beside what cannot be done without: the bare
// client that publishes the same bytes, bare round trips, and a script.
//
//	go run ./deploy/bench
//	go run ./deploy/bench -only drain,latency -bus nats -runs 5
//
// The connector, the servers and the bare client are processes of their own, of which
// each one's computing is counted by itself; the simulated service is in this one. It
// prints a table for each part and then all figures as JSON: median, least and most of
// the runs. All of it takes about an hour. Kafka needs Java and Maven, the script Python 3
// with venv, and its libraries from PyPI.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/deploy/internal/process"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

type bench struct {
	dir     string
	program string // the connector
	python  string
	kafka   *kafkatest.Cluster
	report  *report

	runs, samples, most int
	counts              []int
	idle, outage        time.Duration
}

var (
	allBuses = []string{"nats", "embedded", "cluster", "kafka"}
	allParts = []string{"drain", "latency", "start", "recovery", "cost", "script", "image"}
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := program(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func program(ctx context.Context) error {
	if spec := os.Getenv(bareVariable); spec != "" {
		return serveBare(ctx, spec)
	}
	b := &bench{report: newReport()}
	only := flag.String("only", strings.Join(allParts, ","), "parts; cost is measured on the first bus, script on nats")
	buses := flag.String("bus", strings.Join(allBuses, ","), "buses; cluster is three servers and replicas")
	counts := flag.String("counts", "10000,100000", "backlogs of the part drain; the first is the script's too")
	flag.IntVar(&b.runs, "runs", 5, "of everything")
	flag.IntVar(&b.samples, "samples", 1000, "of the part latency, in a run")
	flag.IntVar(&b.most, "max-backlog", 1_000_000, "of the part cost")
	flag.DurationVar(&b.idle, "idle", 5*time.Second, "before idle memory is measured")
	flag.DurationVar(&b.outage, "outage", 5*time.Second, "length of an outage")
	flag.StringVar(&b.python, "python", "", "interpreter that has the script's libraries; default is a new environment")
	flag.Parse()
	parts, kinds := strings.Split(*only, ","), strings.Split(*buses, ",")
	for _, c := range strings.Split(*counts, ",") {
		n, err := strconv.Atoi(c)
		if err != nil || n < 1 {
			return fmt.Errorf("-counts: %q is not a positive number", c)
		}
		b.counts = append(b.counts, n)
	}
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case min(b.runs, b.samples, b.most) < 1:
		return fmt.Errorf("-runs, -samples and -max-backlog must be positive")
	}
	for name, got := range map[string][2][]string{"-only": {parts, allParts}, "-bus": {kinds, allBuses}} {
		for _, one := range got[0] {
			if !slices.Contains(got[1], one) {
				return fmt.Errorf("%s: %q is none of %s", name, one, strings.Join(got[1], ", "))
			}
		}
	}
	return b.run(ctx, parts, kinds)
}

func (b *bench) run(ctx context.Context, parts, kinds []string) (err error) {
	if b.dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	if b.program, err = process.Build(ctx, b.dir, "pushover-connector", "./cmd/pushover-connector"); err != nil {
		return err
	}
	if slices.Contains(kinds, "kafka") {
		if b.kafka, err = kafkatest.New(kafkatest.Options{}); err != nil {
			return fmt.Errorf("%w; without Kafka: -bus nats,embedded,cluster", err)
		}
		defer b.kafka.Close()
	}
	if slices.Contains(parts, "script") && b.python == "" {
		if b.python, err = environment(ctx, b.dir); err != nil {
			return err
		}
	}
	do := map[string]func(context.Context, string) error{
		"drain": b.drainPart, "latency": b.latencyPart, "start": b.startPart, "recovery": b.recoveryPart,
		"cost": b.costPart, "script": b.scriptPart, "image": b.imagePart,
	}
	defer func() { err = errors.Join(err, b.report.print(os.Stdout)) }() // also what there is after Ctrl-C
	for _, part := range parts {
		on := kinds
		switch part {
		case "script", "image":
			on = []string{"nats"}
		case "cost":
			on = kinds[:1]
		}
		for _, kind := range on {
			for i := range b.runs {
				fmt.Fprintf(os.Stderr, "%s, %s, run %d of %d\n", part, kind, i+1, b.runs)
				if err := do[part](ctx, kind); err != nil {
					return fmt.Errorf("%s on %s: %w", part, kind, err)
				}
			}
		}
	}
	return nil
}

// in calls f with a new world.
func (b *bench) in(ctx context.Context, kind string, f func(*world) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := b.newWorld(ctx, kind)
	if err != nil {
		return err
	}
	defer w.close()
	return f(w)
}

// environment makes one with the script's libraries.
func environment(ctx context.Context, dir string) (python string, err error) {
	python = filepath.Join(dir, "python", "bin", "python")
	for _, line := range [][]string{
		{"python3", "-m", "venv", filepath.Join(dir, "python")},
		append([]string{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"}, requirements...),
	} {
		if out, err := exec.CommandContext(ctx, line[0], line[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s; -python names another interpreter, -only leaves the script out", strings.Join(line, " "), err, out)
		}
	}
	return python, nil
}

// stored is how many events of messages there are.
func (b *natsBus) stored(ctx context.Context) (int, error) {
	stream, err := b.js.Stream(ctx, "PUSHOVER")
	if err != nil {
		return 0, err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter("pushover.messages.>"))
	if err != nil {
		return 0, err
	}
	n := 0
	for _, count := range info.State.Subjects {
		n += int(count)
	}
	return n, nil
}

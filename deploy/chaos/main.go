// Command chaos breaks everything that can break around the connector, at random, and
// counts what it cost.
//
//	go run ./deploy/chaos -for 60s -bus nats -seed 1
//
// The service is the simulator; the bus and the connector run as processes of their
// own, and between them lies a proxy that can be cut and slowed down. Messages are sent
// all the time, some of them emergencies of which half are acknowledged by command. In
// each round one to three faults are in force at once. At the end all is well again,
// and what the log holds is compared with what was sent, by a reader that is not the
// connector's. The exit code is 1 if anything was lost, repeated, misplaced or
// misreported, if a command has not exactly one result, if a rule of the service's was
// broken, or if nothing flowed for three minutes after all was mended.
//
// A seed repeats the choice of the faults, not the moments at which processes meet them.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

func main() { os.Exit(program()) }

func program() (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.DurationVar(&o.length, "for", time.Minute, "how long to break things")
	flag.StringVar(&o.bus, "bus", "nats", "nats, cluster (three servers), embedded or kafka (needs Java and Maven)")
	flag.Uint64Var(&o.seed, "seed", 0, "of the random choices; 0 draws one")
	flag.StringVar(&o.keep, "keep", "", "directory for the processes' logs and stores; default is a temporary one, removed at the end")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "chaos: unexpected argument %q\n", flag.Arg(0))
		return 2
	}
	ok, err := run(ctx, o, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	if !ok || err != nil {
		return 1
	}
	return 0
}

type options struct {
	length time.Duration
	bus    string
	seed   uint64
	keep   string
}

// A report is what a run has shown.
type report struct {
	options
	took     time.Duration
	faults   map[string]int
	longest  time.Duration
	after    string // the faults before the longest
	verdicts []verdict
}

// run makes a run and prints its report, and its progress to told. It returns
// whether all was well.
func run(ctx context.Context, o options, out, told io.Writer) (ok bool, err error) {
	if o.seed == 0 {
		o.seed = rand.Uint64N(1 << 32)
	}
	dir := o.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "chaos-"); err != nil {
			return false, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	fmt.Fprintf(told, "bus %s, seed %d, logs in %s\n", o.bus, o.seed, dir)
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy's toxics log for themselves
	w, err := newWorld(ctx, o.bus, dir)
	if err != nil {
		return false, err
	}
	defer w.close()
	r := report{options: o, faults: map[string]int{}}
	if _, err := w.flows(ctx); err != nil {
		return false, fmt.Errorf("before any fault: %w", err)
	}
	began := time.Now()
	if err := w.torture(ctx, &r, told); err != nil {
		return false, err
	}
	r.took = time.Since(began)
	fmt.Fprintln(told, "waiting until all has arrived")
	h, err := w.settle(ctx)
	if err != nil {
		return false, err
	}
	r.verdicts = judge(h)
	r.print(out)
	return !slices.ContainsFunc(r.verdicts, verdict.broken), nil
}

// torture has rounds of faults for as long as was asked, while messages are sent.
func (w *world) torture(ctx context.Context, r *report, told io.Writer) error {
	sending, stop := context.WithCancel(ctx)
	var sender sync.WaitGroup
	sender.Go(func() { w.send(sending, rand.New(rand.NewPCG(r.seed, 1))) })
	defer sender.Wait()
	defer stop()
	random := rand.New(rand.NewPCG(r.seed, 2))
	all := w.faults()
	for end := time.Now().Add(r.length); time.Now().Before(end) && ctx.Err() == nil; {
		names, err := w.round(ctx, all, random)
		for _, name := range names {
			r.faults[name]++
		}
		if err != nil {
			return fmt.Errorf("%v: %w", names, err)
		}
		took, err := w.flows(ctx)
		fmt.Fprintf(told, "%v: flows %s after\n", names, took.Round(time.Millisecond))
		if err != nil {
			return fmt.Errorf("%v: %w", names, err)
		}
		if took > r.longest {
			r.longest, r.after = took, fmt.Sprint(names)
		}
	}
	return ctx.Err()
}

// round puts up to three faults in force at once, each of another group, and waits
// until they are over.
func (w *world) round(ctx context.Context, all []fault, random *rand.Rand) (names []string, err error) {
	groups := map[group][]fault{}
	for _, f := range all {
		groups[f.group] = append(groups[f.group], f)
	}
	var chosen []fault
	left := slices.Sorted(maps.Keys(groups))
	for range 1 + random.IntN(3) {
		i := random.IntN(len(left))
		of := groups[left[i]]
		chosen = append(chosen, of[random.IntN(len(of))])
		left = slices.Delete(left, i, i+1)
	}
	var doing sync.WaitGroup
	errs := make(chan error, len(chosen))
	for _, f := range chosen {
		names = append(names, f.name)
		before, lasts := random.IntN(500), 200+random.IntN(4000)
		doing.Go(func() {
			wait(ctx, time.Duration(before)*time.Millisecond)
			errs <- f.do(ctx, w, time.Duration(lasts)*time.Millisecond)
		})
	}
	doing.Wait()
	close(errs)
	for e := range errs {
		err = cmp.Or(err, e)
	}
	return names, err
}

// print writes the report in Markdown.
func (r *report) print(out io.Writer) {
	total := 0
	for _, n := range r.faults {
		total += n
	}
	fmt.Fprintf(out, "\n%s of faults on %s, seed %d: %d faults of %d kinds\n\n", r.took.Round(time.Second), r.bus, r.seed, total, len(r.faults))
	fmt.Fprintf(out, "| what | got | want | |\n|---|---:|---:|---|\n")
	for _, v := range r.verdicts {
		note := ""
		if v.broken() {
			note = "**broken** " + v.Which
		}
		fmt.Fprintf(out, "| %s | %d | %d | %s |\n", v.What, v.Got, v.Want, note)
	}
	fmt.Fprintf(out, "| longest from mended to a message published and cleared | %.1f s | | %s |\n\n", r.longest.Seconds(), r.after)
	fmt.Fprintf(out, "| fault | times |\n|---|---:|\n")
	for _, name := range slices.Sorted(maps.Keys(r.faults)) {
		fmt.Fprintf(out, "| %s | %d |\n", name, r.faults[name])
	}
}

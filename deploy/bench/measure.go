//go:build linux

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A row is one figure and its value in every run.
type row struct {
	Part   string    `json:"part"`
	Bus    string    `json:"bus"`
	What   string    `json:"what"`
	Unit   string    `json:"unit"`
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Values []float64 `json:"values"`
}

// A report is what was measured, in the order of the first runs.
type report struct {
	Date    time.Time `json:"date"`
	Machine string    `json:"machine"`
	Rows    []*row    `json:"rows"`
}

func newReport() *report {
	var u unix.Utsname
	_ = unix.Uname(&u) // never fails on Linux
	load, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(load), " ")
	return &report{
		Date:    time.Now(),
		Machine: fmt.Sprintf("%d CPUs, Linux %s, load %s at the start", cpus(), unix.ByteSliceToString(u.Release[:]), first),
	}
}

func cpus() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0
	}
	return set.Count()
}

// add notes the value of one run.
func (r *report) add(part, bus, what, unit string, value float64) {
	i := slices.IndexFunc(r.Rows, func(x *row) bool { return x.Part == part && x.Bus == bus && x.What == what })
	if i < 0 {
		i, r.Rows = len(r.Rows), append(r.Rows, &row{Part: part, Bus: bus, What: what, Unit: unit})
	}
	x := r.Rows[i]
	x.Values = append(x.Values, value)
	sorted := slices.Sorted(slices.Values(x.Values))
	n := len(sorted)
	x.Min, x.Median, x.Max = sorted[0], (sorted[(n-1)/2]+sorted[n/2])/2, sorted[n-1]
}

// print writes a table for each part, and all of it once more as JSON.
func (r *report) print(out io.Writer) error {
	fmt.Fprintf(out, "%s, %s\n", r.Date.UTC().Format("2006-01-02 15:04 MST"), r.Machine)
	part := ""
	for _, x := range r.Rows {
		if x.Part != part {
			part = x.Part
			fmt.Fprintf(out, "\n### %s\n\n| bus | what | unit | median | min | max | runs |\n|---|---|---|---:|---:|---:|---:|\n", part)
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %d |\n", x.Bus, x.What, x.Unit, short(x.Median), short(x.Min), short(x.Max), len(x.Values))
	}
	fmt.Fprint(out, "\n```json\n")
	if err := json.NewEncoder(out).Encode(r); err != nil {
		return err
	}
	fmt.Fprint(out, "```\n")
	return nil
}

// short writes three digits, and all of those before the point.
func short(v float64) string {
	switch {
	case v == float64(int64(v)), v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// percentiles notes p50, p99 and p99.9 of two series, in microseconds, and their ratios.
func (r *report) percentiles(part, bus, what string, whole, parts []time.Duration) {
	slices.Sort(whole)
	slices.Sort(parts)
	for _, p := range []float64{50, 99, 99.9} {
		w, s := at(whole, p), at(parts, p)
		name := fmt.Sprintf("%s, p%v", what, p)
		r.add(part, bus, name, "µs", w)
		r.add(part, bus, name+": bare round trips", "µs", s)
		r.add(part, bus, name+": of bare", "ratio", w/s)
	}
}

func at(sorted []time.Duration, percent float64) float64 {
	i := int(float64(len(sorted)) * percent / 100)
	return float64(sorted[min(i, len(sorted)-1)].Nanoseconds()) / 1000
}

// cpu is the time that processes have computed so far, with all their threads.
func cpu(pids ...int) (sum time.Duration, err error) {
	for _, pid := range pids {
		var t unix.Timespec
		clock := int32(^pid<<3 | 2) // of a process: see clock_getcpuclockid(3)
		if err := unix.ClockGettime(clock, &t); err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

// memory reads figures of a process's status, in MiB.
func memory(pid int, names ...string) (values []float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		_, rest, ok := strings.Cut(string(status), "\n"+name+":")
		if !ok {
			return nil, fmt.Errorf("no %s in the status of process %d", name, pid)
		}
		kb, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			return nil, err
		}
		values = append(values, float64(kb)/1024)
	}
	return values, nil
}

// peak looks at a process's anonymous memory until ctx ends, and returns the most of it.
func peak(ctx context.Context, pid int) (most float64) {
	for ctx.Err() == nil {
		if m, err := memory(pid, "RssAnon"); err == nil { // else it ends
			most = max(most, m[0])
		}
		wait(ctx, 5*time.Millisecond)
	}
	return most
}

// descendants lists the processes of that name that a process has started, or those
// have.
func descendants(pid int, name string) (found []int) {
	parents := map[int]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well-formed
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		id, rest, _ := strings.Cut(string(stat), " (")
		comm, rest, _ := strings.Cut(rest, ") ")
		fields := strings.Fields(rest)
		child, _ := strconv.Atoi(id)
		parents[child], _ = strconv.Atoi(fields[1])
		if comm == name {
			found = append(found, child)
		}
	}
	return slices.DeleteFunc(found, func(p int) bool {
		for p > 1 && p != pid {
			p = parents[p]
		}
		return p != pid
	})
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// until calls done until it is true, every millisecond.
func until(ctx context.Context, what string, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !done() {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, cmp.Or(context.Cause(ctx), ctx.Err()))
		}
		wait(ctx, time.Millisecond)
	}
	return nil
}

// limit is how long anything may take, a drain of a million by a script included.
const limit = 20 * time.Minute

package examples_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// archivers keep every alarm in SQLite. Those made killable die at a step.
var archivers = []struct {
	name    string
	command func(t *testing.T, bus string, killable bool) []string
	steps   []string // among those at which it must have been killed
}{
	{"Go", func(t *testing.T, _ string, killable bool) []string {
		plain := archiveGo(t)
		if killable {
			return []string{plain + "-killable"}
		}
		return []string{plain}
	}, []string{"tx, err := a.db.BeginTx", "if _, err := tx.ExecContext", "return tx.Commit()"}},
	{"Python", func(t *testing.T, bus string, killable bool) []string {
		interpreter := pythonFor(t, bus)
		if killable {
			return []string{interpreter, "testdata/kill.py", "archive.py"}
		}
		return []string{interpreter, "archive.py"}
	}, []string{"db.execute(", `db.execute("UPDATE position`, "with db:"}},
}

func pythonFor(t *testing.T, bus string) string {
	t.Helper()
	if bus == "nats" {
		return python(t, "nats", "nats-py")
	}
	return python(t, "kafka", "kafka-python")
}

var archiveGoBuilt sync.Once

// archiveGo returns the path of archive-go, which is a module of its own; beside
// it is a killable one.
func archiveGo(t *testing.T) string {
	t.Helper()
	output := program(t, "archive-go")
	archiveGoBuilt.Do(func() {
		if out, err := exec.Command("go", "build", "-C", "archive-go", "-o", output, ".").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if err := buildKillable("archive-go", output+"-killable"); err != nil {
			t.Fatal(err)
		}
	})
	return output
}

// table asks what an archive has written: how many alarms, and which position; 0
// before there is one.
func table(t *testing.T, file string) (alarms int, position int64) {
	t.Helper()
	const script = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60)
if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] < 2:
    print(0, 0)
else:
    print(*db.execute("SELECT (SELECT count(*) FROM alarm), coalesce((SELECT max(next) FROM position), 0)").fetchone())`
	out, err := exec.Command(python(t, "sqlite3", "with it"), "-c", script, file).CombinedOutput()
	if err == nil {
		_, err = fmt.Sscan(string(out), &alarms, &position)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return alarms, position
}

// A process is a program that is running.
type process struct {
	*exec.Cmd
	stderr bytes.Buffer
	ended  chan struct{} // when it has, and the rest can be read
}

func startProcess(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	p.Env, p.Stderr = append(os.Environ(), env...), &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait() // ProcessState tells
		close(p.ended)
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	_ = p.Process.Kill() // fails if it has ended
	<-p.ended
}

// killed says whether it died by SIGKILL.
func (p *process) killed() bool {
	status, ok := p.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// until waits for a condition, or for the program's end, and says which it was.
func (p *process) until(t *testing.T, what string, cond func() bool) bool {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case <-p.ended:
			return false
		case <-limit:
			p.kill()
			t.Fatalf("waiting for %s\n%s", what, p.stderr.String())
		case <-time.After(200 * time.Millisecond):
			if cond() {
				return true
			}
		}
	}
}

// Killed before each step that it takes, over and over, an archive ends up with
// every alarm once. At no time does it have another number of alarms than its
// position says.
func TestAnArchiveIsKilledAtEveryStep(t *testing.T) {
	if testing.Short() {
		t.Skip("starts some 300 programs")
	}
	for _, bus := range []string{"nats", "kafka"} {
		t.Run(bus, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, bus)
			for _, a := range archivers {
				t.Run(a.name, func(t *testing.T) {
					file := filepath.Join(t.TempDir(), "alarms.db")
					command := append(a.command(t, bus, true), "--db", file, bus)
					var said strings.Builder
					at := 1
					for ; ; at++ {
						p := startProcess(t, append(l.env, fmt.Sprint("KILL_AT=", at)), command...)
						through := p.until(t, "the archive to be complete", func() bool {
							_, position := table(t, file)
							return position == l.end()
						})
						p.kill()
						if !p.killed() {
							t.Fatalf("it ended by itself: %v\n%s", p.ProcessState, p.stderr.String())
						}
						said.WriteString(p.stderr.String())
						alarms, position := table(t, file)
						if want := l.events(position); alarms != want {
							t.Fatalf("killed at step %d it has %d alarms up to %d, want %d\n%s", at, alarms, position, want, p.stderr.String())
						}
						if through {
							break
						}
					}
					if alarms, _ := table(t, file); alarms != 2*each {
						t.Errorf("the table has %d alarms, want %d", alarms, 2*each)
					}
					for _, step := range a.steps {
						if !strings.Contains(said.String(), "killed before: "+step) {
							t.Errorf("it was never killed before %s\n%s", step, said.String())
						}
					}
					if !strings.Contains(said.String(), "which is not an event") {
						t.Error("it did not say that a record is not an event")
					}
					t.Logf("killed %d times", at)
				})
			}
		})
	}
}

// From the end, an archive has what comes after its first start, also if that is
// while it is down.
func TestAnArchiveFromTheEnd(t *testing.T) {
	for _, bus := range []string{"nats", "kafka"} {
		t.Run(bus, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, bus)
			for _, a := range archivers {
				t.Run(a.name, func(t *testing.T) {
					file, end := filepath.Join(t.TempDir(), "alarms.db"), l.end()
					command := append(a.command(t, bus, false), "--db", file, "--from", "end", bus)
					at := func(position int64) {
						t.Helper()
						p := startProcess(t, l.env, command...)
						if !p.until(t, "the position", func() bool { _, got := table(t, file); return got == position }) {
							t.Fatalf("it ended: %s", p.stderr.String())
						}
						p.kill()
					}
					at(end)
					l.append(l.records[each].headers, l.records[each].body)
					l.records = l.read(len(l.records) + 1)
					at(l.end())
					if alarms, _ := table(t, file); alarms != 1 {
						t.Errorf("the table has %d alarms, want the one that came later", alarms)
					}
				})
			}
		})
	}
}

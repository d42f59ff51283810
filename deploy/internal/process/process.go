// Package process starts, signals and ends the programs that others in deploy run: the
// connector, NATS servers, and what else is built from this module.
package process

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Process is a program that is started again and again. Its methods may be called
// by several goroutines.
type Process struct {
	Path string
	Args []string
	Env  []string
	Log  string // file, appended to

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Start starts it, unless it runs.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return nil
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()                                                   // the process has its own
	cmd := exec.CommandContext(context.Background(), p.Path, p.Args...) // End ends it
	cmd.Env, cmd.Stdout, cmd.Stderr = p.Env, log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		_ = cmd.Wait() // killed is an error
		close(done)
	}()
	return nil
}

// PID is the number of the process that was started last.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// running is called with the lock held.
func (p *Process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends s to a process that runs.
func (p *Process) Signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		_ = p.cmd.Process.Signal(s) // it may have ended just now
	}
}

// End sends s, also to a process that stands still, and waits for the end. One that
// takes longer than [Patience] is killed.
func (p *Process) End(s syscall.Signal) error {
	p.Signal(s)
	p.Signal(syscall.SIGCONT)
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-time.After(Patience):
		p.Signal(syscall.SIGKILL)
		<-done
		return fmt.Errorf("%s did not end within %s of signal %v", filepath.Base(p.Path), Patience, s)
	}
}

// Patience is how long anything may take that should take seconds.
const Patience = 90 * time.Second

// Build compiles a program into dir.
func Build(ctx context.Context, dir, name, pkg string) (path string, err error) {
	path = filepath.Join(dir, name)
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, pkg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// FreeAddresses returns addresses that were free a moment ago, each another.
func FreeAddresses(ctx context.Context, n int) (addresses []string, _ error) {
	for range n {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // when all are drawn
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// StartNATS builds a NATS server and starts n of it with JetStream, as a cluster if
// there are several, with stores and logs in dir. It does not wait until they serve.
func StartNATS(ctx context.Context, dir string, n int) (servers []*Process, clients []string, err error) {
	program, err := Build(ctx, dir, "nats-server", "github.com/nats-io/nats-server/v2")
	if err != nil {
		return nil, nil, err
	}
	addresses, err := FreeAddresses(ctx, 2*n)
	if err != nil {
		return nil, nil, err
	}
	clients, routes := addresses[:n], addresses[n:]
	for i := range n {
		host, port, _ := net.SplitHostPort(clients[i])
		name := fmt.Sprintf("n%d", i+1)
		args := []string{"-a", host, "-p", port, "-js", "-sd", filepath.Join(dir, name), "-n", name}
		if n > 1 {
			args = append(args, "--cluster_name", "test", "--cluster", "nats://"+routes[i], "--routes", "nats://"+strings.Join(routes, ",nats://"))
		}
		server := &Process{Path: program, Args: args, Log: filepath.Join(dir, name+".log")}
		if err := server.Start(); err != nil {
			for _, s := range servers {
				_ = s.End(syscall.SIGKILL) // always ends
			}
			return nil, nil, err
		}
		servers = append(servers, server)
	}
	return servers, clients, nil
}

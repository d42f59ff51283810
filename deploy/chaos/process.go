package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A process is a program that is started again and again.
type process struct {
	path string
	args []string
	env  []string
	log  string // file

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start starts it, unless it runs.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return nil
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()                                                   // the process has its own
	cmd := exec.CommandContext(context.Background(), p.path, p.args...) // end ends it
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
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

// running is called with the lock held.
func (p *process) running() bool {
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

// signal sends s to a process that runs.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		_ = p.cmd.Process.Signal(s) // it may have ended just now
	}
}

// end sends s, also to a process that stands still, and waits for the end. One that
// takes longer than patience is killed.
func (p *process) end(s syscall.Signal) error {
	p.signal(s)
	p.signal(syscall.SIGCONT)
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-time.After(patience):
		p.signal(syscall.SIGKILL)
		<-done
		return fmt.Errorf("%s did not end within %s of signal %v", filepath.Base(p.path), patience, s)
	}
}

// patience is how long anything may take that should take seconds.
const patience = 90 * time.Second

// build compiles a program into dir.
func build(ctx context.Context, dir, name, pkg string) (path string, err error) {
	path = filepath.Join(dir, name)
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, pkg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// freeAddresses returns addresses that were free a moment ago, each another.
func freeAddresses(ctx context.Context, n int) (addresses []string, _ error) {
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

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// A natsProcess is a NATS server that can be killed and stopped.
type natsProcess struct {
	t              testing.TB
	address, store string
	cmd            *exec.Cmd
}

func (n *natsProcess) start() {
	n.t.Helper()
	path, err := exec.LookPath("test-nats-server")
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command(path, n.address, n.store)
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	cmd.Stderr = n.t.Output()
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.cmd = cmd
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended already
		_ = cmd.Wait()         // killed is an error
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		n.t.Fatalf("the NATS server did not start: %v", err)
	}
}

func (n *natsProcess) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

func (n *natsProcess) kill() {
	n.t.Helper()
	n.signal(syscall.SIGKILL)
	_ = n.cmd.Wait() // killed is an error
}

// natsServer is the program "test-nats-server ADDRESS STORE". It prints a line
// when it is ready, and runs until it is killed.
func natsServer() {
	host, portText, _ := strings.Cut(os.Args[1], ":")
	port, err := strconv.Atoi(portText)
	if err != nil {
		panic(err)
	}
	srv, err := server.NewServer(&server.Options{
		Host: host, Port: port, JetStream: true, StoreDir: os.Args[2], NoLog: true, NoSigs: true,
	})
	if err != nil {
		panic(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		panic("not ready")
	}
	fmt.Println("ready")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	<-stop
	srv.Shutdown()
}

package nats_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	upstream "github.com/nats-io/nats.go"

	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

// A stopped server, or a route that drops everything, takes no more bytes while
// the connection looks alive. Events of this size fill what lies in between.
func TestPeerThatTakesNothingHoldsUpNeitherPublishNorClose(t *testing.T) {
	srv := startServer(t, nil)
	peer := startStalling(t, srv.Addr().String())
	b := open(t, nats.Config{URL: "nats://" + peer.listener.Addr().String()}, nats.Options{})
	events := sinktest.Messages("a", 1, 500)
	for i := range events {
		events[i].Data = []byte(`{"x":"` + strings.Repeat("x", 60_000) + `"}`)
	}
	if n, err := b.Publish(t.Context(), events[:10]); n != 10 || err != nil {
		t.Fatalf("Publish: got %d, %v, want 10", n, err)
	}
	close(peer.stall)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if n, err := b.Publish(ctx, events[10:]); n == len(events)-10 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Publish to a stalled peer: got %d, %v, want the deadline", n, err)
		}
		closeBus(t, b)
	}()
	select {
	case <-ended:
	case <-time.After(upstream.DefaultFlusherTimeout / 2):
		t.Error("Publish and Close wait as long as the client library does by itself")
		peer.close() // ends the wait
		<-ended
	}
}

// stalling is a proxy that takes nothing more from its client when told.
type stalling struct {
	listener net.Listener
	stall    chan struct{}
	group    sync.WaitGroup
	close    func()

	mu    sync.Mutex
	conns []net.Conn
}

func startStalling(t *testing.T, target string) *stalling {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stalling{listener: listener, stall: make(chan struct{})}
	s.close = func() {
		_ = listener.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.conns {
			_ = c.Close()
		}
	}
	s.group.Go(func() {
		for {
			down, err := listener.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", target)
			if err != nil {
				_ = down.Close()
				continue
			}
			s.mu.Lock()
			s.conns = append(s.conns, down, up)
			s.mu.Unlock()
			s.group.Go(func() { _, _ = io.Copy(down, up) })
			s.group.Go(func() { s.forward(up, down) })
		}
	})
	t.Cleanup(func() { s.close(); s.group.Wait() })
	return s
}

func (s *stalling) forward(up io.Writer, down io.Reader) {
	buf := make([]byte, 16<<10)
	for {
		select {
		case <-s.stall:
			return
		default:
		}
		n, err := down.Read(buf)
		if err != nil {
			return
		}
		if _, err := up.Write(buf[:n]); err != nil {
			return
		}
	}
}

package main

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A gate stands between the program and the NATS server and closes for good at a
// moment that the program's own words name. It makes the instants between two
// steps of the program long enough to kill it there.
type gate struct {
	listener net.Listener
	target   string
	word     string // what the program says
	skip     int32  // times it may say it before

	// answers says what the closed gate holds back: what the server answers, or
	// else the word and all that the program says after it.
	answers bool

	said   atomic.Int32
	closed atomic.Bool
	hit    chan struct{} // closed with the gate
	group  sync.WaitGroup
}

func openGate(t *testing.T, target, word string, skip int, answers bool) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: l, target: target, word: word, skip: int32(skip), answers: answers, hit: make(chan struct{})}
	g.group.Go(g.accept)
	t.Cleanup(func() {
		_ = l.Close()
		g.group.Wait() // the program is gone by now, and with it its connections
	})
	return g
}

func (g *gate) url() string { return "nats://" + g.listener.Addr().String() }

func (g *gate) accept() {
	for {
		program, err := g.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", g.target)
		if err != nil {
			_ = program.Close()
			continue
		}
		g.group.Go(func() {
			defer server.Close() // ends the other direction
			g.listen(program, server)
		})
		g.group.Go(func() {
			defer program.Close()
			g.answer(server, program)
		})
	}
}

// listen forwards what the program says, until it has said the word too often.
func (g *gate) listen(program, server net.Conn) {
	buffer, tail := make([]byte, 64<<10), []byte(nil)
	for {
		n, err := program.Read(buffer)
		said := buffer[:n]
		if at := g.watch(tail, said); at >= 0 {
			if !g.answers {
				said = said[:at]
			}
			g.closed.Store(true)
			if _, err := server.Write(said); err != nil {
				return
			}
			close(g.hit)
			if !g.answers {
				_, _ = io.Copy(io.Discard, program) // until it is killed
				return
			}
			continue
		}
		if _, werr := server.Write(said); err != nil || werr != nil {
			return
		}
		tail = append(tail, said...)
		tail = bytes.Clone(tail[max(0, len(tail)-len(g.word)+1):])
	}
}

// watch counts the word in what is said now, some of which may have been said
// before in tail, and returns where the one too many begins, or is to be cut
// off. It returns -1 if there is none.
func (g *gate) watch(tail, said []byte) int {
	if g.closed.Load() {
		return -1
	}
	text := append(bytes.Clone(tail), said...)
	for from := 0; ; {
		i := bytes.Index(text[from:], []byte(g.word))
		if i < 0 {
			return -1
		}
		if g.said.Add(1) > g.skip {
			return max(0, from+i-len(tail))
		}
		from += i + len(g.word)
	}
}

// answer forwards what the server says.
func (g *gate) answer(server, program net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if g.answers && g.closed.Load() {
			_, _ = io.Copy(io.Discard, server)
			return
		}
		if _, werr := program.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}

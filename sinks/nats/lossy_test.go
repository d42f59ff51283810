package nats_test

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pushover-connector/pushover-connector/sinks/nats"
	"github.com/pushover-connector/pushover-connector/sinks/sinktest"
)

// A message can be lost while those after it get through: between the server
// that takes it and the one that keeps the stream, or from one connection to the
// next. It can also come late, when the sender has long sent it again.
func TestMessagesLostOrLateOneByOneLeaveOrderAndOneOfEach(t *testing.T) {
	srv := startServer(t, nil)
	_, js := client(t, srv.ClientURL())
	const n = 2_000
	lossy := startLossy(t, srv.Addr().String(), 200)
	var group sync.WaitGroup
	ctx := within(t)
	for seed := range uint64(2) {
		b := open(t, nats.Config{URL: "nats://" + lossy.addr()}, nats.Options{})
		group.Go(func() { hammer(ctx, t, b, sinktest.Messages("a", 1, n), seed) })
	}
	group.Wait()
	lossy.mu.Lock()
	lost, late := lossy.lost, lossy.late
	lossy.mu.Unlock()
	t.Logf("%d lost, %d late", lost, late)
	if lost == 0 || late == 0 {
		t.Fatal("nothing was lost or late: the test shows nothing")
	}
	wantIDs(t, readAll(t, js), "a", 1, n)
}

// The server refuses what comes after it, and so the wait is cut short.
func TestLossOfTheFirstMessageIsNoticedSoonAndToldSo(t *testing.T) {
	srv := startServer(t, nil)
	lossy := startLossy(t, srv.Addr().String(), 0, "\nNats-Msg-Id: pushover://device/a#1\r")
	b := open(t, nats.Config{URL: "nats://" + lossy.addr()}, nats.Options{})
	n, err := b.Publish(t.Context(), sinktest.Messages("a", 1, 3))
	if n != 0 || err == nil || !strings.Contains(err.Error(), "no confirmation from stream PUSHOVER for 500ms") {
		t.Errorf("got %d, %v, want 0 and how long it waited", n, err)
	}
}

// lossy is a proxy that understands enough of the protocol to lose, or to hold
// back for a while, one event in so many, and to lose those that contain one of some texts.
type lossy struct {
	listener net.Listener
	target   string
	oneIn    int
	texts    []string
	group    sync.WaitGroup

	mu         sync.Mutex
	conns      []net.Conn
	lost, late int
}

func startLossy(t *testing.T, target string, oneIn int, texts ...string) *lossy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{listener: listener, target: target, oneIn: oneIn, texts: texts}
	l.group.Go(func() { l.accept() })
	t.Cleanup(func() {
		_ = listener.Close()
		l.mu.Lock()
		for _, c := range l.conns {
			_ = c.Close()
		}
		l.mu.Unlock()
		l.group.Wait()
	})
	return l
}

func (l *lossy) addr() string { return l.listener.Addr().String() }

func (l *lossy) accept() {
	for {
		down, err := l.listener.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", l.target)
		if err != nil {
			_ = down.Close()
			continue
		}
		l.mu.Lock()
		l.conns = append(l.conns, down, up)
		seed := uint64(len(l.conns))
		l.mu.Unlock()
		l.group.Go(func() { _, _ = io.Copy(down, up); _ = down.Close() })
		l.group.Go(func() { l.forward(up, down, rand.New(rand.NewPCG(seed, 2))); _ = up.Close() })
	}
}

// forward copies frames from the client, but for those it loses or holds back.
func (l *lossy) forward(up io.Writer, down io.Reader, r *rand.Rand) {
	in := bufio.NewReader(down)
	var held [][]byte
	for {
		frame, err := readFrame(in)
		if err != nil {
			return
		}
		if len(held) > 0 && r.IntN(60) == 0 {
			if _, err := up.Write(held[0]); err != nil {
				return
			}
			held = held[1:]
		}
		if slices.ContainsFunc(l.texts, func(text string) bool { return strings.Contains(string(frame), text) }) {
			continue
		}
		if l.oneIn > 0 && strings.HasPrefix(string(frame), "HPUB pushover.messages.") && r.IntN(l.oneIn) == 0 {
			l.mu.Lock()
			if r.IntN(2) == 0 {
				l.lost++
			} else {
				l.late++
				held = append(held, frame)
			}
			l.mu.Unlock()
			continue
		}
		if _, err := up.Write(frame); err != nil {
			return
		}
	}
}

// readFrame reads one protocol line and, of PUB and HPUB, the payload.
func readFrame(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(line))
	if len(fields) == 0 || fields[0] != "PUB" && fields[0] != "HPUB" {
		return line, nil
	}
	n, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil {
		return nil, errors.Join(errors.New("not a frame: "+string(line)), err)
	}
	payload := make([]byte, n+2)
	if _, err := io.ReadFull(in, payload); err != nil {
		return nil, err
	}
	return append(line, payload...), nil
}

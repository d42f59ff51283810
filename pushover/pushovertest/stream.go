package pushovertest

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// Limits of a stream. A login frame has a little over a hundred bytes.
const (
	maxInbound   = 4 << 10
	loginTimeout = 30 * time.Second
	lastWords    = 5 * time.Second // for the client to close after E or A
)

var errAborted = errors.New("stream aborted")

// A stream is one websocket connection. Its handler reads; once logged in a
// second goroutine writes.
type stream struct {
	server *Server
	conn   *websocket.Conn
	raw    net.Conn
	client string
	wake   chan struct{} // holds one: there is something in out
	gone   chan struct{} // closed when reading ends

	// Guarded by Server.mu.
	out    []frame
	device *device // nil before login and after the end
	secret string
	key    fingerprint // of device id and secret
	ending bool        // no frames after E, A or a close
	parted bool        // R, E or A was sent: what follows may go unread
	told   *verdict    // E or A that was sent on it
	// onAlive is called at the next pong: it proves that somebody reads.
	onAlive func()
}

// push queues a frame. Server.mu is held.
func (st *stream) push(f frame) {
	if st.ending {
		return
	}
	f.n = 1
	if last := len(st.out) - 1; last >= 0 && st.out[last].same(f) {
		st.out[last].n++
	} else {
		st.out = append(st.out, f)
	}
	if f.kind == frameClose || f.kind == frameAbort {
		st.ending = true
	}
	st.rouse()
}

// rouse makes the writer look.
func (st *stream) rouse() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// end sends E or A and closes. Server.mu is held.
func (st *stream) end(signal byte) {
	if st.ending {
		return
	}
	st.server.manners.tell(st, signal)
	st.push(frame{kind: frameBinary, payload: string(signal)})
	st.push(frame{kind: frameClose, code: websocket.CloseNormalClosure})
	st.leave()
}

// leave takes the stream from its device. Server.mu is held.
func (st *stream) leave() {
	if st.device != nil && st.device.stream == st {
		st.device.stream = nil
	}
	st.device = nil
	st.server.bump()
}

// abort closes the TCP connection at once. Safe in any state.
func (st *stream) abort() { _ = st.raw.Close() } // there is nobody to tell

// serveStream is the websocket.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request, c *call) {
	s.mu.Lock()
	s.manners.arrived(c)
	f := s.fault(OpStream)
	s.mu.Unlock()
	if f != nil {
		if !f.before(s, r) {
			panic(http.ErrAbortHandler)
		}
		if f.answers() {
			_ = f.reply(s).writeTo(w, f.PadTo) // a client that left needs no answer
			return
		}
		if f.Drop == DropHalf || f.Drop == DropStall {
			s.halfHandshake(w, f.Drop == DropStall)
		}
	}
	// The connection leaves the http.Server's care, so Close waits for it here.
	if !s.begin() {
		panic(http.ErrAbortHandler)
	}
	defer s.working.Done()
	upgrader := websocket.Upgrader{
		HandshakeTimeout: writeTimeout,
		CheckOrigin:      func(*http.Request) bool { return true },
	}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	st := &stream{
		server: s, conn: conn, raw: conn.NetConn(), client: c.client,
		wake: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	defer st.abort()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.streams[st] = struct{}{}
	s.mu.Unlock()
	st.serve(f != nil && f.Drop == DropAfter)
}

// begin makes Close wait for the caller, unless it has begun already.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.working.Add(1)
	}
	return !s.closed
}

// halfHandshake breaks off in the answer's first line, at once or never.
func (s *Server) halfHandshake(w http.ResponseWriter, stall bool) {
	if !s.begin() {
		panic(http.ErrAbortHandler)
	}
	defer s.working.Done()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = conn.Close() }()              // nobody is told
	_, _ = conn.Write([]byte("HTTP/1.1 101 Switch")) // cut short on purpose
	if stall {
		// The connection is not net/http's any more: wait for its end here.
		ended := make(chan struct{})
		s.working.Go(func() {
			defer close(ended)
			var b [64]byte
			for {
				if _, err := conn.Read(b[:]); err != nil {
					return
				}
			}
		})
		select {
		case <-ended:
		case <-s.done:
		}
		_ = conn.Close() // ends the reader
		<-ended
	}
	panic(http.ErrAbortHandler)
}

// serve reads until the connection ends.
func (st *stream) serve(dropAfterLogin bool) {
	s := st.server
	st.conn.SetReadLimit(maxInbound)
	st.conn.SetPongHandler(func(string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if st.onAlive != nil {
			st.onAlive()
			st.onAlive = nil
		}
		return nil
	})
	_ = st.raw.SetReadDeadline(time.Now().Add(loginTimeout)) // a dead connection shows at the next read
	writer := make(chan struct{})
	go func() {
		defer close(writer)
		st.writeLoop()
	}()
	err := st.read(dropAfterLogin)
	s.mu.Lock()
	delete(s.streams, st)
	s.manners.ended(st, err)
	st.leave()
	st.ending = true
	s.mu.Unlock()
	close(st.gone)
	<-writer
}

func (st *stream) read(dropAfterLogin bool) error {
	for {
		_, data, err := st.conn.ReadMessage()
		if err != nil {
			return err //nolint:wrapcheck // judged by its type, never shown
		}
		// Clients may send '#' upstream to please a NAT; nothing but a login means anything.
		if bytes.HasPrefix(data, []byte("login:")) {
			st.login(string(data))
			if dropAfterLogin {
				return errAborted
			}
		}
	}
}

// login checks a login frame: "login:<device id>:<secret>" with or without a
// newline. There is no positive answer.
func (st *stream) login(text string) {
	s := st.server
	id, secret, _ := strings.Cut(strings.TrimRight(strings.TrimPrefix(text, "login:"), "\r\n"), ":")
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.bump()
	if st.ending {
		return
	}
	st.leave()                              // a second login on one connection replaces the first
	_ = st.raw.SetReadDeadline(time.Time{}) // a dead connection shows at the next read
	st.secret, st.key = secret, loginKey(id, secret)
	se, d := s.sessions[secret], s.devices[id]
	s.manners.loggingIn(st, d)
	if se == nil || d == nil || d.account != se.account || !s.usable(d) {
		st.end('E')
		s.log.Info("stream refused")
		return
	}
	if old := d.stream; old != nil {
		old.end('A')
		if v := old.told; v != nil && v.signal == 'A' {
			v.winner = st
		}
	}
	se.device = d
	st.device = d
	d.stream = st
	d.logins++
	d.credit += 3
	st.rouse() // the interval of the keep-alives starts now
	s.log.Info("stream logged in", "device", d.name)
}

// writeLoop sends what is pushed, and at every interval once logged in '#', or
// 'E' if the device may not be used any more.
// It has the last word: when it ends the connection is closed.
func (st *stream) writeLoop() {
	s := st.server
	defer st.abort()
	interval := max(s.opts.KeepAlive, time.Millisecond)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	fresh := true
	for {
		select {
		case <-st.gone:
			return
		case <-tick.C:
			s.mu.Lock()
			if st.device != nil {
				s.enforce(st.device) // nothing else tells a stream that the trial is over
			}
			if st.device != nil && !s.silent {
				st.push(frame{kind: frameBinary, payload: "#"})
			}
			s.mu.Unlock()
		case <-st.wake:
		}
		s.mu.Lock()
		frames, ending := st.out, st.ending
		st.out = nil
		loggedIn := st.device != nil
		s.mu.Unlock()
		if fresh && loggedIn {
			tick.Reset(interval)
			fresh = false
		}
		if err := st.write(frames); err != nil {
			return
		}
		if ending {
			st.await(lastWords)
			return
		}
	}
}

// await gives the client time to close by itself.
func (st *stream) await(d time.Duration) {
	select {
	case <-st.gone:
	case <-time.After(d):
	}
}

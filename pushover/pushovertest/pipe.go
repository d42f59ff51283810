package pushovertest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A pipeNet is a network in memory: connections with buffers like TCP's,
// made of mutexes held briefly and channels waited for, so that a
// testing/synctest bubble sees a waiting goroutine as blocked.
type pipeNet struct {
	mu       sync.Mutex
	nextPort int

	plain, secure *pipeListener
}

// addresses of the two ends of a new connection to the given server port.
func (n *pipeNet) addresses(serverPort int) (client, server net.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nextPort++
	ip := net.IPv4(127, 0, 0, 1)
	return &net.TCPAddr{IP: ip, Port: 10000 + n.nextPort%50000}, &net.TCPAddr{IP: ip, Port: serverPort + n.nextPort/50000*1000}
}

// A pipeListener accepts what dial makes.
type pipeListener struct {
	net      *pipeNet
	port     int
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func newPipeListener(n *pipeNet, port int) *pipeListener {
	return &pipeListener{net: n, port: port, incoming: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.port}
}

// newPipe makes the two ends of a connection.
func newPipe(clientAddr, serverAddr net.Addr) (client, server *pipeConn) {
	up, down := newBuffer(), newBuffer()
	client = &pipeConn{in: down, out: up, local: clientAddr, remote: serverAddr}
	server = &pipeConn{in: up, out: down, local: serverAddr, remote: clientAddr}
	return client, server
}

type pipeConn struct {
	in, out       *buffer
	local, remote net.Addr
}

func (c *pipeConn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *pipeConn) Write(b []byte) (int, error) { return c.out.write(b) }
func (c *pipeConn) LocalAddr() net.Addr         { return c.local }
func (c *pipeConn) RemoteAddr() net.Addr        { return c.remote }

// Close ends both directions: the peer reads what was written before and
// then EOF, and cannot write any more.
func (c *pipeConn) Close() error {
	c.out.closeWrite()
	c.in.closeRead()
	return nil
}

func (c *pipeConn) SetDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	return nil
}

func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

const bufferSize = 256 << 10

// A buffer is one direction of a connection.
type buffer struct {
	mu              sync.Mutex
	data            []byte
	ended           bool // the writer closed
	abandoned       bool // the reader closed
	readBy, writeBy time.Time
	changed         chan struct{}
}

func newBuffer() *buffer { return &buffer{changed: make(chan struct{})} }

// notify wakes all that wait. The lock is held.
func (b *buffer) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// wait waits for a change or the deadline. The lock is held before and after.
func (b *buffer) wait(by time.Time) error {
	changed := b.changed
	b.mu.Unlock()
	defer b.mu.Lock()
	if by.IsZero() {
		<-changed
		return nil
	}
	t := time.NewTimer(time.Until(by))
	defer t.Stop()
	select {
	case <-changed:
		return nil
	case <-t.C:
		return os.ErrDeadlineExceeded
	}
}

func passed(by time.Time) bool { return !by.IsZero() && !time.Now().Before(by) }

func (b *buffer) read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.abandoned:
			return 0, net.ErrClosed
		case passed(b.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(b.data) > 0:
			n := copy(p, b.data)
			b.data = b.data[n:]
			if len(b.data) == 0 {
				b.data = nil
			}
			b.notify()
			return n, nil
		case b.ended:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		if err := b.wait(b.readBy); err != nil && passed(b.readBy) {
			return 0, err
		}
	}
}

func (b *buffer) write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	written := 0
	for {
		switch {
		case b.ended:
			return written, net.ErrClosed
		case b.abandoned:
			return written, io.ErrClosedPipe
		case passed(b.writeBy):
			return written, os.ErrDeadlineExceeded
		}
		if n := min(len(p), bufferSize-len(b.data)); n > 0 {
			b.data = append(b.data, p[:n]...)
			p = p[n:]
			written += n
			b.notify()
		}
		if len(p) == 0 {
			return written, nil
		}
		if err := b.wait(b.writeBy); err != nil && passed(b.writeBy) {
			return written, err
		}
	}
}

func (b *buffer) closeWrite() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.notify()
}

func (b *buffer) closeRead() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.abandoned = true
	b.data = nil
	b.notify()
}

func (b *buffer) setDeadline(field *time.Time, t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*field = t
	b.notify()
}

package pushover

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/gorilla/websocket"
)

// An openingConn bounds what may be read before a stream is open, since the
// websocket library reads the HTTP answer's header without a limit.
type openingConn struct {
	net.Conn
	left int64
	open atomic.Bool
}

func (c *openingConn) opened() { c.open.Store(true) }

func (c *openingConn) Read(p []byte) (int, error) {
	if c.open.Load() {
		return c.Conn.Read(p)
	}
	if c.left <= 0 {
		return 0, fmt.Errorf("the answer's header is %w (limit %d bytes)", ErrTooLarge, maxHeader)
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// underlying is the connection below TLS.
func underlying(c *websocket.Conn) net.Conn {
	if t, ok := c.NetConn().(*tls.Conn); ok {
		return t.NetConn()
	}
	return c.NetConn()
}

// closeOnDone closes the connection if ctx ends before stop is called. stop
// returns when nothing of it is left running.
func closeOnDone(ctx context.Context, c net.Conn) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = c.Close()
	})
	return func() {
		if !cancel() {
			<-done
		}
	}
}

package pushover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// A Signal is one byte of the push stream. Bytes without a name here have no
// meaning yet and should be ignored.
type Signal byte

// The signals of https://pushover.net/api/client#websocket.
const (
	SignalKeepAlive Signal = '#' // nothing happened
	SignalMessage   Signal = '!' // download now
	SignalReload    Signal = 'R' // close, connect again after a short pause, download
	SignalError     Signal = 'E' // permanent: see ErrLoginNeeded
	SignalTakenOver Signal = 'A' // permanent: see ErrTakenOver
)

// String returns the signal as a quoted character.
func (s Signal) String() string { return fmt.Sprintf("%q", rune(s)) }

// A CloseError is the service's or the network's end of a stream. It is not a
// verdict: connecting again is right, after a pause.
type CloseError struct {
	Code   int    // RFC 6455 section 7.4; 1006 if the connection just ended
	Reason string // the service's text, if any
}

// Error gives code and reason.
func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("stream closed with code %d", e.Code)
	}
	return fmt.Sprintf("stream closed with code %d: %s", e.Code, e.Reason)
}

// ErrStreamClosed is what Next returns after Close.
var ErrStreamClosed = errors.New("stream is closed")

const (
	maxFrame     = 4 << 10
	closeTimeout = 250 * time.Millisecond // for the farewell; nobody waits for an answer
)

// A Stream is one connection to the push service. It carries no messages, only
// signals that there are some. [Client.Follow] keeps one up; use a Stream
// directly only for a policy of your own.
//
// One goroutine may call Next. Close may be called by any, at any time.
type Stream struct {
	conn    *websocket.Conn
	private []string
	silence time.Duration
	pending []byte // signals of a frame not yet returned

	closing sync.Once
	closed  chan struct{}
	pings   sync.WaitGroup
}

// Connect opens a stream and logs in on it. The service does not confirm a
// login: the first signal of any kind is the sign that it held, and a refused
// one gets [SignalError]. A login displaces any other stream of the same device.
//
// ctx bounds the opening only. Close the Stream when done with it.
func (c *Client) Connect(ctx context.Context) (*Stream, error) {
	if err := c.usable(opStream); err != nil {
		return nil, err
	}
	cr := c.o.Credentials
	private := []string{cr.Secret.Reveal(), cr.DeviceID.Reveal()}
	conn, err := c.dialStream(ctx, private)
	if err != nil {
		return nil, err
	}
	login := "login:" + cr.DeviceID.Reveal() + ":" + cr.Secret.Reveal() + "\n"
	_ = conn.SetWriteDeadline(time.Now().Add(c.o.Timeout))
	if err := writeLogin(ctx, conn, login); err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", opStream, context.Cause(ctx))
		}
		return nil, newSendError(opStream, err, private)
	}
	conn.SetReadLimit(maxFrame)
	s := &Stream{conn: conn, private: private, silence: c.o.Silence, closed: make(chan struct{})}
	s.pings.Go(func() { s.ping(c.o.PingInterval) })
	return s, nil
}

func writeLogin(ctx context.Context, conn *websocket.Conn, login string) error {
	stop := closeOnDone(ctx, conn.NetConn())
	defer stop()
	return conn.WriteMessage(websocket.TextMessage, []byte(login))
}

// dialStream makes the websocket handshake. The library watches ctx only while
// it dials, so the connection is closed under it when ctx ends later.
func (c *Client) dialStream(ctx context.Context, private []string) (*websocket.Conn, error) {
	var stop func()
	dial := dialer(c.o)
	d := websocket.Dialer{
		NetDialContext: func(ctx2 context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx2, network, addr)
			if err == nil {
				conn = &openingConn{Conn: conn, left: maxHeader}
				stop = closeOnDone(ctx, conn)
			}
			return conn, err
		},
		Proxy:            proxyFor(c.o),
		TLSClientConfig:  tlsConfig(c.o, c.stream.Hostname()),
		HandshakeTimeout: c.o.Timeout,
		ReadBufferSize:   maxFrame,
		WriteBufferSize:  1 << 10,
	}
	conn, resp, err := d.DialContext(ctx, c.stream.String(), http.Header{"User-Agent": {c.o.UserAgent}}) //nolint:bodyclose // the websocket library gives a body that needs no closing
	if stop != nil {
		stop()
	}
	switch {
	case err == nil && resp.Header.Get("Sec-Websocket-Extensions") != "":
		_ = conn.Close() // compression would be one, and frames could then grow without limit
		return nil, &APIError{Op: opStream, HTTPStatus: resp.StatusCode, trouble: "with a websocket extension nobody asked for"}
	case err == nil && ctx.Err() == nil:
		if o, ok := underlying(conn).(*openingConn); ok {
			o.opened()
		}
		return conn, nil
	case err == nil:
		_ = conn.Close()
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", opStream, context.Cause(ctx))
	}
	if resp != nil {
		return nil, refusedUpgrade(resp, private)
	}
	return nil, newSendError(opStream, err, private)
}

// refusedUpgrade is the error for an HTTP answer in place of a stream. The
// library has read the first kilobyte of its body.
func refusedUpgrade(resp *http.Response, private []string) error {
	e := &APIError{
		Op: opStream, HTTPStatus: resp.StatusCode,
		RetryAfter: askedWait(resp),
	}
	if resp.StatusCode < 400 {
		e.trouble = "and no websocket"
	} else if members, err := readDocument(resp.Body); err == nil {
		e.fill(members, private)
	}
	return e
}

// Format implements [fmt.Formatter]: printing a Stream shows nothing of the login.
func (s *Stream) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "pushover.Stream") }

// Next waits for the next signal. Several in one frame come one by one, in
// order; text and binary frames are the same. It returns [ErrSilent] when there
// was no signal for [Options.Silence], a *[CloseError] when the other side closed,
// [ErrTooLarge] for a frame over 4 KiB, [ErrStreamClosed] after Close, and
// ErrUnavailable for other trouble. After an error the Stream is of no more use
// and must be closed.
func (s *Stream) Next() (Signal, error) {
	if len(s.pending) == 0 {
		if err := s.read(); err != nil {
			return 0, s.failure(err)
		}
	}
	sig := Signal(s.pending[0])
	s.pending = s.pending[1:]
	return sig, nil
}

// read waits for a frame that is not empty. The time limit is set once: neither
// pongs nor empty frames are a sign that the service still knows us.
func (s *Stream) read() error {
	if err := s.conn.SetReadDeadline(time.Now().Add(s.silence)); err != nil {
		return err
	}
	for len(s.pending) == 0 {
		_, data, err := s.conn.ReadMessage()
		if err != nil {
			return err
		}
		s.pending = data
	}
	return nil
}

func (s *Stream) failure(err error) error {
	var closed *websocket.CloseError
	var timeout net.Error
	var network *net.OpError
	select {
	case <-s.closed:
		return ErrStreamClosed
	default:
	}
	switch {
	case errors.As(err, &closed):
		return &CloseError{Code: closed.Code, Reason: cleanText(scrub(closed.Text, s.private))}
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w for %s", ErrSilent, s.silence)
	case errors.Is(err, websocket.ErrReadLimit):
		return fmt.Errorf("%s: a frame is %w (limit %d bytes)", opStream, ErrTooLarge, maxFrame)
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return newSendError(opStream, err, s.private)
	default: // the library's words for a frame against the protocol
		return &frameError{newSendError(opStream, err, s.private)}
	}
}

// A frameError is a violation of the websocket protocol.
type frameError struct{ error }

func (e *frameError) Unwrap() error { return e.error }

// Close says goodbye and closes the connection. It never fails after the first
// time.
func (s *Stream) Close() error {
	var err error
	s.closing.Do(func() {
		close(s.closed)
		_ = s.conn.WriteControl(websocket.CloseMessage,
			websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(closeTimeout))
		err = s.conn.Close()
		s.pings.Wait()
	})
	if err != nil {
		return newSendError(opStream, err, s.private)
	}
	return nil
}

// ping keeps the connection known to routers on the way. What comes back does not
// count: only signals show that the service still knows the login.
func (s *Stream) ping(every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-s.closed:
			return
		case <-t.C:
			// A failure shows in Next as well, and there somebody listens.
			_ = s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(every))
		}
	}
}

package pushovertest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"
)

// reachable tells where to connect. A listener on every interface is reached by
// loopback: the unspecified address cannot be connected to.
func reachable(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return a.String()
}

// Ports of the service inside the network of StartPipe.
const (
	pipePlainPort  = 80
	pipeSecurePort = 443
)

// Start serves plain HTTP on a free port of 127.0.0.1 and TLS on another,
// with certificates of an own authority; see [Server.CertPool].
func (s *Server) Start() error { return s.StartOn("127.0.0.1:0", "127.0.0.1:0") }

// StartOn serves on the given addresses; "" leaves that one out. If it fails,
// nothing is served. On every interface, as with ":8800", the service tells
// its address as 127.0.0.1.
func (s *Server) StartOn(plain, secure string) error {
	var lp, ls net.Listener
	var err error
	// Listening does not wait for anything a caller could want to cancel.
	var config net.ListenConfig
	ctx := context.Background()
	if plain != "" {
		if lp, err = config.Listen(ctx, "tcp", plain); err != nil {
			return fmt.Errorf("listen on %s: %w", plain, err)
		}
	}
	if secure != "" {
		if ls, err = config.Listen(ctx, "tcp", secure); err != nil {
			if lp != nil {
				err = errors.Join(err, lp.Close())
			}
			return fmt.Errorf("listen on %s: %w", secure, err)
		}
	}
	if err := s.start(lp, ls); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return nil
}

// StartPipe serves in memory only. Connections come from
// [Server.DialContext]. It fits into a testing/synctest bubble, whose clock
// then moves keep-alives, retries, retention and everything else.
func (s *Server) StartPipe() {
	n := &pipeNet{}
	plain, secure := newPipeListener(n, pipePlainPort), newPipeListener(n, pipeSecurePort)
	if err := s.start(plain, secure); err != nil {
		panic("pushovertest: start in memory: " + err.Error()) // no entropy or closed before
	}
	s.mu.Lock()
	n.plain, n.secure = plain, secure
	s.pipes = n
	s.mu.Unlock()
}

var errClosed = errors.New("simulator is closed")

// start takes over the listeners.
func (s *Server) start(plain, secure net.Listener) error {
	if secure != nil {
		if err := s.prepareTLS(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if plain != nil {
		s.plain = reachable(plain.Addr())
		s.serveOn(plain, plain)
	}
	if secure != nil {
		s.secure = reachable(secure.Addr())
		s.serveOn(secure, tls.NewListener(secure, s.authority.serverConfig()))
	}
	return nil
}

// serveOn starts one accept loop. Connections are counted from their first to
// their last moment, so that Close can wait for them.
func (s *Server) serveOn(raw, l net.Listener) {
	h := &http.Server{
		Handler:           s.Handler(),
		ConnState:         s.connState,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		// Connections are taken over to drop them and for websockets, which
		// HTTP/2 does not allow.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:     log.New(io.Discard, "", 0), // what clients that hang up cause
	}
	s.http = append(s.http, h)
	s.listeners = append(s.listeners, raw)
	s.serving.Go(func() {
		if err := h.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.log.Error("accept failed", "error", err)
		}
	})
}

// DialContext makes a connection in memory: TLS is spoken on it if the port
// of addr is 443, plain HTTP else. The host of addr does not matter. It is for
// the DialContext of an http.Transport and the NetDialContext of a websocket
// dialer, after [Server.StartPipe].
func (s *Server) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	refuse := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	s.mu.Lock()
	n := s.pipes
	s.mu.Unlock()
	if n == nil {
		return refuse(errors.New("simulator does not serve in memory"))
	}
	l := n.plain
	if _, port, err := net.SplitHostPort(addr); err == nil && port == strconv.Itoa(pipeSecurePort) {
		l = n.secure
	}
	client, server := newPipe(n.addresses(l.port))
	select {
	case l.incoming <- server:
		return client, nil
	case <-l.closed:
		return refuse(errClosed)
	case <-ctx.Done():
		return refuse(context.Cause(ctx))
	}
}

// APIURL is the base of the REST API in plain HTTP, without "/1". Empty if
// plain HTTP is not served.
func (s *Server) APIURL() string { return s.url("http://", &s.plain, "") }

// StreamURL is the websocket without TLS.
func (s *Server) StreamURL() string { return s.url("ws://", &s.plain, "/push") }

// TLSAPIURL is the base of the REST API with TLS.
func (s *Server) TLSAPIURL() string { return s.url("https://", &s.secure, "") }

// TLSStreamURL is the websocket with TLS.
func (s *Server) TLSStreamURL() string { return s.url("wss://", &s.secure, "/push") }

// TLSAddr is the address that serves TLS, for clients that can be told to
// connect there in place of api.pushover.net and client.pushover.net.
func (s *Server) TLSAddr() string { return s.url("", &s.secure, "") }

func (s *Server) url(scheme string, address *string, path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *address == "" {
		return ""
	}
	return scheme + *address + path
}

// CertPool trusts the authority that signed the server's certificate, and
// nothing else. Nil if TLS is not served.
func (s *Server) CertPool() *x509.CertPool {
	pem := s.CAPEM()
	if pem == nil {
		return nil
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return pool
}

// CAPEM is the authority's certificate as PEM. Nil if TLS is not served.
func (s *Server) CAPEM() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.authority == nil {
		return nil
	}
	return s.authority.pem
}

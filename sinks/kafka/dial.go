package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/sasl"
)

const (
	dialTimeout = 5 * time.Second // TCP, TLS and SASL together

	// After refused credentials nothing is dialled for a while, whoever asks:
	// brokers and directories lock accounts that keep trying.
	refusedPause    = 5 * time.Second
	refusedPauseMax = 5 * time.Minute
)

// A dialer opens authenticated connections to brokers. It is safe for
// concurrent use.
type dialer struct {
	config    Config
	mechanism sasl.Mechanism // nil = none
	clientID  string

	mu      sync.Mutex
	refused error // the last refusal, while it lasts
	until   time.Time
	pause   time.Duration
}

func newDialer(c Config, clientID string) (*dialer, error) {
	d := &dialer{config: c, clientID: clientID}
	var err error
	if d.mechanism, err = newMechanism(c); err != nil {
		return nil, err
	}
	if _, err := d.tlsConfig(); err != nil {
		return nil, err
	}
	return d, nil
}

// tlsConfig reads the files again for each connection, so that a rotated
// certificate is used from the next one on.
func (d *dialer) tlsConfig() (*tls.Config, error) {
	if !d.config.TLS {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := d.config.CAFile; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_CA_FILE: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("KAFKA_CA_FILE: no PEM certificate in %s", file)
		}
	}
	if d.config.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(d.config.CertFile, d.config.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_CERT_FILE, KAFKA_KEY_FILE: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

// dial connects to one broker and negotiates protocol versions.
func (d *dialer) dial(ctx context.Context, addr string) (*link, error) {
	if err := d.refusal(); err != nil {
		return nil, fmt.Errorf("broker %s: %w", addr, err)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	l, err := d.connect(ctx, addr)
	d.note(err)
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", addr, err)
	}
	return l, nil
}

func (d *dialer) connect(ctx context.Context, addr string) (_ *link, err error) {
	tlsConfig, err := d.tlsConfig()
	if err != nil {
		return nil, err
	}
	var nd net.Dialer
	conn, err := nd.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = conn.Close()
		}
	}()
	if tlsConfig != nil {
		host, _, _ := net.SplitHostPort(addr)
		tlsConfig.ServerName = host
		tc := tls.Client(conn, tlsConfig)
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, explainHandshake(err)
		}
		conn = tc
	}
	l := &link{addr: addr, conn: conn, pc: protocol.NewConn(conn, d.clientID)}
	if err := l.negotiate(); err != nil {
		return nil, d.explainFirst(err)
	}
	if d.mechanism != nil {
		if err := l.authenticate(ctx, d.mechanism); err != nil {
			return nil, err
		}
	}
	l.anonymous = d.mechanism == nil
	return l, nil
}

// explainHandshake says what a failed TLS handshake usually means.
func explainHandshake(err error) error {
	var record tls.RecordHeaderError
	if errors.As(err, &record) || errors.Is(err, io.EOF) || isReset(err) {
		return &linkError{reason: ReasonTLS, err: fmt.Errorf("TLS handshake: the broker does not speak TLS on this port; unset KAFKA_TLS or use its TLS port: %w", err)}
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return &linkError{reason: ReasonTLS, err: fmt.Errorf("TLS handshake: the broker's certificate is of an authority that is not trusted; see KAFKA_CA_FILE: %w", err)}
	}
	return &linkError{reason: ReasonTLS, err: fmt.Errorf("TLS handshake: %w", err)}
}

// explainFirst says what it usually means when the first exchange on a fresh
// connection fails.
func (d *dialer) explainFirst(err error) error {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert
		return &linkError{reason: ReasonTLS, err: fmt.Errorf("the broker refuses the TLS client certificate; see KAFKA_CERT_FILE: %w", err)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &linkError{reason: ReasonTimeout, err: fmt.Errorf("connected, but no answer as from a Kafka broker; is this its port? %w", err)}
	case d.config.TLS:
		return err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), isReset(err):
		return &linkError{reason: ReasonTLS, err: fmt.Errorf("the broker hangs up on a plain connection; is this its TLS port? then set KAFKA_TLS=true: %w", err)}
	}
	return err
}

// note remembers refused credentials, and forgets them after a success.
func (d *dialer) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var auth *authError
	switch {
	case err == nil:
		d.refused, d.pause = nil, 0
	case errors.As(err, &auth):
		d.pause = min(max(2*d.pause, refusedPause), refusedPauseMax)
		d.refused, d.until = err, time.Now().Add(d.pause)
	}
}

// refusal is the refusal that still forbids to dial, if any.
func (d *dialer) refusal() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused != nil && time.Now().Before(d.until) {
		return d.refused
	}
	return nil
}

// An authError says that the broker, or the token endpoint, refused our
// credentials.
type authError struct{ err error }

func (e *authError) Error() string { return "authentication refused: " + e.err.Error() }
func (e *authError) Unwrap() error { return e.err }

package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/pushover-connector/pushover-connector/connector"
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
	config   Config
	bearer   bearer // for OAUTHBEARER
	clientID string
	proved   atomic.Bool // a broker has answered a request, so the configuration is right

	mu      sync.Mutex
	refused error  // the last refusal, while it lasts
	with    string // the secrets that were refused
	until   time.Time
	pause   time.Duration
}

func newDialer(c Config, clientID string) (*dialer, error) {
	d := &dialer{config: c, clientID: clientID, bearer: newOAuth(c)}
	if _, err := d.mechanism(); err != nil {
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
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	l, err := d.connect(ctx, addr)
	if err != nil {
		err = d.explain(ctx, addr, err)
	}
	d.note(err)
	return l, err
}

func (d *dialer) connect(ctx context.Context, addr string) (_ *link, err error) {
	tlsConfig, err := d.tlsConfig()
	if err != nil {
		return nil, err
	}
	var nd net.Dialer
	conn, err := nd.DialContext(ctx, "tcp", d.config.reach(addr))
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
			return nil, d.explainFirst(addr, err, true)
		}
		conn = tc
	}
	l := &link{addr: addr, conn: conn, pc: protocol.NewConn(conn, d.clientID), anonymous: d.config.SASLMechanism == "", proved: &d.proved}
	if err := l.greet(d.clientID); err != nil {
		return nil, d.explainFirst(addr, err, false)
	}
	mechanism, err := d.mechanism()
	if err == nil && mechanism != nil {
		err = l.authenticate(ctx, mechanism)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// explain classifies the error of a connection that could not be made, and names
// the address.
func (d *dialer) explain(ctx context.Context, addr string, err error) error {
	var known *connector.Failure
	var auth *authError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case errors.As(err, &known):
		return err
	case errors.As(err, &auth):
		remedy := "check KAFKA_USERNAME and KAFKA_PASSWORD"
		if d.config.SASLMechanism == mechanismOAuth {
			remedy = "check the KAFKA_OAUTH settings"
		}
		return &connector.Failure{Reason: connector.ReasonBusAuth, Detail: fmt.Sprintf("broker %s: %v", addr, err), Remedy: remedy, Err: err}
	}
	err = fmt.Errorf("broker %s: %w", addr, err)
	if reason := reasonOf(err); reason == connector.ReasonBusUnreachable || reason == connector.ReasonDNS || reason == connector.ReasonTimeout {
		f := &connector.Failure{Reason: reason, Remedy: "check KAFKA_BROKERS, and that the brokers run", Err: err}
		if !slices.Contains(d.config.brokers(), addr) {
			f.Detail = fmt.Sprintf("the cluster tells clients to connect to %s, which cannot be reached: %v", addr, err)
			f.Remedy = "see that this broker runs, and correct its advertised.listeners, or set KAFKA_ADDRESS_MAP"
		}
		return f
	}
	return failure(err)
}

// explainFirst says what it usually means when a connection fails after it was
// taken and before the first request: at the TLS handshake or at the greeting.
// That a broker hangs up is telling only as long as none has answered yet.
func (d *dialer) explainFirst(addr string, err error, handshake bool) error {
	var record tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var op *net.OpError
	failed := func(detail, remedy string) error {
		return &connector.Failure{Reason: connector.ReasonTLS, Detail: fmt.Sprintf("broker %s %s", addr, detail), Remedy: remedy, Err: err}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		f := &connector.Failure{Reason: connector.ReasonTimeout, Detail: fmt.Sprintf("broker %s does not answer", addr), Err: err}
		if !d.proved.Load() {
			f.Detail = fmt.Sprintf("no Kafka broker answers at %s: it takes the connection and stays silent", addr)
			f.Remedy = "check KAFKA_BROKERS"
		}
		return f
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert; TLS 1.3 refuses a client certificate after the handshake
		return failed("refuses the TLS connection: "+op.Err.Error(), "if it wants a client certificate, check KAFKA_CERT_FILE")
	case errors.As(err, &record):
		if hint := foreignHint(record.RecordHeader[:]); hint != "" {
			return notKafka(addr, hint)
		}
		return failed("does not speak TLS on this port", "unset KAFKA_TLS or use its TLS port")
	case errors.As(err, &unknown):
		return failed("has a certificate of an authority that is not trusted", "set KAFKA_CA_FILE to the certificate of that authority")
	case isClosed(err) && d.proved.Load():
		return err
	case isClosed(err) && handshake:
		return failed("hangs up during the TLS handshake: it does not speak TLS on this port", "unset KAFKA_TLS or use its TLS port")
	case isClosed(err) && !d.config.TLS:
		return failed("hangs up on a plain connection", "if this is its TLS port, set KAFKA_TLS=true; else check KAFKA_BROKERS")
	case handshake:
		return failed("fails the TLS handshake: "+err.Error(), "")
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
		d.with = d.config.secrets()
	}
}

// refusal is the refusal that still forbids to dial, if any.
func (d *dialer) refusal() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused == nil || !time.Now().Before(d.until) || d.config.secrets() != d.with {
		return nil
	}
	return d.refused
}

// An authError says that the broker, or the token endpoint, refused our
// credentials.
type authError struct{ err error }

func (e *authError) Error() string { return "authentication refused: " + e.err.Error() }
func (e *authError) Unwrap() error { return e.err }

package pushover

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"time"
)

// A Client speaks the Open Client API for one device. Make one with [New]. All
// its methods may be called from several goroutines at once.
//
// It keeps the service's manners whatever the caller does:
//
//   - at most two connections to the API, reused; further calls wait for their
//     turn, and only downloads and deletions can have both;
//   - after a failure of the service or no reply, every call waits: 5 seconds at
//     first, then twice as long each time, with jitter, up to 5 minutes, and then
//     one call goes ahead as a probe while the others keep waiting; a success
//     lets all of them go. Calls that somebody waits for try every 10 to 12
//     seconds, see [Urgent]. After 429 the wait is at least a minute, and as long
//     as the service asks. If a call's own deadline passes before the reply, the
//     others wait 5 seconds; cancelling it costs nothing;
//   - after ten rejections in a row of one kind of call, such as acknowledgements,
//     further ones of that kind wait 5 to 30 seconds each, since the service blocks
//     clients that send many bad requests; a missing icon or sound is not counted;
//   - a request that was rejected is not sent again by the same Client for an
//     hour: the same error is returned at once. [Client.WithCredentials] makes a
//     Client that has forgotten the rejections;
//   - redirects are not followed, and the User-Agent is on every request.
//
// So a call may take long when the service is in trouble. Bound it with its
// context.
type Client struct {
	o        Options
	api      *url.URL
	stream   *url.URL
	log      *slog.Logger
	link     *link
	rejected *rejections
	settler  *settler
}

// New makes a Client. It does no I/O. The error names the Options field at
// fault.
func New(o Options) (*Client, error) {
	o = o.withDefaults()
	api, stream, err := o.validate()
	if err != nil {
		return nil, fmt.Errorf("pushover options: %w", err)
	}
	return &Client{
		o: o, api: api, stream: stream, log: o.Logger,
		link: newLink(o, api.Hostname()), rejected: newRejections(), settler: new(settler),
	}, nil
}

// WithCredentials returns a Client for other credentials. It shares connections,
// their limit and the waiting after trouble with c, but not the memory of
// rejected requests.
func (c *Client) WithCredentials(cr Credentials) *Client {
	d := *c
	d.o.Credentials = cr
	d.rejected, d.settler = newRejections(), new(settler)
	return &d
}

// Credentials returns the credentials the Client works with.
func (c *Client) Credentials() Credentials { return c.o.Credentials }

// Close closes idle connections. The Client stays usable, and so do those that
// share its connections.
func (c *Client) Close() { c.link.transport.CloseIdleConnections() }

// Format implements [fmt.Formatter]: printing a Client, or a copy of one, shows
// the device's name and nothing else.
func (c Client) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "pushover.Client(%s)", cleanText(c.o.Credentials.DeviceName))
}

// tlsConfig returns a new configuration each time: the websocket library and
// net/http must not share one. host is the only one that is connected to by it.
func tlsConfig(o Options, host string) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs}
	if o.CAFile != "" {
		// Roots cannot be changed in a configuration in use, so the verification
		// that is left out here is made below.
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = func(cs tls.ConnectionState) error { return verify(cs, o.CAFile, host) }
	}
	return cfg
}

// verify does what crypto/tls does by itself, with the roots that the file holds
// now.
func verify(cs tls.ConnectionState, file, host string) error {
	pem, err := os.ReadFile(file) // #nosec G304 -- the path is the caller's choice
	if err != nil {
		return fmt.Errorf("CA file: %w", err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("CA file: %s contains no PEM certificate", file)
	}
	for _, c := range cs.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err = cs.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
	}
	return nil
}

// newTransport speaks HTTP/1.1 only: its connections can be counted, and a
// stalled one is noticed by the time limit of the request on it.
func newTransport(o Options, host string) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  proxyFor(o),
		DialContext:            dialer(o),
		TLSClientConfig:        tlsConfig(o, host),
		TLSHandshakeTimeout:    o.Timeout,
		Protocols:              &protocols,
		MaxConnsPerHost:        maxConns,
		MaxIdleConnsPerHost:    maxConns,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// proxyFor keeps a proxy's address out of errors: it may hold a password.
func proxyFor(o Options) func(*http.Request) (*url.URL, error) {
	if o.DialContext != nil {
		return nil
	}
	return func(r *http.Request) (*url.URL, error) {
		u, err := http.ProxyFromEnvironment(r)
		if err != nil {
			return nil, errors.New("the proxy address in the environment is not a URL")
		}
		return u, nil
	}
}

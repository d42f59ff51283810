package pushover

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
)

// The public service.
const (
	DefaultAPIURL    = "https://api.pushover.net"
	DefaultStreamURL = "wss://client.pushover.net/push"
)

// Options configure a [Client]. The zero value of every field is the safe
// choice; only Credentials are needed for more than logging in.
type Options struct {
	// APIURL is the root of the REST API, without "/1". Default:
	// [DefaultAPIURL]. StreamURL is the address of the push stream. Default:
	// [DefaultStreamURL]. Plain http and ws are refused for other hosts than
	// this one, unless AllowPlaintext is set: every request carries the secret.
	APIURL, StreamURL string
	AllowPlaintext    bool

	// UserAgent names the program to the service, which asks for it. Default:
	// name and version of this library.
	UserAgent string

	// Credentials of the device; may be empty for [Client.Login], and have no
	// device id for [Client.RegisterDevice].
	Credentials Credentials

	// RootCAs verify the servers' certificates. Nil means the system's. CAFile, if it
	// is set, is a PEM file with those to use instead. It is read for each
	// connection, so that a renewed one is used from the next connection on.
	RootCAs *x509.CertPool
	CAFile  string

	// DialContext opens the connections of both REST and stream. Nil means a
	// [net.Dialer] and the proxies of the environment
	// ([net/http.ProxyFromEnvironment]), whose addresses must begin with http:// or
	// socks5://, since the stream cannot use those of https:// and socks5h://. With
	// DialContext set, no proxy is used.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// Logger gets what happens on the way, never a secret and never a message's
	// text. Nil discards.
	Logger *slog.Logger

	// Timeout limits one REST call, its body included, and the opening of a
	// stream. A download may take longer, up to 20 times Timeout, as long as each
	// Timeout brings 64 KiB or its end. Default 30 s.
	Timeout time.Duration

	// Silence is how long a stream may give no signal before [Stream.Next]
	// returns ErrSilent. The service sends one every 30 s or so. Default 90 s.
	Silence time.Duration

	// PingInterval is the time between pings that keep routers on the way from
	// forgetting a stream. Default 30 s.
	PingInterval time.Duration

	// MaxBatch is the most messages kept of one download, MaxBatchBytes the most
	// bytes of their JSON (one message is always kept). Defaults: 5000, 8 MiB.
	MaxBatch, MaxBatchBytes int

	// MaxBody is the most bytes read of a download. Of a longer one the beginning is
	// used, and [Batch.More] set, if its ids ascend; else it fails with ErrTooLarge.
	// Default 64 MiB. Other documents may have 1 MiB, icons and sounds 5 MiB.
	MaxBody int64

	// OnRequest is called after every REST request, by the goroutine that made
	// it. It must not block.
	OnRequest func(RequestInfo)

	// OnAPIState is called when REST requests are held back after a failure,
	// whenever the time of the next one moves, and when requests succeed again: one
	// call at a time, in order, from a goroutine that makes a request or follows
	// the stream. It must not block. [Client.APIState] returns the same on demand.
	OnAPIState func(APIState)

	// HoldUntil is the earliest time of the first REST request, for a process that
	// starts while the service is in trouble: what [APIState].RetryAt was in the one
	// before. Zero, or a time that has passed, holds nothing back.
	HoldUntil time.Time
}

// A RequestInfo describes a finished REST request, for metrics.
type RequestInfo struct {
	Op       string        // login, register, messages, delete, acknowledge, icon or sound
	Status   int           // HTTP status; 0 if no reply came
	Duration time.Duration // from sending to the end of the body, waits before it excluded
	Err      error         // what the caller gets
}

const (
	maxDocument = 1 << 20 // any JSON document except a download, and any single message
	maxFile     = 5 << 20
	maxHeader   = 64 << 10
)

func (o Options) withDefaults() Options {
	setDefault(&o.APIURL, DefaultAPIURL)
	setDefault(&o.StreamURL, DefaultStreamURL)
	setDefault(&o.UserAgent, defaultUserAgent())
	setDefault(&o.Timeout, 30*time.Second)
	setDefault(&o.Silence, 90*time.Second)
	setDefault(&o.PingInterval, 30*time.Second)
	setDefault(&o.MaxBatch, 5000)
	setDefault(&o.MaxBatchBytes, 8<<20)
	setDefault(&o.MaxBody, 64<<20)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

const modulePath = "github.com/pushover-connector/pushover-connector"

func defaultUserAgent() string {
	version := "devel"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == modulePath && m.Version != "" {
				version = strings.Trim(m.Version, "()")
			}
		}
	}
	return "pushover-connector-go/" + version + " (unofficial Open Client library; +https://" + modulePath + ")"
}

// validate checks what New cannot work with and names the field. o has its
// defaults.
func (o Options) validate() (api, stream *url.URL, err error) {
	api, err = o.parseURL("APIURL", o.APIURL, "https", "http")
	if err == nil && (api.Path == "/1" || strings.HasSuffix(api.Path, "/1")) {
		err = errors.New("APIURL: leave out the /1 at the end, it is added to every request")
	}
	stream, err2 := o.parseURL("StreamURL", o.StreamURL, "wss", "ws")
	err = errors.Join(err, err2)
	if strings.ContainsFunc(o.UserAgent, func(r rune) bool { return r < ' ' || r > '~' }) {
		err = errors.Join(err, errors.New("UserAgent: want printable ASCII"))
	}
	for name, v := range map[string]int64{
		"Timeout": int64(o.Timeout), "Silence": int64(o.Silence), "PingInterval": int64(o.PingInterval),
		"MaxBatch": int64(o.MaxBatch), "MaxBatchBytes": int64(o.MaxBatchBytes), "MaxBody": o.MaxBody,
	} {
		if v < 0 {
			err = errors.Join(err, errors.New(name+": must not be negative"))
		}
	}
	return api, stream, err
}

// parseURL does not repeat the URL in its errors: it may hold a password.
func (o Options) parseURL(field, raw, secure, plain string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme == "":
		return nil, fmt.Errorf("%s: not a URL like %s://host:port/path", field, secure)
	case u.Scheme != secure && u.Scheme != plain:
		return nil, fmt.Errorf("%s: scheme is %q, want %s", field, cleanText(u.Scheme), secure)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("%s: must have no user, query or fragment", field)
	case u.Scheme == plain && !o.AllowPlaintext && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("%s: %s would send the session secret in the clear, want %s (plain only to this host, or with AllowPlaintext)",
			field, plain, secure)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

package nats

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	apiTimeout   = 5 * time.Second  // of one request to the server
	writeTimeout = 2 * time.Second  // for the connection to take a buffer full
	dialTimeout  = 5 * time.Second  // of one attempt to connect, TLS included
	pingInterval = 20 * time.Second // two without an answer end a connection
	maxReconnect = 5 * time.Second  // longest wait between attempts
	minReconnect = 100 * time.Millisecond
	fileInterval = 2 * time.Second // between looks at the files' times
)

// connect makes the connection, trying again until ctx ends while the server
// cannot be reached.
func (b *Bus) connect(ctx context.Context) (*nats.Conn, error) {
	d := &dialer{}
	d.ctx.Store(&ctx)
	options, err := b.options(d)
	if err != nil {
		return nil, err
	}
	var why *connector.Failure
	for attempt := 1; ; attempt++ {
		d.reset()
		nc, err := nats.Connect(b.cfg.address(), options...)
		if err == nil {
			background := context.WithoutCancel(ctx)
			d.ctx.Store(&background)
			b.link.conn.Store(nc)
			b.link.connected()
			return nc, nil
		}
		err = d.cause(err)
		if ctx.Err() == nil || why == nil { // otherwise the end of ctx ended the attempt
			why = b.connectFailure(err)
		}
		if refused(err) || b.opts.ReadOnly || b.opts.Attach {
			return nil, why
		}
		wait := backoff(attempt)
		b.link.failed(why, time.Now().Add(wait))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), why)
		}
	}
}

// options are those of every connection. Nothing is buffered while it is down:
// what is sent later would be a repeat of what the caller has sent again. A
// refused login is tried again like any other failure, as credentials may be
// rotated on either side first.
func (b *Bus) options(d *dialer) ([]nats.Option, error) {
	l := b.link
	options := []nats.Option{
		nats.Name(b.opts.Name),
		nats.Timeout(dialTimeout),
		// Writing holds the connection's lock, past any context, and the library
		// would allow a peer that takes nothing a minute.
		nats.FlusherTimeout(writeTimeout),
		nats.SetCustomDialer(d),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.NoCallbacksAfterClientClose(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { l.disconnected(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { l.connected() }),
		nats.ErrorHandler(b.asyncError),
		nats.CustomInboxPrefix(b.cfg.InboxPrefix),
	}
	if b.cfg.TLSFirst {
		options = append(options, nats.TLSHandshakeFirst())
	}
	if b.server != nil {
		options = append(options, nats.InProcessServer(b.server))
	}
	tls, err := b.tlsOptions()
	if err != nil {
		return nil, err
	}
	login, err := b.loginOptions(d)
	if err != nil {
		return nil, err
	}
	return append(append(options, tls...), login...), nil
}

// reconnectDelay paces the attempts, and is the place to learn why one failed:
// nats.go tells no handler of a TLS handshake or login that failed during a
// reconnect. It also replaces a rotated nkey: nats.go signs with the new seed but
// keeps the public key of the first connect. It is called between two attempts,
// by the goroutine that makes them, the only one to read that option.
func (b *Bus) reconnectDelay(d *dialer, prepare func(*nats.Conn)) nats.Option {
	return nats.CustomReconnectDelay(func(attempts int) time.Duration {
		wait := backoff(attempts)
		nc := b.link.conn.Load()
		if nc == nil {
			return wait
		}
		err := nc.LastError()
		if err == nil {
			err = d.last()
		}
		d.reset()
		if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			b.link.failed(b.connectFailure(err), time.Now().Add(wait))
		}
		if prepare != nil {
			prepare(nc)
		}
		return wait
	})
}

// backoff doubles from minReconnect to maxReconnect, less up to a quarter.
func backoff(attempts int) time.Duration {
	wait := min(maxReconnect, minReconnect/2<<min(attempts, 10))
	return wait - rand.N(wait/4)
}

func (b *Bus) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		b.link.deny(err)
	case authRefused(err):
		b.link.failed(b.connectFailure(err), time.Now().Add(minReconnect))
	case sub != nil:
		b.log.Warn("subscription failed", "subject", sub.Subject, "error", err)
	default:
		b.log.Warn("connection error", "error", err)
	}
}

// watchFiles returns what reconnects when a credential or certificate was replaced
// since now, so that the new one is in use before the old one ends.
func (b *Bus) watchFiles() (watch func(context.Context)) {
	files := b.cfg.files()
	seen := make([]os.FileInfo, len(files))
	look := func() (changed bool) {
		for i, f := range files {
			now, err := os.Stat(f.path)
			if err != nil {
				continue // being replaced; the old one stays in use
			}
			if old := seen[i]; old != nil && (!os.SameFile(old, now) || !old.ModTime().Equal(now.ModTime()) || old.Size() != now.Size()) {
				changed = true
			}
			seen[i] = now
		}
		return changed
	}
	look()
	return func(ctx context.Context) {
		if len(files) == 0 || b.server != nil {
			return
		}
		tick := time.NewTicker(fileInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if look() {
				b.reconnect(&connector.Failure{
					Reason: connector.ReasonReconnecting, Detail: "credentials or certificates have changed",
				})
			}
		}
	}
}

// reconnect makes a new connection in place of the present one, and says why.
func (b *Bus) reconnect(why *connector.Failure) {
	b.link.plan(why)
	if err := b.nc.ForceReconnect(); err != nil {
		b.log.Warn("reconnect failed", "error", err)
	}
}

// A dialer remembers why it failed, which nats.go reduces to "no servers
// available", and gives up when its context ends.
type dialer struct {
	ctx atomic.Pointer[context.Context]

	mu  sync.Mutex
	err error
}

// Dial implements [nats.CustomDialer].
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	nd := net.Dialer{Timeout: dialTimeout}
	conn, err := nd.DialContext(*d.ctx.Load(), network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	return conn, err
}

func (d *dialer) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = nil
}

func (d *dialer) last() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

func (d *dialer) cause(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil && errors.Is(err, nats.ErrNoServers) {
		return d.err
	}
	return err
}

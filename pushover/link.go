package pushover

import (
	"context"
	"net"
	"net/http"
	"time"
)

// maxConns is the most connections the service allows one client
// (https://pushover.net/api#friendly).
const maxConns = 2

// A link is what the Clients of one New share: connections, the turns to use
// them, and the gate that is closed while the service is in trouble.
type link struct {
	transport *http.Transport
	turns     chan struct{}
	gate      *gate
}

func newLink(o Options) *link {
	return &link{
		transport: newTransport(o),
		turns:     make(chan struct{}, maxConns),
		gate:      newGate(),
	}
}

// enter waits for a turn and for the gate. leave must be called with the outcome
// of the request.
func (l *link) enter(ctx context.Context) (leave func(outcome), err error) {
	select {
	case l.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	probe, err := l.gate.enter(ctx)
	if err != nil {
		<-l.turns
		return nil, err
	}
	return func(o outcome) {
		l.gate.leave(probe, o)
		<-l.turns
	}, nil
}

func dialer(o Options) func(ctx context.Context, network, addr string) (net.Conn, error) {
	if o.DialContext != nil {
		return o.DialContext
	}
	d := &net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second}
	return d.DialContext
}

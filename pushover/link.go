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
	turns     chan struct{} // one for each connection
	side      chan struct{} // one for whatever is not about messages
	gate      *gate
}

func newLink(o Options, host string) *link {
	return &link{
		transport: newTransport(o, host),
		turns:     make(chan struct{}, maxConns),
		side:      make(chan struct{}, maxConns-1),
		gate:      newGate(o.OnAPIState, o.HoldUntil),
	}
}

// enter waits for a turn and for the gate. Who waits for the gate holds no turn.
// leave must be called with the outcome of the request.
func (l *link) enter(ctx context.Context, op string) (leave func(outcome), err error) {
	c := l.gate.join(op, isUrgent(ctx), isSure(ctx))
	for {
		release, err := l.takeTurn(ctx, op)
		if err != nil {
			l.gate.quit(c)
			return nil, err
		}
		h, passed := l.gate.try(c)
		if passed {
			return func(o outcome) {
				l.gate.leave(c, o)
				release()
			}, nil
		}
		release()
		if err := h.wait(ctx); err != nil {
			l.gate.quit(c)
			return nil, err
		}
	}
}

// takeTurn waits for a connection. Downloads and deletions can have both, all
// the others only one between them, so that a message never waits for them.
func (l *link) takeTurn(ctx context.Context, op string) (release func(), err error) {
	lanes := []chan struct{}{l.side, l.turns}
	if op == opMessages || op == opDelete {
		lanes = lanes[1:]
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	for i, lane := range lanes {
		select {
		case lane <- struct{}{}:
		case <-ctx.Done():
			giveBack(lanes[:i])
			return nil, context.Cause(ctx)
		}
	}
	return func() { giveBack(lanes) }, nil
}

func giveBack(lanes []chan struct{}) {
	for _, lane := range lanes {
		<-lane
	}
}

func dialer(o Options) func(ctx context.Context, network, addr string) (net.Conn, error) {
	if o.DialContext != nil {
		return o.DialContext
	}
	d := &net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second}
	return d.DialContext
}

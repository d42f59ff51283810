package pushover

import "time"

// An APIState says whether REST requests may be sent. It is the same for all
// Clients that share their connections, see [Client.WithCredentials].
type APIState struct {
	Open     bool      // requests are sent at once; the rest is then zero
	Err      error     // the last failure, without secrets
	RetryAt  time.Time // when the next request may be sent; past while it is under way
	Attempts int       // failures in a row
}

// APIState returns the present state. It may be called from several goroutines
// at once.
func (c *Client) APIState() APIState {
	c.link.gate.mu.Lock()
	defer c.link.gate.mu.Unlock()
	return c.link.gate.state()
}

// state takes into account who waits, and who is likely to come back. g.mu is
// held.
func (g *gate) state() APIState {
	if !g.closed {
		return APIState{Open: true}
	}
	s := APIState{Err: g.err, RetryAt: g.until, Attempts: g.attempts}
	urgent := g.hurried || g.urges > g.served
	for c := range g.callers {
		urgent = urgent || c.urgent
	}
	switch {
	case g.probing:
		s.RetryAt = g.told.RetryAt
	case urgent && g.soon.Before(g.until):
		s.RetryAt = g.soon
	}
	return s
}

// unlock unlocks g.mu and reports what changed under it: in order, without the
// lock, and by one goroutine at a time for all the others.
func (g *gate) unlock() {
	defer g.mu.Unlock()
	if s := g.state(); s != g.told {
		g.told = s
		if g.report != nil {
			g.untold = append(g.untold, s)
		}
	}
	if g.telling {
		return
	}
	g.telling = true
	for len(g.untold) > 0 {
		s := g.untold[0]
		g.untold = g.untold[1:]
		g.mu.Unlock()
		g.report(s)
		g.mu.Lock()
	}
	g.telling = false
}

package pushovertest

import (
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	maxConnections = 2
	// A connection that the client closed just before it opened the next may
	// look open for a moment.
	closingTime = time.Second
	// A request or answer this long after the doubt arose shows that its
	// connection was not just closing.
	proofOfUse = 250 * time.Millisecond
	// maxAtOnce requests in progress cannot be two open connections and two
	// that are closing.
	maxAtOnce = 5
)

// A conn is one TCP connection.
type conn struct {
	order    uint64
	tracked  bool   // its end will be seen
	client   string // known from its first API request
	requests int
	active   bool
	closed   bool
	lastUse  time.Time
}

func connKey(local net.Addr, remote string) string {
	if local == nil {
		return remote
	}
	return local.String() + " " + remote
}

// connState follows the connections of the server's own listeners.
func (s *Server) connState(c net.Conn, state http.ConnState) {
	key := connKey(c.LocalAddr(), c.RemoteAddr().String())
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.manners
	switch state {
	case http.StateNew:
		s.working.Add(1)
		m.clock++
		m.conns[key] = &conn{order: m.clock, tracked: true}
	case http.StateActive, http.StateIdle:
		if one := m.conns[key]; one != nil {
			one.active = state == http.StateActive
		}
	case http.StateClosed, http.StateHijacked:
		if one := m.conns[key]; one != nil {
			one.closed = true
			delete(m.conns, key)
		}
		s.working.Done()
	}
}

// enter finds the connection and the client of a request.
func (m *manners) enter(r *http.Request, c *call) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	key := connKey(local, r.RemoteAddr)
	one := m.conns[key]
	m.clock++
	if one == nil {
		if len(m.conns) > maxNotes {
			clear(m.conns) // of a foreign server, whose connections never end here
		}
		one = &conn{order: m.clock}
		m.conns[key] = one
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	c.conn, c.client = one, host+" "+c.agent
	one.requests++
	one.lastUse = c.arrived
	c.first = one.requests == 1
	if one.client == "" && receiving(c.op) {
		one.client = c.client
		m.countConnections(c)
	}
}

// countConnections looks for too many connections when one was added.
func (m *manners) countConnections(c *call) {
	var open []*conn
	active := 0
	for _, o := range m.conns {
		if o.tracked && !o.closed && o.client == c.client {
			open = append(open, o)
			if o.active {
				active++
			}
		}
	}
	if len(open) <= maxConnections {
		return
	}
	if active > maxAtOnce {
		m.tooMany(active)
		return
	}
	s := m.server
	since := time.Now()
	ready := make(chan struct{})
	var t *time.Timer
	t = time.AfterFunc(closingTime, func() {
		<-ready
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.manners.suspects, t)
		if s.closed {
			return
		}
		n := 0
		for _, o := range open {
			if !o.closed || o.lastUse.Sub(since) > proofOfUse {
				n++
			}
		}
		if n > maxConnections {
			s.manners.tooMany(n)
		}
	})
	m.suspects[t] = struct{}{}
	close(ready)
}

func (m *manners) tooMany(n int) {
	// Once a minute tells as much as once per connection.
	minute := strconv.FormatInt(time.Now().Unix()/60, 10)
	m.accuseOnce(RuleConnections, minute, strconv.Itoa(n)+" connections to the API at once")
}

// used notes that a client was there to take its answer.
func (m *manners) used(c *call) { c.conn.lastUse = time.Now() }

// stop ends what is still being watched.
func (m *manners) stop() {
	for t := range m.suspects {
		t.Stop()
	}
}

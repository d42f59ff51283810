package pushovertest

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Operations, as Fault.On, Requests and State name them.
const (
	opLogin       = "POST login"
	opRegister    = "POST devices"
	opDownload    = "GET messages"
	opDelete      = "POST delete"
	opAcknowledge = "POST acknowledge"
	opIcon        = "GET icon"
	opSound       = "GET sound"
	opStream      = "stream"

	opSend      = "POST messages"
	opReceipt   = "GET receipt"
	opCancel    = "POST cancel"
	opCancelTag = "POST cancel_by_tag"
	opValidate  = "POST validate"
	opSounds    = "GET sounds"
	opLimits    = "GET limits"

	opUnknown = "unknown"
)

// receiving tells the Open Client API from the sending side. Manners are
// asked of receivers.
func receiving(op string) bool {
	switch op {
	case opLogin, opRegister, opDownload, opDelete, opAcknowledge, opIcon, opSound:
		return true
	}
	return false
}

func knownOp(op string) bool {
	switch op {
	case opStream, opSend, opReceipt, opCancel, opCancelTag, opValidate, opSounds, opLimits, opUnknown:
		return true
	}
	return receiving(op)
}

// A call is one REST request with what the rules need to know about it.
type call struct {
	op, arg      string // arg is the variable part of the path
	method, path string
	params       url.Values
	agent        string
	client       string // address and User-Agent
	conn         *conn
	first        bool // the first request of its connection
	arrived      time.Time
	attachment   int // bytes
}

func (c *call) deviceID(aliases bool) string {
	id := c.params.Get("device_id")
	if id == "" && aliases {
		if id = c.params.Get("device"); id == "" {
			id = c.params.Get("deviceId")
		}
	}
	return id
}

// Handler serves everything on one address: the REST API of both hosts, the
// websocket, the sending side and the control calls under /sim/. Mounted on a
// server of somebody else, it cannot see connections end, so that
// [RuleConnections] is not checked.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/sim/") {
		s.serveControl(w, r)
		return
	}
	op, arg := route(r)
	c := s.arrive(r, op, arg)
	if op == opStream {
		s.serveStream(w, r, c)
		return
	}
	if err := c.read(r); err != nil {
		s.finish(w, r, c, s.refuse(http.StatusRequestEntityTooLarge, "", err.Error()), nil)
		return
	}
	s.mu.Lock()
	s.manners.arrived(c)
	f := s.fault(op)
	s.mu.Unlock()
	if f != nil && !f.before(s, r) {
		s.dropped(c, false)
		panic(http.ErrAbortHandler)
	}
	var rep reply
	if f == nil || f.acts() {
		rep = s.act(c)
	}
	if f != nil && f.answers() {
		rep = f.reply(s)
	}
	s.finish(w, r, c, rep, f)
}

// arrive notes a request before anything is read from its body.
func (s *Server) arrive(r *http.Request, op, arg string) *call {
	c := &call{op: op, arg: arg, method: r.Method, path: r.URL.Path, arrived: time.Now(), agent: r.UserAgent()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[op]++
	s.manners.enter(r, c)
	s.bump()
	s.log.Debug("request", "op", op)
	return c
}

// route names the operation and the variable part of the path. It is not
// strict about the path of a websocket: clients that connect to "/push:443"
// have worked for years.
func route(r *http.Request) (op, arg string) {
	p := r.URL.Path
	if strings.HasPrefix(p, "/push") && (strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || p == "/push") {
		return opStream, ""
	}
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	if name, ok := strings.CutPrefix(p, "/icons/"); ok && get {
		return opIcon, name
	}
	if name, ok := strings.CutPrefix(p, "/sounds/"); ok && get {
		return opSound, name
	}
	p, ok := strings.CutPrefix(p, "/1/")
	if !ok {
		return opUnknown, ""
	}
	p = strings.TrimSuffix(p, ".json")
	parts := strings.Split(p, "/")
	switch {
	case r.Method == http.MethodPost:
		return routePost(p, parts)
	case !get:
		return opUnknown, ""
	case p == "messages":
		return opDownload, ""
	case p == "sounds":
		return opSounds, ""
	case p == "apps/limits":
		return opLimits, ""
	case len(parts) == 2 && parts[0] == "receipts":
		return opReceipt, parts[1]
	}
	return opUnknown, ""
}

func routePost(p string, parts []string) (op, arg string) {
	switch {
	case p == "users/login":
		return opLogin, ""
	case p == "users/validate":
		return opValidate, ""
	case p == "devices":
		return opRegister, ""
	case p == "messages":
		return opSend, ""
	case len(parts) == 3 && parts[0] == "devices" && parts[2] == "update_highest_message":
		return opDelete, parts[1]
	case len(parts) == 3 && parts[0] == "receipts" && parts[2] == "acknowledge":
		return opAcknowledge, parts[1]
	case len(parts) == 3 && parts[0] == "receipts" && parts[1] == "cancel_by_tag":
		return opCancelTag, parts[2]
	case len(parts) == 3 && parts[0] == "receipts" && parts[2] == "cancel":
		return opCancel, parts[1]
	}
	return opUnknown, ""
}

// act carries a call out.
func (s *Server) act(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.bump()
	switch c.op {
	case opLogin:
		return s.login(c)
	case opRegister:
		return s.registerDevice(c)
	case opDownload:
		return s.download(c)
	case opDelete:
		return s.deleteThrough(c)
	case opAcknowledge:
		return s.acknowledge(c)
	case opIcon:
		return s.icon(c)
	case opSound:
		return s.sound(c)
	case opSend:
		return s.accept(c)
	case opReceipt:
		return s.receiptStatus(c)
	case opCancel:
		return s.cancel(c)
	case opCancelTag:
		return s.cancelByTag(c)
	case opValidate:
		return s.validateUser(c)
	case opSounds:
		return s.listSounds(c)
	case opLimits:
		return s.limits(c)
	}
	return notFound()
}

// finish records the answer and then writes it, in this order: the client may
// be back with the next request before this function returns.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, c *call, rep reply, f *fault) {
	if f != nil && f.Drop == dropAfter {
		s.dropped(c, false)
		panic(http.ErrAbortHandler)
	}
	cut := f != nil && (f.Drop == dropHalf || f.Drop == dropStall)
	s.mu.Lock()
	if r.Context().Err() == nil {
		s.manners.used(c)
	}
	if cut {
		s.manners.unanswered(c, true)
	} else {
		s.manners.answered(c, rep, f != nil && f.answers())
		if rep.received != nil {
			rep.received()
		}
	}
	s.bump()
	s.mu.Unlock()
	if cut {
		rep.writeHalf(w)
		if f.Drop == dropStall {
			s.pause(r, -1)
		}
		panic(http.ErrAbortHandler)
	}
	var pad int64
	if f != nil {
		pad = f.PadTo
	}
	if err := rep.writeTo(w, pad); err != nil {
		s.log.Debug("client left before its answer", "op", c.op)
	}
}

// dropped notes a request whose connection closes without an answer.
func (s *Server) dropped(c *call, bytesSent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manners.unanswered(c, bytesSent)
	s.bump()
}

// pause waits for d, or for ever if d is negative. It ends early, and says so
// by returning false, when the client goes or the server closes.
func (s *Server) pause(r *http.Request, d time.Duration) bool {
	var expired <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		expired = t.C
	}
	select {
	case <-expired:
		return true
	case <-r.Context().Done():
	case <-s.done:
	}
	return false
}

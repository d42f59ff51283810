package pushovertest

import (
	"cmp"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// An Operation is a kind of request, as [Fault], [Server.Requests] and [State]
// name it.
type Operation string

// The operations of a receiver, those of senders, and all other paths.
const (
	OpLogin       Operation = "POST login"
	OpRegister    Operation = "POST devices"
	OpDownload    Operation = "GET messages"
	OpDelete      Operation = "POST delete"
	OpAcknowledge Operation = "POST acknowledge"
	OpIcon        Operation = "GET icon"
	OpSound       Operation = "GET sound"
	OpStream      Operation = "stream" // the websocket's handshake

	OpSend      Operation = "POST messages"
	OpReceipt   Operation = "GET receipt"
	OpCancel    Operation = "POST cancel"
	OpCancelTag Operation = "POST cancel_by_tag"
	OpValidate  Operation = "POST validate"
	OpSounds    Operation = "GET sounds"
	OpLimits    Operation = "GET limits"

	OpUnknown Operation = "unknown"
	OpAny     Operation = "*" // for a Fault only
)

// receiverOps are the Open Client API. Manners are asked of receivers.
var receiverOps = []Operation{OpLogin, OpRegister, OpDownload, OpDelete, OpAcknowledge, OpIcon, OpSound}

var senderOps = []Operation{OpSend, OpReceipt, OpCancel, OpCancelTag, OpValidate, OpSounds, OpLimits}

func receiving(op Operation) bool { return slices.Contains(receiverOps, op) }

// A call is one REST request with what the rules need to know about it.
type call struct {
	op           Operation
	arg          string // the variable part of the path
	act          func(*Server, *call) reply
	method, path string
	params       url.Values
	agent        string
	client       string // address and User-Agent
	conn         *conn
	first        bool // the first request of its connection
	arrived      time.Time
	attachment   int // bytes
	noImage      bool
	xml          bool // asked for, instead of JSON
}

func (c *call) deviceID(strict bool) string {
	id := c.params.Get("device_id")
	if !strict {
		id = cmp.Or(id, c.params.Get("device"), c.params.Get("deviceId"))
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
	c := s.arrive(r)
	if c.op == OpStream {
		s.serveStream(w, r, c)
		return
	}
	if err := c.read(r); err != nil {
		s.finish(w, r, c, s.refuse(http.StatusRequestEntityTooLarge, "", err.Error()), nil)
		return
	}
	s.mu.Lock()
	s.manners.arrived(c)
	f := s.fault(c.op)
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
func (s *Server) arrive(r *http.Request) *call {
	c := &call{method: r.Method, path: r.URL.Path, arrived: time.Now(), agent: r.UserAgent()}
	c.op, c.arg, c.act = route(r)
	c.xml = !receiving(c.op) && strings.HasSuffix(c.path, ".xml")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[c.op]++
	s.manners.enter(r, c)
	s.bump()
	s.log.Debug("request", "op", c.op)
	return c
}

// repeatedSlash is what senders make of a root that ends with a slash, and get
// away with.
var repeatedSlash = regexp.MustCompile("//+")

// routes are the calls of both APIs; "*" is the variable part of a path.
var routes = []struct {
	method, path string
	op           Operation
	act          func(*Server, *call) reply
}{
	{"POST", "1/users/login", OpLogin, (*Server).login},
	{"POST", "1/devices", OpRegister, (*Server).registerDevice},
	{"GET", "1/messages", OpDownload, (*Server).download},
	{"POST", "1/devices/*/update_highest_message", OpDelete, (*Server).deleteThrough},
	{"POST", "1/receipts/*/acknowledge", OpAcknowledge, (*Server).acknowledge},
	{"GET", "icons/*", OpIcon, (*Server).icon},
	{"GET", "sounds/*", OpSound, (*Server).soundFile},
	{"POST", "1/messages", OpSend, (*Server).accept},
	{"GET", "1/receipts/*", OpReceipt, (*Server).receiptStatus},
	{"POST", "1/receipts/*/cancel", OpCancel, (*Server).cancel},
	{"POST", "1/receipts/cancel_by_tag/*", OpCancelTag, (*Server).cancelByTag},
	{"POST", "1/users/validate", OpValidate, (*Server).validateUser},
	{"GET", "1/sounds", OpSounds, (*Server).listSounds},
	{"POST", "1/sounds", OpSounds, (*Server).listSounds},
	{"GET", "1/apps/limits", OpLimits, (*Server).limits},
}

// route names the operation, the variable part of the path, and what carries it
// out. It is not strict about the path of a websocket: clients that connect to
// "/push:443" have worked for years.
func route(r *http.Request) (op Operation, arg string, act func(*Server, *call) reply) {
	p := repeatedSlash.ReplaceAllString(r.URL.Path, "/")
	if strings.HasPrefix(p, "/push") && (strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || p == "/push") {
		return OpStream, "", nil
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	parts := strings.Split(strings.TrimSuffix(strings.TrimSuffix(p, ".json"), ".xml"), "/")[1:]
	for _, route := range routes {
		pattern := strings.Split(route.path, "/")
		if route.method != method || len(pattern) != len(parts) {
			continue
		}
		arg = ""
		for i := range pattern {
			if pattern[i] == "*" {
				arg, pattern[i] = parts[i], parts[i]
			}
		}
		if slices.Equal(pattern, parts) {
			return route.op, arg, route.act
		}
	}
	return OpUnknown, "", func(*Server, *call) reply { return notFound() }
}

// act carries a call out.
func (s *Server) act(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.bump()
	return c.act(s, c)
}

// finish records the answer and then writes it, in this order: the client may
// be back with the next request before this function returns.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, c *call, rep reply, f *fault) {
	if f != nil && f.Drop == DropAfter {
		s.dropped(c, false)
		panic(http.ErrAbortHandler)
	}
	cut := f != nil && (f.Drop == DropHalf || f.Drop == DropStall)
	s.mu.Lock()
	if r.Context().Err() == nil {
		s.manners.used(c)
	}
	if cut || f != nil && f.PadTo > 0 && rep.status >= 400 { // no client reads a refusal of such a length
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
		if f.Drop == DropStall {
			s.pause(r, -1)
		}
		panic(http.ErrAbortHandler)
	}
	var pad int64
	if f != nil {
		pad = f.PadTo
	}
	if c.xml && rep.kind == kindJSON {
		rep.kind, rep.body = kindXML, xmlOf(rep.body)
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

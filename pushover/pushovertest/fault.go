package pushovertest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Drop is a way to close a connection in the middle of a request.
type Drop string

// The ways.
const (
	DropBefore Drop = "before" // the request is carried out
	DropAfter  Drop = "after"  // it, without an answer
	DropHalf   Drop = "half"   // of the answer's body
	DropStall  Drop = "stall"  // half of the body comes, and then nothing: it is not closed
)

// A Fault is trouble to come. Of several that fit a request, the one scripted
// first is used, until it is used up.
type Fault struct {
	// On is the operation, or [OpAny].
	On Operation `json:"on"`
	// Status, if not 0, is answered in place of what the service would
	// answer, and the request is not carried out.
	Status int `json:"status"`
	// Body and ContentType belong to Status (200 if only Body is given).
	// Without Body a 4xx is JSON with status 0 and a 5xx an HTML page.
	Body        string `json:"body"`
	ContentType string `json:"content_type"`
	// RetryAfter goes into the header of that name, in whole seconds.
	RetryAfter time.Duration
	// Act carries the request out although another answer is given, as when
	// a proxy gives up too early.
	Act bool `json:"act"`
	// Delay passes before anything else happens.
	Delay time.Duration
	// Drop closes the connection.
	//
	// An HTTP library may repeat a GET by itself when a connection it has
	// used before closes without a byte of answer (RFC 9112, 9.3.1), and Go's
	// does: such a drop then counts twice.
	Drop Drop `json:"drop"`
	// PadTo appends blanks until the body has that many bytes. JSON stays valid.
	PadTo int64 `json:"pad_to"`
	// Count is how many requests it hits. 0 means until cleared.
	Count int `json:"count"`
	// For is how long it lasts, counted from the call of Server.Fault. 0 means for ever.
	For time.Duration
	// Skip lets that many requests pass first.
	Skip int `json:"skip"`
}

func (f Fault) validate() error {
	all := slices.Concat(receiverOps, senderOps, []Operation{OpStream, OpUnknown, OpAny})
	switch {
	case !slices.Contains(all, f.On):
		return fmt.Errorf("on: %q is not an operation (have: %q)", f.On, all)
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status: %d is not between 200 and 599", f.Status)
	case f.Drop != "" && f.Drop != DropBefore && f.Drop != DropAfter && f.Drop != DropHalf && f.Drop != DropStall:
		return fmt.Errorf("drop: %q is none of before, after, half, stall", f.Drop)
	case f.Delay < 0 || f.For < 0 || f.RetryAfter < 0:
		return fmt.Errorf("delay, for and retry_after cannot be negative")
	case f.Count < 0 || f.Skip < 0 || f.PadTo < 0:
		return fmt.Errorf("count, skip and pad_to cannot be negative")
	case f.PadTo > 4<<30:
		return fmt.Errorf("pad_to: %d is more than 4 GiB", f.PadTo)
	}
	return nil
}

type fault struct {
	Fault
	until time.Time
	left  int // 0 = no end
}

// Fault scripts trouble. It panics on a fault that means nothing, such as an
// unknown operation: that is a mistake in the test.
func (s *Server) Fault(f Fault) {
	if err := f.validate(); err != nil {
		panic("pushovertest: fault: " + err.Error())
	}
	s.addFault(f)
}

func (s *Server) addFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := &fault{Fault: f, left: f.Count}
	if f.For > 0 {
		one.until = time.Now().Add(f.For)
	}
	s.faults = append(s.faults, one)
	s.log.Info("fault scripted", "on", f.On, "status", f.Status, "drop", f.Drop)
}

// ClearFaults ends all faults. A request that only a fault had refused may be
// repeated from now on.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	s.manners.forgiveFaults()
	s.bump()
}

// fault picks the fault that hits this request and counts it.
func (s *Server) fault(op Operation) *fault {
	now := time.Now()
	kept := s.faults[:0]
	var hit *fault
	for _, f := range s.faults {
		if !f.until.IsZero() && !now.Before(f.until) {
			continue
		}
		if hit == nil && (f.On == op || f.On == OpAny) {
			if f.Skip > 0 {
				f.Skip--
			} else {
				hit = f
				if f.left > 0 {
					if f.left--; f.left == 0 {
						continue
					}
				}
			}
		}
		kept = append(kept, f)
	}
	clear(s.faults[len(kept):])
	s.faults = kept
	return hit
}

// before waits and says whether the request goes on.
func (f *fault) before(s *Server, r *http.Request) bool {
	if f.Delay > 0 && !s.pause(r, f.Delay) {
		return false
	}
	return f.Drop != DropBefore
}

// answers says whether the answer is the fault's, acts whether the request is
// carried out.
func (f *fault) answers() bool { return f.Status != 0 || f.Body != "" }
func (f *fault) acts() bool    { return f.Act || !f.answers() }

func (f *fault) reply(s *Server) reply {
	rep := reply{status: f.Status, kind: f.ContentType, body: []byte(f.Body)}
	if rep.status == 0 {
		rep.status = http.StatusOK
	}
	if f.Body == "" {
		rep = f.standard(s, rep)
	}
	if f.ContentType != "" {
		rep.kind = f.ContentType
	}
	if rep.kind == "" {
		rep.kind = kindHTML
		if strings.HasPrefix(strings.TrimSpace(f.Body), "{") {
			rep.kind = kindJSON
		}
	}
	rep.rejects = rejects(rep.body)
	if f.RetryAfter > 0 {
		if rep.header == nil {
			rep.header = map[string]string{}
		}
		seconds := (f.RetryAfter + time.Second - 1) / time.Second
		rep.header["Retry-After"] = strconv.Itoa(int(seconds))
	}
	return rep
}

// standard fills in what the service says with such a status.
func (f *fault) standard(s *Server, rep reply) reply {
	switch {
	case rep.status >= 500:
		text := strconv.Itoa(rep.status) + " " + http.StatusText(rep.status)
		rep.kind = kindHTML
		rep.body = []byte("<html>\n<head><title>" + text + "</title></head>\n<body><center><h1>" + text + "</h1></center></body>\n</html>\n")
		return rep
	case rep.status >= 400:
		return s.answer(rep.status, map[string]any{"status": 0, "errors": []string{"request refused by script"}})
	}
	return s.answer(rep.status, map[string]any{"status": 1})
}

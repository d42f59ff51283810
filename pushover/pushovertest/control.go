package pushovertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxControlBody bounds the bodies of /sim/ calls.
const maxControlBody = 4 << 20

// maxCount is the most messages one call may send.
const maxCount = 1_000_000

// serveControl answers the calls under /sim/. Bodies are JSON; unknown fields
// and bad values are refused with 400 and {"error": "..."}.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) {
	type handler func(body []byte) (any, error)
	calls := map[string]handler{
		"POST /sim/messages":     s.controlMessages,
		"POST /sim/frames":       s.controlFrames,
		"POST /sim/faults":       s.controlFaults,
		"DELETE /sim/faults":     func([]byte) (any, error) { s.ClearFaults(); return done{true}, nil },
		"POST /sim/accounts":     s.controlAccounts,
		"POST /sim/groups":       s.controlGroups,
		"POST /sim/devices":      s.controlDevices,
		"POST /sim/settings":     s.controlSettings,
		"GET /sim/state":         func([]byte) (any, error) { return s.State(), nil },
		"GET /sim/violations":    func([]byte) (any, error) { return append([]Violation{}, s.Violations()...), nil },
		"DELETE /sim/violations": func([]byte) (any, error) { s.ClearViolations(); return done{true}, nil },
	}
	call, ok := calls[r.Method+" "+strings.TrimSuffix(r.URL.Path, "/")]
	if !ok {
		writeControl(w, http.StatusNotFound, problem{r.Method + " " + r.URL.Path + " is not a control call"})
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxControlBody+1))
	if err != nil {
		writeControl(w, http.StatusBadRequest, problem{"body: " + err.Error()})
		return
	}
	if len(body) > maxControlBody {
		writeControl(w, http.StatusRequestEntityTooLarge, problem{"body: larger than 4 MiB"})
		return
	}
	answer, err := call(body)
	if err != nil {
		writeControl(w, http.StatusBadRequest, problem{err.Error()})
		return
	}
	writeControl(w, http.StatusOK, answer)
}

type problem struct {
	Error string `json:"error"`
}

type done struct {
	OK bool `json:"ok"`
}

func writeControl(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", kindJSON)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // a client that left needs no answer
}

// decodeControl reads one JSON object strictly.
func decodeControl(body []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("body: want a JSON object, got nothing")
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("body: not JSON: %w", err)
	case errors.As(err, &kind):
		return fmt.Errorf("%s: cannot be a %s", kind.Field, kind.Value)
	case err != nil:
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("body: more than one JSON value")
	}
	return nil
}

// A span is a duration in JSON: a string such as "2s" or a number of seconds.
type span time.Duration

// UnmarshalJSON reads either form.
func (d *span) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		v, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("duration %q: want something like \"2s\" or \"1m30s\"", text)
		}
		*d = span(v)
		return nil
	}
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return fmt.Errorf("duration %s: want a string such as \"2s\" or a number of seconds", b)
	}
	*d = span(seconds * float64(time.Second))
	return nil
}

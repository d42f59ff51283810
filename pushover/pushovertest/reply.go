package pushovertest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A reply is an answer before it is written.
type reply struct {
	status int
	kind   string // content type
	header map[string]string
	body   []byte
	page   *page // instead of body
	// rejects says that the body is JSON with status other than 1.
	rejects     bool
	badPassword bool
	// received is called, with the lock held, if the client will get the
	// whole answer.
	received func()
}

const (
	kindJSON = "application/json; charset=utf-8"
	kindHTML = "text/html; charset=utf-8"
	kindXML  = "application/xml; charset=utf-8"
)

// ErrorShape is the shape of "errors" in refusals. The real service uses
// both; a client must understand both.
type ErrorShape string

// The shapes.
const (
	// ErrorsAsObserved is what captures show: an object for the registration
	// of devices, a list for the rest.
	ErrorsAsObserved ErrorShape = ""
	ErrorsAsList     ErrorShape = "list"   // ["name has already been taken"]
	ErrorsAsObject   ErrorShape = "object" // {"name":["has already been taken"]}
)

// SetErrorShape chooses the shape of "errors" from now on.
func (s *Server) SetErrorShape(shape ErrorShape) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errorShape = shape
}

// answer makes a JSON answer; it adds the request id.
func (s *Server) answer(status int, fields map[string]any) reply {
	id := newRequestID()
	all := map[string]any{"request": id}
	maps.Copy(all, fields)
	return reply{
		status:  status,
		kind:    kindJSON,
		header:  map[string]string{"X-Request-Id": id},
		body:    encodeJSON(all),
		rejects: all["status"] != 1,
	}
}

func (s *Server) success(fields map[string]any) reply {
	all := map[string]any{"status": 1}
	maps.Copy(all, fields)
	return s.answer(http.StatusOK, all)
}

// refuse answers with the reason in a list, refuseFields with an object keyed
// by field, unless the shape is set.
func (s *Server) refuse(status int, field, text string) reply {
	return s.refusal(status, field, text, s.errorShape == ErrorsAsObject)
}

func (s *Server) refuseFields(status int, field, text string) reply {
	return s.refusal(status, field, text, s.errorShape != ErrorsAsList)
}

// inWords is how the service calls a parameter, where it does not use its name.
var inWords = map[string]string{"token": "application token", "user": "user identifier"}

func (s *Server) refusal(status int, field, text string, object bool) reply {
	if object {
		key := field
		if key == "" {
			key = "base"
		}
		return s.answer(status, map[string]any{"status": 0, "errors": map[string]any{key: []string{text}}})
	}
	fields := map[string]any{"status": 0}
	if field != "" {
		fields[field] = "invalid"
		text = cmp.Or(inWords[field], field) + " " + text
	}
	fields["errors"] = []string{text}
	return s.answer(status, fields)
}

// xmlOf writes an answer as XML, which the sending side speaks too.
func xmlOf(body []byte) []byte {
	var members map[string]any
	_ = json.Unmarshal(body, &members) // it is an object of ours
	out := []byte(xml.Header)
	var element func(name string, value any)
	element = func(name string, value any) {
		out = fmt.Appendf(out, "<%s>", name)
		switch v := value.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				element(k, v[k])
			}
		case []any:
			for _, one := range v {
				element(strings.TrimSuffix(name, "s"), one)
			}
		default:
			var text bytes.Buffer
			_ = xml.EscapeText(&text, []byte(fmt.Sprint(v))) // a Buffer takes everything
			out = append(out, text.Bytes()...)
		}
		out = fmt.Appendf(out, "</%s>\n", name)
	}
	element("hash", members)
	return out
}

// notFound is the page for unknown paths. It is HTML, as the real one.
func notFound() reply {
	return reply{status: http.StatusNotFound, kind: kindHTML, body: []byte("<!DOCTYPE html>\n<html>\n<head>" +
		"<title>The page you were looking for doesn't exist (404)</title></head>\n<body><h1>404</h1>" +
		"<p>The page you were looking for doesn't exist.</p></body>\n</html>\n")}
}

// rejects says whether a scripted body is a refusal a client can understand.
func rejects(body []byte) bool {
	var b struct {
		Status *int `json:"status"`
	}
	return json.Unmarshal(body, &b) == nil && b.Status != nil && *b.Status != 1
}

func (rep reply) length() int64 {
	if rep.page != nil {
		return rep.page.length()
	}
	return int64(len(rep.body))
}

func (rep reply) writeHeader(w http.ResponseWriter, length int64) {
	h := w.Header()
	h.Set("Content-Type", rep.kind)
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	for k, v := range rep.header {
		h.Set(k, v)
	}
	w.WriteHeader(rep.status)
}

func (rep reply) writeBody(w io.Writer) error {
	if rep.page != nil {
		if _, err := rep.page.WriteTo(w); err != nil {
			return fmt.Errorf("write page: %w", err)
		}
		return nil
	}
	if _, err := w.Write(rep.body); err != nil {
		return fmt.Errorf("write body: %w", err)
	}
	return nil
}

// writeTo writes the answer, followed by blanks until it has at least pad bytes.
func (rep reply) writeTo(w http.ResponseWriter, pad int64) error {
	length := rep.length()
	rep.writeHeader(w, max(length, pad))
	if err := rep.writeBody(w); err != nil {
		return err
	}
	blanks := make([]byte, 32<<10)
	for i := range blanks {
		blanks[i] = ' '
	}
	for missing := pad - length; missing > 0; {
		n := min(missing, int64(len(blanks)))
		if _, err := w.Write(blanks[:n]); err != nil {
			return fmt.Errorf("write padding: %w", err)
		}
		missing -= n
	}
	return nil
}

// writeHalf announces the whole answer and sends the first half of its body.
func (rep reply) writeHalf(w http.ResponseWriter) {
	length := rep.length()
	rep.writeHeader(w, length)
	_ = rep.writeBody(&firstBytes{w: w, left: length / 2}) // stops on purpose
	_ = http.NewResponseController(w).Flush()              // the connection closes next anyway
}

// firstBytes passes on so many bytes and then fails.
type firstBytes struct {
	w    io.Writer
	left int64
}

func (f *firstBytes) Write(b []byte) (int, error) {
	n := min(int64(len(b)), f.left)
	f.left -= n
	written, err := f.w.Write(b[:n])
	if err == nil && n < int64(len(b)) {
		err = io.ErrShortWrite
	}
	return written, err
}

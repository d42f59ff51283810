package pushover

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What the body of a success may turn out to be.
var (
	errNotJSON = errors.New("is not JSON")
	errNotFile = errors.New("is not such a file")
)

// answer judges a reply. Only a JSON document in the service's form counts as
// the service's word; anything else may come from a captive portal, a proxy or a
// content network, and says nothing about the request.
func (rq *request) answer(resp *http.Response, body io.Reader) error {
	e := &APIError{
		Op: rq.op, HTTPStatus: resp.StatusCode,
		RetryAfter: askedWait(resp),
		sure:       rq.sure,
		codeSent:   slices.ContainsFunc(rq.form, func(f field) bool { return f.name == "twofa" }),
	}
	switch {
	case resp.StatusCode/100 == 2:
		return rq.finish(e, rq.read(body, resp.Header))
	case resp.StatusCode/100 == 3:
		e.trouble = "a redirect, which is not followed"
		return e
	case rq.file && resp.StatusCode/100 == 4:
		return e
	}
	members, err := readDocument(body)
	if err != nil {
		e.trouble = "and the body " + errNotJSON.Error()
		return e
	}
	if !e.fill(members, rq.private) {
		e.trouble = "and the body is not in the service's form"
	}
	return e
}

// finish completes what reading a 2xx body found.
func (rq *request) finish(e *APIError, err error) error {
	refused := (*refusal)(nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		if !e.fill(refused.members, rq.private) {
			e.trouble = "and the body is not in the service's form"
		}
		return e
	case errors.Is(err, errNotJSON), errors.Is(err, errNotFile):
		e.trouble = "but the body " + cleanText(scrub(err.Error(), rq.private))
		return e
	default:
		return fmt.Errorf("%s: %w", rq.op, err)
	}
}

// A refusal is a document with another status than 1.
type refusal struct{ members map[string]json.RawMessage }

func (r *refusal) Error() string { return "status is not 1" }

// readDocument reads a whole body as one JSON object.
func readDocument(body io.Reader) (map[string]json.RawMessage, error) {
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return nil, errNotJSON
	}
	return members, nil
}

// readSuccess reads the document of a call that succeeded.
func readSuccess(body io.Reader) (map[string]json.RawMessage, error) {
	members, err := readDocument(body)
	if err != nil {
		return nil, err
	}
	if !isSuccess(members) {
		return nil, &refusal{members}
	}
	return members, nil
}

// readStatus reads the document of a call that returns nothing else.
func readStatus(body io.Reader, _ http.Header) error {
	_, err := readSuccess(body)
	return err
}

func isSuccess(members map[string]json.RawMessage) bool {
	n, ok := integerOf(members["status"])
	return ok && n == 1
}

// fill takes over what the document says. It returns false if it is none of the
// service's: every one of those has a status.
func (e *APIError) fill(members map[string]json.RawMessage, private []string) bool {
	if _, ok := integerOf(members["status"]); !ok {
		return false
	}
	e.RequestID = cleanText(scrub(textOf(members["request"]), private))
	e.Fields = make(map[string][]string)
	e.fillErrors(members["errors"], private)
	for name, v := range members {
		if text := textOf(v); text == "invalid" {
			name = cleanText(scrub(name, private))
			e.Fields[name] = append(e.Fields[name], text)
		} else if name == "message" && text != "" { // how too many devices are told
			e.Errors = append(e.Errors, cleanText(scrub(text, private)))
		}
	}
	return true
}

// fillErrors reads both shapes of errors: a list of texts, and an object of lists
// by parameter.
func (e *APIError) fillErrors(raw json.RawMessage, private []string) {
	var byField map[string]json.RawMessage
	if json.Unmarshal(raw, &byField) != nil || byField == nil {
		for _, t := range textsOf(raw) {
			e.Errors = append(e.Errors, cleanText(scrub(t, private)))
		}
		return
	}
	for _, name := range slices.Sorted(maps.Keys(byField)) {
		clean := cleanText(scrub(name, private))
		e.Fields[clean] = nil
		for _, t := range textsOf(byField[name]) {
			t = cleanText(scrub(t, private))
			e.Fields[clean] = append(e.Fields[clean], t)
			e.Errors = append(e.Errors, clean+" "+t)
		}
	}
}

// textsOf reads a text or a list of texts.
func textsOf(raw json.RawMessage) []string {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	var texts []string
	for _, v := range list {
		if t := textOf(v); t != "" {
			texts = append(texts, t)
		}
	}
	return texts
}

// askedWait reads Retry-After: seconds, or a date, which is taken against the
// answer's own, since our clock may differ; 0 for anything else. A 5xx may be a
// proxy's, which is not in a position to close the service for a day.
func askedWait(resp *http.Response) time.Duration {
	most := maxFailureWait
	if resp.StatusCode == http.StatusTooManyRequests {
		most = maxAskedWait
	}
	v := strings.TrimSpace(resp.Header.Get("Retry-After"))
	var d time.Duration
	if n, err := strconv.Atoi(v); err == nil {
		d = time.Duration(min(n, int(most/time.Second))) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		now, err := http.ParseTime(resp.Header.Get("Date"))
		if err != nil {
			now = time.Now()
		}
		d = t.Sub(now)
	}
	return min(max(d, 0), most)
}

// looksLikeDocument reports whether data begins like HTML or another text that
// stands in place of a file.
func looksLikeDocument(data []byte) bool {
	t := bytes.TrimLeft(data, " \t\r\n\ufeff")
	return len(t) == 0 || t[0] == '<' || t[0] == '{'
}

package pushovertest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// values is shorthand for form fields.
type values map[string]string

func (v values) encode() string {
	out := url.Values{}
	for k, s := range v {
		out.Set(k, s)
	}
	return out.Encode()
}

// bubble runs a test in virtual time against a server in memory.
func bubble(t *testing.T, o pushovertest.Options, run func(t *testing.T, s *pushovertest.Server, c *caller)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := pushovertest.New(o)
		s.StartPipe()
		defer s.Close()
		run(t, s, newCaller(t, s))
	})
}

// A caller is a raw HTTP client: it knows the wire and nothing else.
type caller struct {
	t     *testing.T
	s     *pushovertest.Server
	http  *http.Client
	agent string
}

func newCaller(t *testing.T, s *pushovertest.Server) *caller {
	t.Helper()
	transport := &http.Transport{DialContext: s.DialContext, MaxConnsPerHost: 2}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{t: t, s: s, http: &http.Client{Transport: transport}, agent: "raw-test/1.0"}
}

type answer struct {
	err    error
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (a answer) text(key string) string { s, _ := a.body[key].(string); return s }

func (a answer) ok() bool { return a.err == nil && a.status == 200 && a.body["status"] == 1.0 }

// messages decodes messages[] with exact numbers.
func (a answer) messages(t *testing.T) []map[string]any {
	t.Helper()
	var body struct{ Messages []map[string]any }
	d := json.NewDecoder(strings.NewReader(a.raw))
	d.UseNumber()
	if err := d.Decode(&body); err != nil {
		t.Fatalf("messages are not JSON: %v in %.200q", err, a.raw)
	}
	return body.Messages
}

func (c *caller) do(method, path, contentType string, body string) answer {
	c.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://api.pushover.net"+path, r)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("User-Agent", c.agent)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	a, err := readAnswer(c.http.Do(req))
	a.err = err
	return a
}

func readAnswer(res *http.Response, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	a := answer{status: res.StatusCode, header: res.Header, raw: string(raw)}
	_ = json.NewDecoder(bytes.NewReader(raw)).Decode(&a.body) // HTML has none
	return a, err
}

func (c *caller) get(path string, v values) answer {
	c.t.Helper()
	if len(v) > 0 {
		path += "?" + v.encode()
	}
	return c.do(http.MethodGet, path, "", "")
}

func (c *caller) post(path string, v values) answer {
	c.t.Helper()
	return c.do(http.MethodPost, path, "application/x-www-form-urlencoded", v.encode())
}

func (c *caller) sim(path, body string) answer {
	c.t.Helper()
	return c.do(http.MethodPost, "/sim/"+path, "application/json", body)
}

func (c *caller) login(a pushovertest.Account) answer {
	c.t.Helper()
	return c.post("/1/users/login.json", values{"email": a.Email, "password": a.Password})
}

func (c *caller) download(d pushovertest.Device) answer {
	c.t.Helper()
	return c.get("/1/messages.json", values{"secret": d.Secret, "device_id": d.ID})
}

func (c *caller) deleteThrough(d pushovertest.Device, id string) answer {
	c.t.Helper()
	return c.post("/1/devices/"+d.ID+"/update_highest_message.json", values{"secret": d.Secret, "message": id})
}

func (c *caller) acknowledge(d pushovertest.Device, receipt string) answer {
	c.t.Helper()
	return c.post("/1/receipts/"+receipt+"/acknowledge.json", values{"secret": d.Secret})
}

// A socket is a raw websocket.
type socket struct {
	t *testing.T
	*websocket.Conn
}

func (c *caller) open(path string) *socket {
	c.t.Helper()
	dialer := websocket.Dialer{NetDialContext: c.s.DialContext}
	conn, res, err := dialer.DialContext(c.t.Context(), "ws://client.pushover.net"+path, http.Header{
		"User-Agent": {c.agent}, "Origin": {"http://localhost/"},
	})
	if err != nil {
		c.t.Fatalf("open websocket: %v (%v)", err, res)
	}
	_ = res.Body.Close()
	c.t.Cleanup(func() { _ = conn.Close() })
	return &socket{c.t, conn}
}

func (c *caller) stream(d pushovertest.Device) *socket {
	c.t.Helper()
	ws := c.open("/push")
	ws.send("login:" + d.ID + ":" + d.Secret + "\n")
	synctest.Wait()
	return ws
}

func (w *socket) send(text string) {
	w.t.Helper()
	if err := w.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

// next returns the next message, or the close code as "close 1000".
func (w *socket) next() string {
	w.t.Helper()
	kind, data, err := w.ReadMessage()
	if c, ok := err.(*websocket.CloseError); ok { //nolint:errorlint // the library never wraps it
		if c.Code == websocket.CloseAbnormalClosure {
			return "eof"
		}
		return strings.TrimSpace("close " + strconv.Itoa(c.Code) + " " + c.Text)
	}
	if err != nil {
		return "error " + err.Error()
	}
	if kind == websocket.TextMessage {
		return "text " + string(data)
	}
	return string(data)
}

func (w *socket) want(frames ...string) {
	w.t.Helper()
	for _, f := range frames {
		if got := w.next(); got != f {
			w.t.Fatalf("got frame %q, want %q", got, f)
		}
	}
}

func wantViolations(t *testing.T, s *pushovertest.Server, rules ...pushovertest.Rule) {
	t.Helper()
	var got []pushovertest.Rule
	for _, v := range s.Violations() {
		got = append(got, v.Rule)
	}
	if len(got) != len(rules) {
		t.Fatalf("got violations %v, want %v", s.Violations(), rules)
	}
	for i := range got {
		if got[i] != rules[i] {
			t.Fatalf("got violations %v, want %v", s.Violations(), rules)
		}
	}
}

func pass(d time.Duration) { <-time.After(d) }

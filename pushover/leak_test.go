package pushover_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// What must not be seen anywhere.
const (
	leakSecret   = "SECRETxSECRETxSECRETxSECRETxSECRETxSECRETxSECRETxSECRETx0001"
	leakDevice   = "DEVICExDEVICExDEVICExDEVICExDEVICEx00002"
	leakPassword = "PASSWORD & 0003"
	leakCode     = "000444"
	leakReceipt  = "rECEIPTxRECEIPTxRECEIPTxRE0005"
	leakEmail    = "someone-0006@example.org"
)

var leaks = []string{
	leakSecret, leakDevice, leakPassword, url.QueryEscape(leakPassword), url.PathEscape(leakPassword),
	leakCode, leakReceipt, leakEmail, url.QueryEscape(leakEmail), "?secret", "?device",
}

// calls are every kind of call there is.
var calls = map[string]func(context.Context, *pushover.Client) error{
	"login": func(ctx context.Context, c *pushover.Client) error {
		_, err := c.Login(ctx, leakEmail, leakPassword, leakCode)
		return err
	},
	"register": func(ctx context.Context, c *pushover.Client) error {
		_, err := c.RegisterDevice(ctx, "nas-1")
		return err
	},
	"download": download,
	"messages": func(ctx context.Context, c *pushover.Client) (last error) {
		for _, last = range c.Messages(ctx) {
			continue
		}
		return last
	},
	"delete":      func(ctx context.Context, c *pushover.Client) error { return c.DeleteThrough(ctx, 1) },
	"acknowledge": func(ctx context.Context, c *pushover.Client) error { return c.Acknowledge(ctx, leakReceipt) },
	"icon": func(ctx context.Context, c *pushover.Client) error {
		_, err := c.Icon(ctx, "x")
		return err
	},
	"stream": func(ctx context.Context, c *pushover.Client) error {
		s, err := c.Connect(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		for err == nil {
			_, err = s.Next()
		}
		return err
	},
	"follow": func(ctx context.Context, c *pushover.Client) error {
		return c.Follow(ctx, pushover.Follower{Wake: func() {}})
	},
	"listen": func(ctx context.Context, c *pushover.Client) error {
		return c.Listen(ctx, func(context.Context, pushover.Message) error { return nil })
	},
}

// echo puts what the request carried into an answer, as an unkind server may.
func echo(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.QueryUnescape(r.URL.RawQuery + string(body))
	return r.URL.Path + form + string(body) + leakDevice + leakSecret
}

func TestNoErrorAndNoLogShowsASecret(t *testing.T) {
	answer := func(h http.HandlerFunc) http.Handler { return h }
	hijack := func(text func(*http.Request) string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			said := text(r)
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, said)
			_ = conn.Close()
		})
	}
	json := func(status int, format string) http.Handler {
		return answer(func(w http.ResponseWriter, r *http.Request) {
			said := echo(r)
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, format, said)
		})
	}
	for name, h := range map[string]http.Handler{
		"HTML": answer(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "<html>"+echo(r)) }),
		"redirect": answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/x?"+r.URL.RawQuery)
			w.WriteHeader(http.StatusFound)
		}),
		"broken redirect": answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "://"+echo(r))
			w.WriteHeader(http.StatusTemporaryRedirect)
		}),
		"errors as list":    json(400, `{"status":0,"request":%[1]q,"secret":"invalid","errors":[%[1]q]}`),
		"errors as object":  json(403, `{"status":0,"errors":{%[1]q:[%[1]q]},%[1]q:"invalid"}`),
		"message":           json(400, `{"status":0,"message":%q}`),
		"status 0 with 200": json(200, `{"status":0,"errors":%q}`),
		"412":               json(412, `{"status":0,"errors":[%q]}`),
		"429":               json(429, `{"status":0,"errors":[%q]}`),
		"500":               json(500, `{"status":0,"errors":[%q]}`),
		"not of the form":   json(200, `{"x":%q}`),
		"broken JSON":       json(200, `{"status":1,"messages":[{"id":1,%q`),
		"no id":             json(200, `{"status":1,"messages":[{"id":%q}]}`),
		"no HTTP":           hijack(echo),
		"bad status":        hijack(func(r *http.Request) string { return "HTTP/1.1 " + strings.Fields(echo(r))[0] + "\r\n\r\n" }),
		"bad header":        hijack(func(r *http.Request) string { return "HTTP/1.1 200 OK\r\n" + echo(r) + "\r\n\r\n" }),
		"bad length": hijack(func(r *http.Request) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: " + strings.Fields(echo(r))[0] + "\r\n\r\n"
		}),
		"half": hijack(func(r *http.Request) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + `{"status":1,`
		}),
		"nothing": hijack(func(*http.Request) string { return "" }),
		"silence": answer(func(_ http.ResponseWriter, r *http.Request) { _ = echo(r); <-r.Context().Done() }),
		"stream close": answer(func(w http.ResponseWriter, r *http.Request) {
			u := websocket.Upgrader{}
			conn, err := u.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			_, frame, _ := conn.ReadMessage()
			_ = conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4000, string(frame)[:min(len(frame), 120)]))
		}),
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(h)
			defer server.Close()
			addr := server.Listener.Addr().String()
			checkLeaks(t, pushover.Options{APIURL: "http://" + addr, StreamURL: "ws://" + addr + "/push"})
		})
	}
	t.Run("refused", func(t *testing.T) {
		checkLeaks(t, pushover.Options{APIURL: "http://127.0.0.1:1", StreamURL: "ws://127.0.0.1:1/push"})
	})
	t.Run("dial error with secrets", func(t *testing.T) {
		checkLeaks(t, pushover.Options{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &url.Error{Op: "Get", URL: "https://x/" + leakSecret + leakDevice, Err: errors.New("no route")}
		}})
	})
	t.Run("TLS", func(t *testing.T) {
		server := httptest.NewUnstartedServer(nil)
		server.Config.ErrorLog = discardLogger
		server.StartTLS()
		defer server.Close()
		addr := server.Listener.Addr().String()
		checkLeaks(t, pushover.Options{APIURL: "https://" + addr, StreamURL: "wss://" + addr + "/push"})
	})
}

// checkLeaks makes every call, each with a fresh Client, since trouble holds
// later calls back.
func checkLeaks(t *testing.T, o pushover.Options) {
	var log logBuffer
	o.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Credentials = pushover.Credentials{Secret: leakSecret, DeviceID: leakDevice, DeviceName: "nas-1"}
	o.Timeout = 50 * time.Millisecond
	var seen []string
	o.OnAPIState = func(s pushover.APIState) { seen = append(seen, unwrapped(s.Err)...) }
	o.OnRequest = func(i pushover.RequestInfo) { seen = append(seen, fmt.Sprintf("%+v", i)) }
	for op, call := range calls {
		c := mustNew(t, o)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		err := call(ctx, c)
		cancel()
		c.Close()
		if err == nil && op != "delete" && op != "acknowledge" { // which may be content with the answer
			t.Errorf("%s: got no error", op)
		}
		seen = append(seen, unwrapped(err)...)
	}
	seen = append(seen, log.String())
	for _, text := range seen {
		for _, leak := range leaks {
			if strings.Contains(text, leak) {
				t.Errorf("%q is in %s", leak, text)
			}
		}
	}
}

// unwrapped prints an error and all that is inside it in every way.
func unwrapped(err error) []string {
	if err == nil {
		return nil
	}
	out := []string{fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), fmt.Sprintf("%q", err)}
	switch e := err.(type) { //nolint:errorlint // the tree itself is walked
	case interface{ Unwrap() error }:
		out = append(out, unwrapped(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			out = append(out, unwrapped(one)...)
		}
	}
	return out
}

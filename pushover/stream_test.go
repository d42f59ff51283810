package pushover_test

import (
	"context"
	"crypto/sha1" //nolint:gosec // of the websocket handshake
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func (w *world) connect() *pushover.Stream {
	w.Helper()
	s, err := w.client.Connect(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	w.untilLogins(1)
	return s
}

func next(t *testing.T, s *pushover.Stream) pushover.Signal {
	t.Helper()
	sig, err := s.Next()
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func closeStream(t *testing.T, s *pushover.Stream) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestSignalsArriveInOrderHoweverTheyAreFramed(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		s := w.connect()
		defer closeStream(w.T, s)
		w.sim.StopKeepAlive(true)
		w.sim.Signal("", "!#")
		w.sim.SignalText("", "!x")
		w.sim.SignalJoined("", "#!\x00!")
		w.sim.SignalSplit("", "!z")
		var got []byte
		for len(got) < 10 {
			if sig := next(w.T, s); sig != pushover.SignalKeepAlive || len(got) > 0 {
				got = append(got, byte(sig)) // keep-alives before the first '!' are the service's own
			}
		}
		if want := "!#!x#!\x00!!z"; string(got) != want {
			w.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestSilenceEndsAStreamAndPongsAreNoSignal(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		s := w.connect()
		defer closeStream(w.T, s)
		w.sim.StopKeepAlive(true)
		last := time.Now()
		for {
			_, err := s.Next()
			if err == nil {
				last = time.Now()
				continue
			}
			// Pings went out every 30 s and were answered.
			if !errors.Is(err, pushover.ErrSilent) || !pushover.Retryable(err) || time.Since(last) != 90*time.Second {
				w.Errorf("got %v %s after the last signal, want ErrSilent after 90 s", err, time.Since(last))
			}
			return
		}
	})
}

func TestPingsAreSent(t *testing.T) {
	var pings atomic.Int32
	serve(t, pushover.Options{PingInterval: 40 * time.Second}, func(w http.ResponseWriter, r *http.Request) {
		conn := upgrade(t, w, r)
		defer func() { _ = conn.Close() }()
		conn.SetPingHandler(func(string) error { pings.Add(1); return nil })
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	}, func(t *testing.T, c *pushover.Client) {
		s, err := c.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer closeStream(t, s)
		if _, err := s.Next(); !errors.Is(err, pushover.ErrSilent) {
			t.Errorf("got %v, want ErrSilent", err)
		}
		if got := pings.Load(); got != 2 {
			t.Errorf("got %d pings in 90 s, want 2, one every 40 s", got)
		}
	})
}

func TestKeepAlivesKeepAStreamOpen(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		s := w.connect()
		defer closeStream(w.T, s)
		start := time.Now()
		for time.Since(start) < time.Hour {
			if sig := next(w.T, s); sig != pushover.SignalKeepAlive {
				w.Fatalf("got %s, want keep-alives alone", sig)
			}
		}
	})
}

func TestCloseCodeAndReasonAreReported(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		s := w.connect()
		defer closeStream(w.T, s)
		w.sim.CloseStreams("", websocket.CloseServiceRestart, "back\nsoon "+w.device.ID)
		for {
			_, err := s.Next()
			if err == nil {
				continue
			}
			var e *pushover.CloseError
			if !errors.As(err, &e) || e.Code != 1012 || e.Reason != "back soon REDACTED" || !pushover.Retryable(err) {
				w.Errorf("got %v, want code 1012 and the reason in one line", err)
			}
			return
		}
	})
}

func TestCloseEndsNextAndMayBeRepeated(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		s := w.connect()
		w.sim.StopKeepAlive(true)
		done := make(chan error)
		go func() {
			for {
				if _, err := s.Next(); err != nil {
					done <- err
					return
				}
			}
		}()
		synctest.Wait()
		go func() { _ = s.Close() }()
		closeStream(w.T, s)
		if err := <-done; !errors.Is(err, pushover.ErrStreamClosed) {
			w.Errorf("Next: got %v, want ErrStreamClosed", err)
		}
		closeStream(w.T, s)
		if _, err := s.Next(); !errors.Is(err, pushover.ErrStreamClosed) {
			w.Errorf("Next afterwards: got %v, want ErrStreamClosed", err)
		}
	})
}

func TestPrintingAStreamShowsNoSecret(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		s := w.connect()
		defer closeStream(w.T, s)
		for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(format, s); strings.Contains(text, w.device.Secret) || strings.Contains(text, w.device.ID) {
				w.Errorf("%s: a secret is in %q", format, text)
			}
		}
	})
}

func TestWrongSecretGetsE(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.RevokeSecret(w.device.Secret)
		s, err := w.client.Connect(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		defer closeStream(w.T, s)
		if sig := next(w.T, s); sig != pushover.SignalError {
			w.Errorf("got %s, want E", sig)
		}
	})
}

func TestRefusedUpgradeIsAnAPIError(t *testing.T) {
	for _, tc := range []struct {
		fault pushovertest.Fault
		is    error
	}{
		{pushovertest.Fault{Status: 503, Body: "<html>"}, pushover.ErrUnavailable},
		{pushovertest.Fault{Status: 200, Body: "hello"}, pushover.ErrUnavailable},
		{pushovertest.Fault{Status: 301, Body: "moved"}, pushover.ErrUnavailable},
		{pushovertest.Fault{Status: 429, RetryAfter: 2 * time.Minute}, pushover.ErrRateLimited},
		{pushovertest.Fault{Status: 403, Body: `{"status":0,"errors":["no websockets today"]}`}, nil},
	} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			tc.fault.On, tc.fault.Count = "stream", 1
			w.sim.Fault(tc.fault)
			_, err := w.client.Connect(w.Context())
			var e *pushover.APIError
			if !errors.As(err, &e) || e.HTTPStatus != tc.fault.Status || tc.is != nil && !errors.Is(err, tc.is) {
				w.Errorf("%d: got %v, want an APIError of that status, %v", tc.fault.Status, err, tc.is)
			}
			if tc.fault.RetryAfter != 0 && pushover.RetryAfter(err) != tc.fault.RetryAfter {
				w.Errorf("RetryAfter: got %s, want %s", pushover.RetryAfter(err), tc.fault.RetryAfter)
			}
			if tc.fault.Status == 403 && !strings.Contains(err.Error(), "no websockets today") {
				w.Errorf("got %v, want the service's text", err)
			}
		})
	}
}

// upgrade makes a stream of one's own on the server's side.
func upgrade(t *testing.T, w http.ResponseWriter, r *http.Request) *websocket.Conn {
	u := websocket.Upgrader{}
	conn, err := u.Upgrade(w, r, nil)
	if err != nil {
		t.Error(err)
	}
	return conn
}

func TestHandshakeNamesTheProgramAndOffersNoCompression(t *testing.T) {
	frames := make(chan string, 1)
	serve(t, pushover.Options{UserAgent: "nas-notifier/2.0"}, func(w http.ResponseWriter, r *http.Request) {
		if r.UserAgent() != "nas-notifier/2.0" || r.Header.Get("Sec-Websocket-Extensions") != "" || r.Header.Get("Sec-Websocket-Protocol") != "" {
			t.Errorf("handshake: got header %v", r.Header)
		}
		conn := upgrade(t, w, r)
		defer func() { _ = conn.Close() }()
		kind, frame, err := conn.ReadMessage()
		if err != nil || kind != websocket.TextMessage {
			t.Errorf("login frame: got kind %d, %v, want text", kind, err)
		}
		frames <- string(frame)
	}, func(t *testing.T, c *pushover.Client) {
		s, err := c.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer closeStream(t, s)
		if want := "login:" + someCredentials.DeviceID.Reveal() + ":" + someCredentials.Secret.Reveal() + "\n"; <-frames != want {
			t.Errorf("login frame is not %q", want)
		}
	})
}

func TestFramesAndHandshakeAreBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func(t *testing.T, w http.ResponseWriter, r *http.Request)
		want   error
	}{
		"frame of 1 MB": {func(t *testing.T, w http.ResponseWriter, r *http.Request) {
			conn := upgrade(t, w, r)
			defer func() { _ = conn.Close() }()
			_, _, _ = conn.ReadMessage()
			_ = conn.WriteMessage(websocket.BinaryMessage, make([]byte, 1<<20))
		}, pushover.ErrTooLarge},
		"frame against the protocol": {func(t *testing.T, w http.ResponseWriter, r *http.Request) {
			conn := upgrade(t, w, r)
			defer func() { _ = conn.Close() }()
			_, _, _ = conn.ReadMessage()
			_, _ = conn.NetConn().Write([]byte{0xff, 0xff, 0xff, 0xff})
		}, pushover.ErrUnavailable},
		"endless header": {func(t *testing.T, w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n"))
			for err == nil {
				_, err = conn.Write([]byte("X-Filler: " + strings.Repeat("x", 1000) + "\r\n"))
			}
		}, pushover.ErrTooLarge},
		"unasked compression": {func(t *testing.T, w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455 says so
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"+
				"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n\r\n", base64.StdEncoding.EncodeToString(accept[:]))
			read := make([]byte, 1)
			_, _ = conn.Read(read) // the login begins
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = io.Copy(io.Discard, conn)
			}()
			_, _ = conn.Write([]byte("\x82\x01#")) // all is well otherwise
			<-ended
		}, pushover.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, pushover.Options{}, func(w http.ResponseWriter, r *http.Request) { tc.answer(t, w, r) },
				func(t *testing.T, c *pushover.Client) {
					s, err := c.Connect(t.Context())
					if err == nil {
						defer func() { _ = s.Close() }()
						_, err = s.Next()
					}
					if !errors.Is(err, tc.want) {
						t.Errorf("got %v, want %v", err, tc.want)
					}
				})
		})
	}
}

func TestConnectEndsWithTheContext(t *testing.T) {
	for _, before := range []bool{true, false} { // the answer to the handshake, or nothing at all
		serve(t, pushover.Options{}, func(w http.ResponseWriter, r *http.Request) {
			if !before {
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
		}, func(t *testing.T, c *pushover.Client) {
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("shutting down")
			time.AfterFunc(time.Second, func() { cancel(why) })
			start := time.Now()
			if _, err := c.Connect(ctx); !errors.Is(err, why) && before || time.Since(start) > time.Second {
				t.Errorf("got %v after %s, want the context's cause after 1 s", err, time.Since(start))
			}
			cancel(nil)
		})
	}
}

func TestSendingTheLoginEndsWithTheContext(t *testing.T) {
	serve(t, pushover.Options{}, func(w http.ResponseWriter, r *http.Request) {
		conn := upgrade(t, w, r)
		time.Sleep(10 * time.Second) // and nothing is read
		_ = conn.Close()
	}, func(t *testing.T, c *pushover.Client) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errStop) })
		start := time.Now()
		if _, err := c.Connect(ctx); !errors.Is(err, errStop) || time.Since(start) != time.Second {
			t.Errorf("got %v after %s, want the context's cause after 1 s", err, time.Since(start))
		}
		time.Sleep(10 * time.Second) // for the other side to end
	})
}

func TestConnectGivesUpInTime(t *testing.T) {
	serve(t, pushover.Options{}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		func(t *testing.T, c *pushover.Client) {
			start := time.Now()
			if _, err := c.Connect(t.Context()); !errors.Is(err, pushover.ErrUnavailable) || time.Since(start) != 30*time.Second {
				t.Errorf("got %v after %s, want ErrUnavailable after 30 s", err, time.Since(start))
			}
		})
}

// FuzzStream feeds frames of any kind to a stream: it must never panic, hang or
// let a frame above the limit through.
func FuzzStream(f *testing.F) {
	for _, seed := range []string{"\x82\x01#", "\x82\x01!\x82\x01R", "\x81\x01E", "\x82\x02#A", "\x89\x00\x82\x01!", "\x88\x02\x03\xe8", "\x02\x01!\x80\x01!", "\x82\x7e\xff\xff", "\xff\xff", "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, frames []byte) {
		serve(t, pushover.Options{}, func(w http.ResponseWriter, r *http.Request) {
			conn := upgrade(t, w, r)
			defer func() { _ = conn.Close() }()
			_, _, _ = conn.ReadMessage()
			go func() { // pongs and farewells
				for {
					if _, _, err := conn.ReadMessage(); err != nil {
						return
					}
				}
			}()
			_, _ = conn.NetConn().Write(frames)
		}, func(t *testing.T, c *pushover.Client) {
			s, err := c.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			for n := 0; ; n++ {
				if _, err := s.Next(); err != nil {
					if n > len(frames) {
						t.Errorf("got %d signals of %d bytes", n, len(frames))
					}
					return
				}
			}
		})
	})
}

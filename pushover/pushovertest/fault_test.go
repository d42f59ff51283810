package pushovertest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func TestFaultAnswersInPlaceOfTheService(t *testing.T) {
	rows := []struct {
		name   string
		fault  pushovertest.Fault
		status int
		kind   string
		body   string // contained in the body
	}{
		{"503", pushovertest.Fault{Status: 503}, 503, "text/html", "503 Service Unavailable"},
		{"400", pushovertest.Fault{Status: 400}, 400, "application/json", `"status":0`},
		{"200", pushovertest.Fault{Status: 200}, 200, "application/json", `"status":1`},
		{"garbage", pushovertest.Fault{Body: "<html>portal"}, 200, "text/html", "<html>portal"},
		{"own JSON", pushovertest.Fault{Status: 401, Body: `{"status":0,"secret":"invalid"}`}, 401, "application/json", `"secret":"invalid"`},
		{"own type", pushovertest.Fault{Body: "x", ContentType: "text/plain"}, 200, "text/plain", "x"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
				d := s.AddDevice("n")
				sent := s.Send(pushovertest.Outgoing{Message: "x"})
				c.download(d)
				row.fault.On = "POST delete"
				row.fault.Count = 1
				s.Fault(row.fault)
				a := c.deleteThrough(d, sent.IDs[0])
				if a.status != row.status || !strings.HasPrefix(a.header.Get("Content-Type"), row.kind) || !strings.Contains(a.raw, row.body) {
					t.Errorf("got %d %s %q", a.status, a.header.Get("Content-Type"), a.raw)
				}
				if len(s.Queue("n")) != 1 {
					t.Error("the request was carried out")
				}
			})
		})
	}
}

func TestFaultMayActAndAnswerOtherwise(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.Fault(pushovertest.Fault{On: "POST delete", Status: 504, Act: true})
		if a := c.deleteThrough(d, s.Send(pushovertest.Outgoing{Message: "x"}).IDs[0]); a.status != 504 || len(s.Queue("n")) != 0 {
			t.Errorf("got %d and %v left", a.status, s.Queue("n"))
		}
	})
}

func TestDroppedConnections(t *testing.T) {
	for drop, left := range map[pushovertest.Drop]int{"before": 1, "after": 0, "half": 0, "stall": 0} {
		t.Run(string(drop), func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
				d := s.AddDevice("n")
				sent := s.Send(pushovertest.Outgoing{Message: "x"})
				c.download(d)
				s.Fault(pushovertest.Fault{On: "POST delete", Drop: drop, Count: 1})
				c.http.Timeout = time.Minute
				start := time.Now()
				a := c.deleteThrough(d, sent.IDs[0])
				if a.err == nil {
					t.Fatalf("got an answer: %q", a.raw)
				}
				if half := drop == "half"; half != (errors.Is(a.err, io.ErrUnexpectedEOF) && a.status == 200 && a.raw != "") {
					t.Errorf("got %v with %q", a.err, a.raw)
				}
				if stalled := time.Since(start) == time.Minute; stalled != (drop == "stall") {
					t.Errorf("failed after %v", time.Since(start))
				}
				if got := len(s.Queue("n")); got != left {
					t.Errorf("%d left in the queue, want %d", got, left)
				}
				if a := c.deleteThrough(d, sent.IDs[0]); !a.ok() {
					t.Errorf("afterwards: got %v %s", a.err, a.raw)
				}
			})
		})
	}
}

func TestHalfADownloadIsNotDelivered(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		sent := s.SendN(100, pushovertest.Outgoing{Message: "x"})
		s.Fault(pushovertest.Fault{On: "GET messages", Drop: "half", Count: 1})
		if a := c.download(d); !errors.Is(a.err, io.ErrUnexpectedEOF) || !strings.Contains(a.raw, sent[20].IDs[0]) {
			t.Fatalf("got %v after %d bytes", a.err, len(a.raw))
		}
		c.deleteThrough(d, sent[0].IDs[0])
		wantViolations(t, s, pushovertest.RuleUnseenDelete)
	})
}

func TestDelaySkipCountAndFor(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.Fault(pushovertest.Fault{On: "GET messages", Status: 500, Skip: 1, Count: 2})
		s.Fault(pushovertest.Fault{On: "*", Delay: 3 * time.Second, For: time.Minute})
		want := []struct {
			status int
			took   time.Duration
		}{{200, 3 * time.Second}, {500, 0}, {500, 0}, {200, 3 * time.Second}}
		for i, w := range want {
			start := time.Now()
			if a := c.download(d); a.status != w.status || time.Since(start) != w.took {
				t.Errorf("request %d: got %d after %v, want %+v", i, a.status, time.Since(start), w)
			}
		}
		pass(time.Minute)
		start := time.Now()
		if a := c.download(d); a.status != 200 || time.Since(start) != 0 {
			t.Errorf("afterwards: got %d after %v", a.status, time.Since(start))
		}
		s.Fault(pushovertest.Fault{On: "*", Status: 500})
		s.ClearFaults()
		if a := c.download(d); a.status != 200 {
			t.Errorf("cleared: got %d", a.status)
		}
		if got := s.Requests("GET messages"); got != 6 {
			t.Errorf("counted %d requests, want 6", got)
		}
	})
}

func TestPaddedBodyIsStillJSON(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.Fault(pushovertest.Fault{On: "GET messages", PadTo: 3 << 20})
		if a := c.download(d); !a.ok() || len(a.raw) != 3<<20 {
			t.Errorf("got %d bytes, status %v", len(a.raw), a.body["status"])
		}
	})
}

func TestDelayEndsWithTheClientAndWithTheServer(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.Fault(pushovertest.Fault{On: "GET messages", Delay: 100 * time.Hour})
		c.http.Timeout = time.Second
		if a := c.download(d); a.err == nil {
			t.Error("got an answer")
		}
		c.http.Timeout = 0
		failed := make(chan error)
		go func() { failed <- c.download(d).err }()
		synctest.Wait()
		s.Close() // returns although the request waits
		if err := <-failed; err == nil {
			t.Error("got an answer from a closed server")
		}
	})
}

func TestFaultsOfTheHandshake(t *testing.T) {
	rows := []struct {
		name  string
		fault pushovertest.Fault
		check func(res *http.Response, err error) bool
	}{
		{"503", pushovertest.Fault{Status: 503}, func(res *http.Response, err error) bool {
			return errors.Is(err, websocket.ErrBadHandshake) && res.StatusCode == http.StatusServiceUnavailable
		}},
		{"drop", pushovertest.Fault{Drop: "before"}, func(_ *http.Response, err error) bool {
			return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		}},
		{"half", pushovertest.Fault{Drop: "half"}, func(_ *http.Response, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF)
		}},
		{"stall", pushovertest.Fault{Drop: "stall"}, func(_ *http.Response, err error) bool { return err != nil }},
		{"delay", pushovertest.Fault{Delay: time.Minute}, func(_ *http.Response, err error) bool {
			return errors.Is(err, context.DeadlineExceeded) || err != nil
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
				row.fault.On, row.fault.Count = "stream", 1
				s.Fault(row.fault)
				dialer := websocket.Dialer{NetDialContext: s.DialContext, HandshakeTimeout: 10 * time.Second}
				_, res, err := dialer.DialContext(t.Context(), "ws://x/push", http.Header{"User-Agent": {c.agent}})
				if res != nil {
					_ = res.Body.Close()
				}
				if !row.check(res, err) {
					t.Errorf("got %v", err)
				}
				c.stream(s.AddDevice("n"))
				if !s.State().Device("n").Connected {
					t.Error("the next handshake failed")
				}
			})
		})
	}
}

func TestStreamDroppedAfterLogin(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.Fault(pushovertest.Fault{On: "stream", Drop: "after", Count: 1})
		c.stream(d).want("eof")
		if got := s.State().Device("n"); got.Connected || got.Logins != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestMeaninglessFaultsPanic(t *testing.T) {
	for _, f := range []pushovertest.Fault{
		{On: "GET nothing"}, {}, {On: "*", Status: 42}, {On: "*", Drop: "sometimes"}, {On: "*", Delay: -1}, {On: "*", Count: -1},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was accepted", f)
				}
			}()
			pushovertest.New(pushovertest.Options{}).Fault(f)
		}()
	}
}

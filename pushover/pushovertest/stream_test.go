package pushovertest_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func TestLoginFramesThatClientsSend(t *testing.T) {
	rows := []struct {
		name, path, ending string
		kind               int
	}{
		{"as documented", "/push", "\n", websocket.TextMessage},
		{"without newline", "/push", "", websocket.TextMessage},
		{"with CRLF", "/push", "\r\n", websocket.TextMessage},
		{"binary", "/push", "\n", websocket.BinaryMessage},
		{"odd path", "/push:443", "\n", websocket.TextMessage},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
				d := s.AddDevice("n")
				ws := c.open(row.path)
				if err := ws.WriteMessage(row.kind, []byte("login:"+d.ID+":"+d.Secret+row.ending)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if st := s.State().Device("n"); !st.Connected || st.Logins != 1 {
					t.Fatalf("got %+v, want it connected", st)
				}
				s.Send(pushovertest.Outgoing{Message: "x"})
				ws.want("!")
				wantViolations(t, s)
			})
		})
	}
}

func TestNoPositiveAnswerAndKeepAlivesAtTheirInterval(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		ws := c.open("/push")
		pass(7 * time.Second) // the interval counts from the login
		d := s.AddDevice("n")
		start := time.Now()
		ws.send("login:" + d.ID + ":" + d.Secret + "\n")
		for range 3 {
			ws.want("#")
		}
		if got := time.Since(start); got != 90*time.Second {
			t.Errorf("three keep-alives took %v, want 90s", got)
		}
		s.StopKeepAlive(true)
		pass(10 * time.Minute)
		s.Signal("n", "?")
		ws.want("?")
		s.StopKeepAlive(false)
		ws.want("#")
	})
}

func TestEachMessageHasItsOwnWakeUp(t *testing.T) {
	bubble(t, pushovertest.Options{KeepAlive: time.Hour}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		ws := c.stream(s.AddDevice("n"))
		s.SendN(5000, pushovertest.Outgoing{Message: "x"})
		for range 5000 {
			ws.want("!")
		}
		ws.want("#")
	})
}

func TestFailedLoginsGetEAndAClose(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		other := s.AddAccount("o@example.org", "p", false)
		foreign := c.login(other).text("secret")
		for _, frame := range []string{
			"login:" + d.ID + ":wrong\n", "login:wrong:" + d.Secret + "\n", "login:" + d.ID + ":" + foreign + "\n", "login:\n", "login:a:b:c\n",
		} {
			ws := c.open("/push")
			ws.send(frame)
			ws.want("E", "close 1000")
		}
		if s.State().Device("n").Connected {
			t.Error("the device counts as connected")
		}
	})
}

func TestWhoNeverLogsInIsHungUpOn(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, _ *pushovertest.Server, c *caller) {
		ws := c.open("/push")
		start := time.Now()
		ws.send("#")
		ws.want("eof")
		if got := time.Since(start); got != 30*time.Second {
			t.Errorf("hung up after %v, want 30s", got)
		}
	})
}

func TestOverlongInboundFrameEndsTheStream(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		ws := c.stream(s.AddDevice("n"))
		ws.send(strings.Repeat("x", 5<<10))
		ws.want("close 1009")
	})
}

func TestClientsMaySendKeepAlivesAndPings(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		ws := c.stream(s.AddDevice("n"))
		pong := false
		ws.SetPongHandler(func(string) error { pong = true; return nil })
		ws.send("#")
		if err := ws.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		ws.want("#")
		if !pong {
			t.Error("got no pong")
		}
	})
}

func TestSecondLoginDisplacesTheFirst(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		first := c.stream(d)
		second := c.stream(d)
		first.want("A", "close 1000")
		s.Send(pushovertest.Outgoing{Message: "x"})
		second.want("!")
		if st := s.State().Device("n"); !st.Connected || st.Logins != 2 {
			t.Errorf("got %+v", st)
		}
	})
}

func TestServerHangsUpOnWhoStaysAfterE(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		ws := c.stream(s.AddDevice("n"))
		ws.SetCloseHandler(func(int, string) error { return nil }) // no close frame back
		s.Signal("n", "E")
		ws.want("E", "close 1000")
		start := time.Now()
		var b [1]byte
		if _, err := ws.NetConn().Read(b[:]); err == nil {
			t.Error("got a byte after the close frame")
		}
		if got := time.Since(start); got != 5*time.Second {
			t.Errorf("hung up after %v, want 5s", got)
		}
	})
}

func TestScriptedFrames(t *testing.T) {
	rows := []struct {
		name string
		send func(s *pushovertest.Server)
		want []string
	}{
		{"one by one", func(s *pushovertest.Server) { s.Signal("n", "#!x") }, []string{"#", "!", "x"}},
		{"text", func(s *pushovertest.Server) { s.SignalText("n", "#!") }, []string{"text #", "text !"}},
		{"joined", func(s *pushovertest.Server) { s.SignalJoined("n", "#!") }, []string{"#!"}},
		{"split", func(s *pushovertest.Server) { s.SignalSplit("n", "!#") }, []string{"!#"}},
		{"reload", func(s *pushovertest.Server) { s.Signal("n", "R"); s.Signal("n", "#") }, []string{"R", "#"}},
		{"error", func(s *pushovertest.Server) { s.Signal("n", "E#") }, []string{"E", "close 1000"}},
		{"takeover", func(s *pushovertest.Server) { s.Signal("", "A") }, []string{"A", "close 1000"}},
		{"joined error", func(s *pushovertest.Server) { s.SignalJoined("n", "!E") }, []string{"!E", "close 1000"}},
		{"close", func(s *pushovertest.Server) { s.CloseStreams("n", 1012, "restart") }, []string{"close 1012 restart"}},
		{"hang up", func(s *pushovertest.Server) { s.CloseStreams("", 0, "") }, []string{"eof"}},
		{"huge", func(s *pushovertest.Server) { s.SignalJoined("n", strings.Repeat("#", 1<<20)) }, []string{strings.Repeat("#", 1<<20)}},
		{"somebody else", func(s *pushovertest.Server) { s.Signal("other", "E"); s.Signal("n", "!") }, []string{"!"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
				ws := c.stream(s.AddDevice("n"))
				s.AddDevice("other")
				row.send(s)
				ws.want(row.want...)
			})
		})
	}
}

func TestClientThatDoesNotReadIsDropped(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		c.stream(s.AddDevice("n"))
		s.SignalJoined("n", strings.Repeat("#", 1<<20)) // more than the connection buffers
		pass(time.Minute)
		if s.State().Device("n").Connected {
			t.Error("the device still counts as connected")
		}
	})
}

func TestStateIsRightWhenTheClientLeaves(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		ws := c.stream(s.AddDevice("n"))
		_ = ws.Close()
		err := s.Wait(t.Context(), func(st pushovertest.State) bool { return !st.Device("n").Connected })
		if err != nil {
			t.Error(err)
		}
	})
}

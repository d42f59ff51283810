package pushovertest_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// hold keeps n requests of a client in progress until the fault's delay ends.
func hold(c *caller, d pushovertest.Device, n int) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { c.download(d) })
	}
	wg.Wait()
}

func TestConnectionsRule(t *testing.T) {
	rows := []struct {
		name        string
		connections int
		delay       time.Duration
		want        []pushovertest.Rule
	}{
		{"two are allowed", 2, 10 * time.Second, nil},
		{"three are not", 3, 10 * time.Second, []pushovertest.Rule{pushovertest.RuleConnections}},
		{"a short burst of many is not", 8, 100 * time.Millisecond, []pushovertest.Rule{pushovertest.RuleConnections}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
				c.http.Transport = &http.Transport{DialContext: s.DialContext, MaxConnsPerHost: row.connections, MaxIdleConnsPerHost: 1}
				d := s.AddDevice("n")
				c.stream(d) // does not count
				s.Fault(pushovertest.Fault{On: "GET messages", Delay: row.delay})
				hold(c, d, 8)
				c.http.CloseIdleConnections()
				wantViolations(t, s, row.want...)
			})
		})
	}
}

// Connections that are closed when the rule looks were in use all the same if
// their answers were taken well after the third had appeared.
func TestConnectionsRuleKnowsOpenFromClosing(t *testing.T) {
	for delay, want := range map[time.Duration][]pushovertest.Rule{
		200 * time.Millisecond: nil, // may just have been closing
		500 * time.Millisecond: {pushovertest.RuleConnections},
	} {
		bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
			c.http.Transport = &http.Transport{DialContext: s.DialContext, DisableKeepAlives: true}
			d := s.AddDevice("n")
			s.Fault(pushovertest.Fault{On: "GET messages", Delay: delay})
			hold(c, d, 3)
			pass(time.Minute)
			wantViolations(t, s, want...)
		})
	}
}

func TestConnectionsThatFollowEachOtherAreFine(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		c.http.Transport = &http.Transport{DialContext: s.DialContext, DisableKeepAlives: true}
		for range 20 {
			c.download(d)
		}
		pass(time.Minute)
		wantViolations(t, s)
	})
}

func TestTwoClientsMayHaveTwoConnectionsEach(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		other := newCaller(t, s)
		other.agent = "other/1.0"
		s.Fault(pushovertest.Fault{On: "GET messages", Delay: 10 * time.Second})
		var wg sync.WaitGroup
		wg.Go(func() { hold(c, d, 4) })
		wg.Go(func() { hold(other, d, 4) })
		wg.Wait()
		wantViolations(t, s)
	})
}

func TestRepeatedRule(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		bad := pushovertest.Device{ID: d.ID, Secret: "wrong"}
		c.download(bad)
		c.download(pushovertest.Device{ID: d.ID, Secret: "wrong too"}) // another request
		c.acknowledge(d, "unknown")
		c.acknowledge(d, "unknown2") // another path
		wantViolations(t, s)
		c.download(bad)
		wantViolations(t, s, pushovertest.RuleRepeated)
		s.ClearViolations()
		pass(59 * time.Minute)
		c.acknowledge(d, "unknown")
		wantViolations(t, s, pushovertest.RuleRepeated)
		s.ClearViolations()
		pass(2 * time.Minute)
		c.acknowledge(d, "unknown")
		wantViolations(t, s)
	})
}

func TestRepeatedRuleForgivesWhenTheCauseIsGone(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.DisableDevice("n", true)
		c.download(d)
		s.DisableDevice("n", false)
		c.download(d)
		s.Fault(pushovertest.Fault{On: "GET messages", Status: 403})
		c.download(d)
		s.ClearFaults()
		c.download(d)
		wantViolations(t, s)
		s.Fault(pushovertest.Fault{On: "GET messages", Status: 403})
		c.download(d)
		c.download(d)
		wantViolations(t, s, pushovertest.RuleRepeated)
	})
}

func TestRepeatedRuleWantsJSON(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.Fault(pushovertest.Fault{On: "GET messages", Status: 403, Body: "<html>captive portal"})
		c.download(d)
		pass(5 * time.Second)
		c.download(d)
		wantViolations(t, s)
	})
}

// Any other answer may pass: a client may try again, after the wait that follows a
// failure.
func TestRepeatedRuleWantsAVerdict(t *testing.T) {
	for _, f := range []pushovertest.Fault{
		{Status: 409, Body: `{"status":0,"secret":"invalid"}`},
		{Status: 400, Body: `{"status":0,"errors":["message queue is busy"]}`},
		{Status: 404, Body: `{"status":0}`},
	} {
		bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
			d := s.AddDevice("n")
			f.On = "GET messages"
			s.Fault(f)
			c.download(d)
			pass(5 * time.Second)
			c.download(d)
			wantViolations(t, s)
			c.download(d)
			wantViolations(t, s, pushovertest.RuleEarlyRetry)
		})
	}
	for _, f := range []pushovertest.Fault{
		{On: "GET messages", Status: 400, Body: `{"status":0,"secret":"invalid"}`},
		{On: "GET messages", Status: 400, Body: `{"status":0,"errors":["device_id is invalid"]}`},
		{On: "GET messages", Status: 400, Body: `{"status":0,"errors":{"device":["is invalid"]}}`},
		{On: "POST acknowledge", Status: 404, Body: `{"status":0}`},
		{On: "POST acknowledge", Status: 400, Body: `{"status":0,"receipt":"invalid"}`},
	} {
		bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
			d := s.AddDevice("n")
			s.Fault(f)
			for range 2 {
				if f.On == "GET messages" {
					c.download(d)
				} else {
					c.acknowledge(d, "x")
				}
				pass(5 * time.Second)
			}
			wantViolations(t, s, pushovertest.RuleRepeated)
		})
	}
}

// Two requests on two connections may both be on their way before the first
// is answered: the second one is not a repetition.
func TestRequestsThatCrossAnAnswerAreNotAccused(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.Fault(pushovertest.Fault{On: "GET messages", Status: 403, Delay: time.Millisecond, Count: 1})
		s.Fault(pushovertest.Fault{On: "GET messages", Status: 500, Delay: 10 * time.Millisecond, Count: 1})
		hold(c, d, 2)
		wantViolations(t, s)
	})
}

func TestEarlyRetryRule(t *testing.T) {
	rows := []struct {
		name  string
		fault pushovertest.Fault
		wait  time.Duration
		bad   bool
	}{
		{"5xx at once", pushovertest.Fault{Status: 503}, 0, true},
		{"5xx nearly", pushovertest.Fault{Status: 500}, 4999 * time.Millisecond, true},
		{"5xx in time", pushovertest.Fault{Status: 503}, 5 * time.Second, false},
		{"dropped before, at once", pushovertest.Fault{Drop: "before"}, 0, true},
		{"dropped after, at once", pushovertest.Fault{Drop: "after"}, 0, true},
		{"half, at once", pushovertest.Fault{Drop: "half"}, 0, true},
		{"half, in time", pushovertest.Fault{Drop: "half"}, 5 * time.Second, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
				d := s.AddDevice("n")
				row.fault.On, row.fault.Count = "POST delete", 1
				s.Fault(row.fault)
				c.deleteThrough(d, "0")
				c.download(d) // another path may be asked
				pass(row.wait)
				c.deleteThrough(d, "0")
				if row.bad {
					wantViolations(t, s, pushovertest.RuleEarlyRetry)
				} else {
					wantViolations(t, s)
				}
			})
		})
	}
}

// Go's transport repeats a GET by itself when a connection it has used before
// closes without a byte. That is not the client's impatience, a third try is.
func TestEarlyRetryRuleExcusesTheHTTPLibrary(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		c.download(d)
		s.Fault(pushovertest.Fault{On: "GET messages", Drop: "before", Count: 1})
		if a := c.download(d); !a.ok() || s.Requests("GET messages") != 3 {
			t.Fatalf("got %v after %d requests, want net/http to repeat it", a.err, s.Requests("GET messages"))
		}
		wantViolations(t, s)
		s.Fault(pushovertest.Fault{On: "GET messages", Drop: "before", Count: 2})
		c.download(d)
		c.download(d)
		wantViolations(t, s, pushovertest.RuleEarlyRetry)
	})
}

func TestRateLimitRule(t *testing.T) {
	rows := []struct {
		name        string
		after, wait time.Duration
		bad         bool
	}{
		{"header ignored", 10 * time.Minute, 9 * time.Minute, true},
		{"header honoured", 10 * time.Minute, 10 * time.Minute, false},
		{"no header, too early", 0, 59 * time.Second, true},
		{"no header, a minute", 0, time.Minute, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
				d := s.AddDevice("n")
				s.Fault(pushovertest.Fault{On: "GET messages", Status: 429, RetryAfter: row.after, Count: 1})
				if a := c.download(d); a.status != 429 {
					t.Fatalf("got %d", a.status)
				}
				pass(row.wait)
				c.deleteThrough(d, "0")
				if row.bad {
					wantViolations(t, s, pushovertest.RuleRateLimit)
				} else {
					wantViolations(t, s)
				}
			})
		})
	}
}

func TestUserAgentRule(t *testing.T) {
	for agent, bad := range map[string]bool{
		"my-client/1.0 (+https://example.org)": false, "curl/8.5.0": false, "nodes-of-mine/2": false,
		"": true, "Go-http-client/1.1": true, "python-requests/2.31": true, "node": true, "okhttp/4.9": true,
	} {
		t.Run(agent, func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
				c.agent = agent
				d := s.AddDevice("n")
				c.download(d)
				c.download(d) // accused once
				c.stream(d)
				c.post("/1/messages.json", values{}) // senders are not judged
				if bad {
					wantViolations(t, s, pushovertest.RuleUserAgent, pushovertest.RuleUserAgent)
				} else {
					wantViolations(t, s)
				}
			})
		})
	}
}

func TestUnseenDeleteRule(t *testing.T) {
	bubble(t, pushovertest.Options{PageSize: 3}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		sent := s.SendN(5, pushovertest.Outgoing{Message: "x"})
		c.download(d)
		c.deleteThrough(d, sent[1].IDs[0])
		c.deleteThrough(d, sent[2].IDs[0])
		c.deleteThrough(d, sent[0].IDs[0]) // passed before
		wantViolations(t, s)
		c.deleteThrough(d, sent[3].IDs[0]) // not on the page
		wantViolations(t, s, pushovertest.RuleUnseenDelete)
	})
}

// What was passed once stays passed, whatever is repeated or comes late.
func TestUnseenDeleteRuleRemembersTheHighestDeletion(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		sent := s.SendN(3, pushovertest.Outgoing{Message: "x"})
		c.download(d)
		for _, id := range []string{sent[2].IDs[0], sent[0].IDs[0], sent[1].IDs[0], "0", sent[2].IDs[0]} {
			if a := c.deleteThrough(d, id); !a.ok() {
				t.Errorf("delete through %s: got %s", id, a.raw)
			}
		}
		wantViolations(t, s)
	})
}

func TestUnseenDeleteRuleCatchesRounding(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		sent := s.SendN(5, pushovertest.Outgoing{Message: "x"})
		c.download(d)
		for i := range sent {
			f, err := strconv.ParseFloat(sent[i].IDs[0], 64)
			if err != nil {
				t.Fatal(err)
			}
			c.deleteThrough(d, strconv.FormatInt(int64(f), 10))
		}
		if n := len(s.Violations()); n != 5 {
			t.Errorf("got %d violations, want one for each of 5 rounded ids: %v", n, s.Violations())
		}
	})
}

func TestReconnectAfterErrorRule(t *testing.T) {
	rows := []struct {
		name   string
		before func(s *pushovertest.Server, d *pushovertest.Device, c *caller)
		bad    bool
	}{
		{"at once", func(*pushovertest.Server, *pushovertest.Device, *caller) {}, true},
		{"after minutes", func(*pushovertest.Server, *pushovertest.Device, *caller) { pass(4 * time.Minute) }, true},
		{"slow retry", func(*pushovertest.Server, *pushovertest.Device, *caller) { pass(5 * time.Minute) }, false},
		{"new secret", func(s *pushovertest.Server, d *pushovertest.Device, c *caller) {
			d.Secret = c.login(s.Account()).text("secret")
		}, false},
		{"enabled again", func(s *pushovertest.Server, _ *pushovertest.Device, _ *caller) { s.DisableDevice("n", false) }, false},
		{"another client", func(_ *pushovertest.Server, _ *pushovertest.Device, c *caller) { c.agent = "other/1" }, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
				d := s.AddDevice("n")
				ws := c.stream(d)
				s.Signal("n", "E")
				ws.want("E")
				_ = ws.Close()
				synctest.Wait()
				row.before(s, &d, c)
				c.stream(d)
				if row.bad {
					wantViolations(t, s, pushovertest.RuleReconnectError)
				} else {
					wantViolations(t, s)
				}
			})
		})
	}
}

// After R a client closes without reading on: what came behind does not bind it.
func TestWhatFollowsAReloadBindsNobody(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		ws := c.stream(d)
		s.Signal("n", "RE")
		ws.want("R")
		_ = ws.Close()
		c.stream(d)
		wantViolations(t, s)
	})
}

// A client whose connection is dead cannot have heard E.
func TestWhoHeardNothingIsNotAccused(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		silent := c.stream(d)
		s.Signal("n", "E")
		pass(time.Minute) // nobody reads, nobody closes
		c.stream(d)
		_ = silent
		wantViolations(t, s)
	})
}

// A login may come before the old stream has ended. Whether the client had
// read E by then shows in how it ends it: a close frame answers the one that
// came behind E, hanging up answers nothing.
func TestLoginBeforeTheOldStreamEnds(t *testing.T) {
	for _, orderly := range []bool{true, false} {
		bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
			d := s.AddDevice("n")
			ws := c.stream(d)
			s.Signal("n", "E")
			c.stream(d)
			wantViolations(t, s)
			if !orderly {
				_ = ws.NetConn().Close()
				synctest.Wait()
				wantViolations(t, s)
				return
			}
			ws.want("E", "close 1000")
			synctest.Wait()
			wantViolations(t, s, pushovertest.RuleReconnectError)
		})
	}
}

func TestReconnectAfterTakeoverRule(t *testing.T) {
	for wait, bad := range map[time.Duration]bool{0: true, 59 * time.Second: true, time.Minute: false} {
		bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
			d := s.AddDevice("n")
			ws := c.stream(d)
			s.Signal("n", "A")
			ws.want("A", "close 1000")
			pass(wait)
			c.stream(d)
			if bad {
				wantViolations(t, s, pushovertest.RuleReconnectTakeover)
			} else {
				wantViolations(t, s)
			}
		})
	}
}

// keepReading drains a stream so that pings are answered.
func keepReading(ws *socket) {
	go func() {
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				return
			}
		}
	}()
}

func TestTwinsThatFightBackAreAccused(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		first := c.stream(d)
		keepReading(c.stream(d)) // the twin
		first.want("A", "close 1000")
		synctest.Wait()
		wantViolations(t, s)
		c.stream(d) // fights back while the twin lives
		synctest.Wait()
		wantViolations(t, s, pushovertest.RuleReconnectTakeover)
	})
}

func TestTheTwinThatWonMayReconnect(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		first := c.stream(d)
		twin := c.stream(d)
		first.want("A", "close 1000")
		_ = twin.NetConn().Close() // its connection breaks
		synctest.Wait()
		keepReading(c.stream(d))
		wantViolations(t, s)
	})
}

// The twin that won gives up a connection that is dead without being closed:
// whether it comes back or the other one cannot be told, unless somebody
// still reads there.
func TestTheTwinThatWonMayGiveUpADeadConnection(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		first := c.stream(d)
		c.stream(d) // the twin, whose connection nobody reads
		first.want("A", "close 1000")
		synctest.Wait()
		keepReading(c.stream(d))
		pass(time.Minute)
		wantViolations(t, s)
	})
}

// A client that gave its old connection up and was displaced by its own new
// one has done nothing wrong.
func TestDisplacingTheOwnDeadConnectionIsFine(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		for range 5 {
			c.stream(d) // half open: never read again
			pass(20 * time.Second)
		}
		wantViolations(t, s)
	})
}

func TestPollingRule(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		for range 90 {
			c.download(d)
			pass(30 * time.Second)
		}
		wantViolations(t, s)
		for range 31 {
			c.download(d)
		}
		wantViolations(t, s, pushovertest.RulePolling)
	})
}

func TestDownloadsWithAReasonAreNotPolling(t *testing.T) {
	bubble(t, pushovertest.Options{PageSize: 1}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.SendN(300, pushovertest.Outgoing{Message: "x"})
		for range 300 { // a backlog
			c.deleteThrough(d, c.download(d).messages(t)[0]["id_str"].(string))
		}
		for range 100 { // reconnects
			c.stream(d)
			c.download(d)
			pass(time.Second)
		}
		c.stream(d)
		for range 100 { // wake-ups, with one more look each
			s.Signal("n", "!")
			c.download(d)
			c.download(d)
		}
		for range 20 { // slow safety synchronisation
			c.download(d)
			pass(10 * time.Minute)
		}
		for _, v := range s.Violations() {
			if v.Rule == pushovertest.RulePolling {
				t.Error(v)
			}
		}
	})
}

func TestPasswordRule(t *testing.T) {
	bubble(t, pushovertest.Options{TwoFactor: true}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		a := s.Account()
		in := func(password, code string) {
			c.post("/1/users/login.json", values{"email": a.Email, "password": password, "twofa": code})
		}
		in("wrong", "")
		in("wrong too", "")
		in(a.Password, "") // 412
		in(a.Password, a.Code())
		wantViolations(t, s)
		in("wrong", "123456")
		wantViolations(t, s, pushovertest.RulePassword)
		in(a.Password, "")
		wantViolations(t, s, pushovertest.RulePassword, pushovertest.RuleRepeated)
	})
}

func TestViolationsHoldNoSecrets(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		c.agent = ""
		d := s.AddDevice("n")
		s.Fault(pushovertest.Fault{On: "*", Status: 403, Count: 2})
		c.deleteThrough(d, "7")
		c.deleteThrough(d, "7")
		c.deleteThrough(d, "7")
		ws := c.stream(d)
		s.Signal("n", "E")
		ws.want("E", "close 1000")
		c.stream(d)
		if len(s.Violations()) < 5 {
			t.Fatalf("got %v", s.Violations())
		}
		for _, v := range s.Violations() {
			if strings.Contains(v.Detail, d.ID) || strings.Contains(v.Detail, d.Secret) {
				t.Errorf("a secret in %v", v)
			}
		}
	})
}

// The pattern of a careful client, in real time over TCP, with everything
// that makes events cross.
func TestWellBehavedClientIsNeverAccused(t *testing.T) {
	s := pushovertest.New(pushovertest.Options{KeepAlive: 5 * time.Millisecond, PageSize: 7})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := s.AddDevice("n")
	c := newCaller(t, s)
	var wg sync.WaitGroup
	c.http.Transport = &http.Transport{MaxConnsPerHost: 2, DialContext: nil}
	defer c.http.CloseIdleConnections()
	sync := func() {
		for {
			res, err := request(t.Context(), c, http.MethodGet, s.APIURL()+"/1/messages.json?"+values{"secret": d.Secret, "device_id": d.ID}.encode())
			if err != nil {
				t.Errorf("download: %v", err)
				return
			}
			got := res.messages(t)
			if len(got) == 0 {
				return
			}
			last := got[len(got)-1]["id_str"].(string)
			if _, err := request(t.Context(), c, http.MethodPost, s.APIURL()+"/1/devices/"+d.ID+"/update_highest_message.json?"+
				(values{"secret": d.Secret, "message": last}).encode()); err != nil {
				t.Errorf("delete: %v", err)
				return
			}
		}
	}
	for range 10 {
		ws, res, err := websocket.DefaultDialer.DialContext(t.Context(), s.StreamURL(), http.Header{"User-Agent": {c.agent}})
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if err := ws.WriteMessage(websocket.TextMessage, []byte("login:"+d.ID+":"+d.Secret)); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { s.SendN(50, pushovertest.Outgoing{Message: "x"}) })
		wg.Go(func() { // acknowledgements on the other connection
			receipt := s.Send(pushovertest.Outgoing{Message: "x", Priority: 2}).Receipt
			if _, err := request(t.Context(), c, http.MethodPost, s.APIURL()+"/1/receipts/"+receipt+"/acknowledge.json?secret="+d.Secret); err != nil {
				t.Errorf("acknowledge: %v", err)
			}
		})
		for range 20 {
			_, b, err := ws.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			if b[0] == '!' {
				sync()
			}
		}
		_ = ws.Close()
		wg.Wait()
		sync()
	}
	if n := len(s.Queue("n")); n != 0 {
		t.Errorf("%d messages left", n)
	}
	wantViolations(t, s)
}

func request(ctx context.Context, c *caller, method, url string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("User-Agent", c.agent)
	return readAnswer(c.http.Do(req))
}

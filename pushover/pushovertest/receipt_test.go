package pushovertest_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func emergency(retry, expire time.Duration) pushovertest.Outgoing {
	return pushovertest.Outgoing{Message: "fire", Priority: 2, Retry: retry, Expire: expire}
}

func TestEmergencyRingsUntilAcknowledged(t *testing.T) {
	bubble(t, pushovertest.Options{KeepAlive: time.Hour}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		ws := c.stream(d)
		sent := s.Send(emergency(30*time.Second, time.Hour))
		wantForm(t, "receipt", sent.Receipt, "[A-Za-z0-9]{30}")
		ws.want("!", "!", "!")
		if r, _ := s.Receipt(sent.Receipt); r.Retries != 2 || r.Acknowledged {
			t.Errorf("got %+v, want two retries", r)
		}
		if a := c.acknowledge(d, sent.Receipt); !a.ok() {
			t.Fatalf("got %s", a.raw)
		}
		at := time.Now()
		pass(10 * time.Minute)
		if a := c.acknowledge(d, sent.Receipt); !a.ok() {
			t.Errorf("again: got %s, want it harmless", a.raw)
		}
		r, _ := s.Receipt(sent.Receipt)
		if r.Retries != 2 || !r.Acknowledged || !r.AcknowledgedAt.Equal(at) || r.AcknowledgedByDevice != "n" || r.Calls != 2 {
			t.Errorf("got %+v, want the first acknowledgement at %v", r, at)
		}
		if m := c.download(d).messages(t)[0]; m["acked"] != json.Number("1") || m["receipt"] != sent.Receipt {
			t.Errorf("got %v, want it acked", m)
		}
	})
}

func TestRetriesEnd(t *testing.T) {
	rows := []struct {
		name          string
		retry, expire time.Duration
		want          int
	}{
		{"at expiry", 30 * time.Second, 100 * time.Second, 3},
		{"after fifty", 30 * time.Second, 3 * time.Hour, 50},
		{"retry is at least 30 s", time.Second, time.Minute, 1},
		{"expire is at most 3 h", time.Hour, 100 * time.Hour, 2},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, _ *caller) {
				s.AddDevice("n")
				sent := s.Send(emergency(row.retry, row.expire))
				pass(200 * time.Hour / 2)
				r, _ := s.Receipt(sent.Receipt)
				if r.Retries != row.want || !r.Expired {
					t.Errorf("got %d retries, expired %v; want %d", r.Retries, r.Expired, row.want)
				}
			})
		})
	}
}

func TestRetryCanQueueTheMessageAgain(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.SetRetryMode(pushovertest.RetryMessage)
		s.Send(emergency(30*time.Second, time.Hour))
		pass(31 * time.Second)
		got := c.download(d).messages(t)
		if len(got) != 2 || got[0]["id"] == got[1]["id"] || got[0]["umid"] != got[1]["umid"] || got[0]["receipt"] != got[1]["receipt"] {
			t.Errorf("got %v, want the same message under two ids", got)
		}
	})
}

func TestGroupIsSilencedByItsFirstMember(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("mine")
		other := s.AddAccount("other@example.org", "p", false)
		stranger := s.AddAccount("stranger@example.org", "p", false)
		secret := c.login(other).text("secret")
		reg := c.post("/1/devices.json", values{"secret": secret, "name": "theirs", "os": "O"})
		theirs := pushovertest.Device{ID: reg.text("id"), Secret: secret}
		m := emergency(0, 0)
		m.To = s.AddGroup(s.Account(), other)
		sent := s.Send(m)
		if len(sent.IDs) != 2 {
			t.Fatalf("got %v, want one message for each member", sent.IDs)
		}
		foreign := pushovertest.Device{Secret: c.login(stranger).text("secret")}
		if a := c.acknowledge(foreign, sent.Receipt); a.status != 404 {
			t.Errorf("stranger: got %d %s, want 404", a.status, a.raw)
		}
		if a := c.acknowledge(theirs, sent.Receipt); !a.ok() {
			t.Fatalf("got %s", a.raw)
		}
		c.acknowledge(d, sent.Receipt)
		r, _ := s.Receipt(sent.Receipt)
		if r.AcknowledgedByDevice != "theirs" || r.AcknowledgedBy != other.UserKey {
			t.Errorf("got %+v, want the first acknowledgement to win", r)
		}
		if m := c.download(d).messages(t)[0]; m["acked"] != json.Number("1") {
			t.Errorf("got %v, want it acked for the other member", m)
		}
	})
}

func TestSenderFollowsAReceipt(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		a := s.Account()
		sent := c.post("/1/messages.json", values{
			"token": a.AppToken, "user": a.UserKey, "message": "x", "priority": "2", "retry": "30", "expire": "60",
		})
		status := func() map[string]any {
			body := c.get("/1/receipts/"+sent.text("receipt")+".json", values{"token": a.AppToken}).body
			delete(body, "request")
			return body
		}
		start := float64(time.Now().Unix())
		want := map[string]any{
			"status": 1.0, "acknowledged": 0.0, "acknowledged_at": 0.0, "acknowledged_by": "", "acknowledged_by_device": "",
			"last_delivered_at": start, "expired": 0.0, "expires_at": start + 60, "called_back": 0.0, "called_back_at": 0.0,
		}
		if diff := cmp.Diff(want, status()); diff != "" {
			t.Errorf("fresh (-want +got):\n%s", diff)
		}
		pass(35 * time.Second)
		c.acknowledge(d, sent.text("receipt"))
		pass(time.Minute)
		want["acknowledged"], want["acknowledged_at"], want["acknowledged_by"] = 1.0, start+35, a.UserKey
		want["acknowledged_by_device"], want["last_delivered_at"], want["expired"] = "n", start+30, 1.0
		if diff := cmp.Diff(want, status()); diff != "" {
			t.Errorf("acknowledged (-want +got):\n%s", diff)
		}
		pass(8 * 24 * time.Hour)
		if got := c.get("/1/receipts/"+sent.text("receipt")+".json", values{"token": a.AppToken}); got.status != 404 {
			t.Errorf("after a week: got %d %s, want 404", got.status, got.raw)
		}
	})
}

func TestSenderCancels(t *testing.T) {
	bubble(t, pushovertest.Options{KeepAlive: time.Hour}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		s.AddDevice("n")
		a := s.Account()
		fields := values{
			"token": a.AppToken, "user": a.UserKey, "message": "x", "priority": "2", "retry": "30", "expire": "600", "tags": "disk,nas",
		}
		one, two := c.post("/1/messages.json", fields).text("receipt"), c.post("/1/messages.json", fields).text("receipt")
		if got := c.post("/1/receipts/"+one+"/cancel.json", values{"token": a.AppToken}); !got.ok() {
			t.Fatalf("got %s", got.raw)
		}
		if got := c.post("/1/receipts/cancel_by_tag/nas.json", values{"token": a.AppToken}); !got.ok() || got.body["canceled"] != 1.0 {
			t.Errorf("by tag: got %s, want one", got.raw)
		}
		pass(time.Hour)
		for _, id := range []string{one, two} {
			if r, _ := s.Receipt(id); !r.Cancelled || r.Retries != 0 {
				t.Errorf("got %+v, want it silent", r)
			}
		}
	})
}

func TestUnknownReceipt(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		if a := c.acknowledge(d, "x"); a.status != 404 || a.body["status"] != 0.0 {
			t.Errorf("got %d %s", a.status, a.raw)
		}
		if a := c.acknowledge(pushovertest.Device{Secret: "x"}, "x"); a.status != 400 || a.body["secret"] != "invalid" {
			t.Errorf("got %d %s", a.status, a.raw)
		}
	})
}

func TestCallbackIsCalledOnce(t *testing.T) {
	calls := make(chan url.Values, 10)
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		calls <- r.PostForm
	}))
	defer sink.Close()
	s := pushovertest.New(pushovertest.Options{})
	s.StartPipe()
	defer s.Close()
	d := s.AddDevice("n")
	c := newCaller(t, s)
	m := emergency(0, 0)
	m.Callback = sink.URL
	sent := s.Send(m)
	c.acknowledge(d, sent.Receipt)
	c.acknowledge(d, sent.Receipt)
	got := <-calls
	if got.Get("receipt") != sent.Receipt || got.Get("acknowledged") != "1" || got.Get("acknowledged_by_device") != "n" {
		t.Errorf("got %v", got)
	}
	err := s.Wait(t.Context(), func(st pushovertest.State) bool { return st.Receipt(sent.Receipt).CalledBack })
	if err != nil || len(calls) != 0 {
		t.Errorf("got %v and %d more calls", err, len(calls))
	}
}

// A callback may only ring at home: where it is told to go instead is not
// gone to, be that loopback or not.
func TestCallbackFollowsNoRedirect(t *testing.T) {
	said := make(lines, 100)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		said <- "followed with " + r.Method
	}))
	defer elsewhere.Close()
	for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect} {
		sink := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		s := pushovertest.New(pushovertest.Options{Logger: slog.New(slog.NewTextHandler(said, nil))})
		s.StartPipe()
		d := s.AddDevice("n")
		m := emergency(0, 0)
		m.Callback = sink.URL
		sent := s.Send(m)
		newCaller(t, s).acknowledge(d, sent.Receipt)
		if got := said.next("callback failed", "followed"); !strings.Contains(got, "callback failed") || !strings.Contains(got, strconv.Itoa(status)) {
			t.Errorf("%d: got %q, want the failure of the callback", status, got)
		}
		if r, _ := s.Receipt(sent.Receipt); r.CalledBack {
			t.Errorf("%d: the receipt counts as called back", status)
		}
		s.Close()
		sink.Close()
	}
}

// lines takes what a log says, line by line.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// next waits for a line that holds one of these texts.
func (l lines) next(texts ...string) string {
	for line := range l {
		for _, text := range texts {
			if strings.Contains(line, text) {
				return line
			}
		}
	}
	return ""
}

func TestCloseStopsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pushovertest.New(pushovertest.Options{})
		s.StartPipe()
		s.AddDevice("n")
		sent := s.Send(emergency(30*time.Second, time.Hour))
		s.Close()
		s.Close()
		pass(time.Hour)
		if r, _ := s.Receipt(sent.Receipt); r.Retries != 0 {
			t.Errorf("got %d retries after Close", r.Retries)
		}
	})
}

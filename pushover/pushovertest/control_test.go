package pushovertest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func list(v any) []string {
	out := []string{}
	items, _ := v.([]any)
	for _, i := range items {
		s, _ := i.(string)
		out = append(out, s)
	}
	return out
}

func TestControlQueuesMessages(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		a := c.sim("messages", `{"count":3,"priority":2,"title":"T{n}","message":"M{n}","sound":"bike","retry":"45s","expire":600,"fields":{"x":1}}`)
		if diff := cmp.Diff(s.Queue("n"), list(a.body["ids"])); a.status != 200 || diff != "" || len(list(a.body["receipts"])) != 3 {
			t.Fatalf("got %d %s\n%s", a.status, a.raw, diff)
		}
		for i, m := range c.download(d).messages(t) {
			n := string(rune('1' + i))
			if m["title"] != "T"+n || m["message"] != "M"+n || m["sound"] != "bk" || m["x"] == nil {
				t.Errorf("message %s: got %v", n, m)
			}
		}
		r, _ := s.Receipt(list(a.body["receipts"])[0])
		if got := time.Until(r.ExpiresAt); got != 10*time.Minute {
			t.Errorf("expires in %v, want 10m", got)
		}
	})
}

func TestControlWithoutDevicesOrEmergencies(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, _ *pushovertest.Server, c *caller) {
		if a := c.sim("messages", `{}`); strings.TrimSpace(a.raw) != `{"ids":[],"receipts":[]}` {
			t.Errorf("got %s", a.raw)
		}
	})
}

func TestControlState(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		if a := c.get("/sim/state", nil); !strings.HasPrefix(a.raw, `{"devices":[],"receipts":[],"requests":{}`) {
			t.Errorf("fresh: got %s", a.raw)
		}
		d := s.AddDevice("n")
		c.stream(d)
		sent := s.Send(pushovertest.Outgoing{Message: "x", Priority: 2})
		c.acknowledge(d, sent.Receipt)
		a := c.get("/sim/state", nil)
		now := time.Now()
		want := map[string]any{
			"devices": []any{map[string]any{
				"name": "n", "account": "me@example.org", "queue": []any{sent.IDs[0]}, "connected": true, "logins": 1.0, "disabled": false,
			}},
			"receipts": []any{map[string]any{
				"receipt": sent.Receipt, "acknowledged": true, "acknowledged_at": stamp(now), "acknowledged_by": s.Account().UserKey,
				"acknowledged_by_device": "n", "expires_at": stamp(now.Add(time.Hour)), "expired": false, "cancelled": false,
				"called_back": false, "retries": 0.0, "calls": 1.0,
			}},
			"requests":   map[string]any{"stream": 1.0, "POST acknowledge": 1.0},
			"violations": 0.0,
		}
		if diff := cmp.Diff(want, a.body); diff != "" {
			t.Errorf("state (-want +got):\n%s", diff)
		}
		if strings.Contains(a.raw, d.Secret) || strings.Contains(a.raw, d.ID) {
			t.Error("a secret in the state")
		}
	})
}

func stamp(t time.Time) string { return t.Format(time.RFC3339Nano) }

func TestControlFramesAndFaults(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		ws := c.stream(d)
		if a := c.sim("frames", `{"frame":"!","device":"n"}`); a.body["streams"] != 1.0 {
			t.Errorf("got %s", a.raw)
		}
		c.sim("frames", `{"frame":"#!","mode":"joined"}`)
		c.sim("frames", `{"frame":"x","mode":"text"}`)
		c.sim("frames", `{"frame":"#!","mode":"split","close":1011,"reason":"sorry"}`)
		ws.want("!", "#!", "text x", "#!", "close 1011 sorry")

		if a := c.sim("faults", `{"on":"GET messages","status":503,"body":"b","delay":"2s","count":1,"retry_after":7}`); a.status != 200 {
			t.Fatalf("got %s", a.raw)
		}
		start := time.Now()
		if a := c.download(d); a.status != 503 || a.raw != "b" || time.Since(start) != 2*time.Second || a.header.Get("Retry-After") != "7" {
			t.Errorf("got %d %q after %v", a.status, a.raw, time.Since(start))
		}
		c.sim("faults", `{"on":"*","status":500,"for":"60s","skip":1,"act":true,"drop":"half","pad_to":10,"content_type":"text/plain"}`)
		c.do(http.MethodDelete, "/sim/faults", "", "")
		pass(5 * time.Second)
		if a := c.download(d); !a.ok() {
			t.Errorf("cleared: got %d %s", a.status, a.raw)
		}
	})
}

func TestControlAccountsGroupsDevicesSettings(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		a := c.sim("accounts", `{"email":"b@example.org","password":"p","twofa":true}`)
		if a.text("email") != "b@example.org" || a.text("totp_secret") == "" || a.text("api_url") != s.APIURL() || len(a.text("user_key")) != 30 {
			t.Fatalf("got %s", a.raw)
		}
		if in := c.login(pushovertest.Account{Email: "b@example.org", Password: "p"}); in.status != 412 {
			t.Errorf("login: got %d, want 412", in.status)
		}
		g := c.sim("groups", `{"emails":["me@example.org","b@example.org"]}`)
		wantForm(t, "group key", g.text("group_key"), "[A-Za-z0-9]{30}")
		d := s.AddDevice("n")
		if got := c.sim("messages", `{"to":"`+g.text("group_key")+`"}`); len(list(got.body["ids"])) != 1 {
			t.Errorf("to the group: got %s", got.raw)
		}
		c.sim("devices", `{"name":"n","disabled":true}`)
		if got := c.download(d); got.status != 403 {
			t.Errorf("disabled: got %d", got.status)
		}
		c.sim("devices", `{"name":"n","disabled":false}`)
		if got := c.download(d); !got.ok() {
			t.Errorf("enabled: got %d", got.status)
		}
		ok := c.sim("settings", `{"licensed":false,"keepalive":false,"order":"descending","omit_strings":true,
			"error_shape":"object","retry_mode":"message","page_size":2,"revoke":"`+d.Secret+`"}`)
		if got := c.download(d); ok.status != 200 || got.status != 400 || !strings.Contains(got.raw, `{"secret":["is invalid"]}`) {
			t.Errorf("got %s, then %s", ok.raw, got.raw)
		}
		c.sim("devices", `{"name":"n","remove":true}`)
		if got := s.State().Devices; len(got) != 0 {
			t.Errorf("removed: got %v", got)
		}
	})
}

func TestControlViolations(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		if a := c.get("/sim/violations", nil); strings.TrimSpace(a.raw) != "[]" {
			t.Errorf("got %s, want []", a.raw)
		}
		c.agent = ""
		c.download(s.AddDevice("n"))
		want := `[{"rule":"user-agent","detail":"GET messages with User-Agent \"\"","at":"` + stamp(time.Now()) + `"}]`
		if a := c.get("/sim/violations", nil); strings.TrimSpace(a.raw) != want {
			t.Errorf("got %s\nwant %s", a.raw, want)
		}
		c.do(http.MethodDelete, "/sim/violations", "", "")
		if len(s.Violations()) != 0 {
			t.Error("not cleared")
		}
	})
}

func TestControlRefusesWhatItDoesNotUnderstand(t *testing.T) {
	rows := []struct{ path, body, want string }{
		{"messages", ``, "nothing"},
		{"messages", `{`, "not JSON"},
		{"messages", `[]`, "cannot be"},
		{"messages", `{"colour":"red"}`, `unknown field "colour"`},
		{"messages", `{"count":"three"}`, "count"},
		{"messages", `{"count":0}`, "count: 0"},
		{"messages", `{"count":-1}`, "count: -1"},
		{"messages", `{"count":99999999}`, "count"},
		{"messages", `{"priority":3}`, "priority: 3"},
		{"messages", `{"device":"nowhere"}`, `no device "nowhere"`},
		{"messages", `{"to":"b@example.org","device":"n"}`, `no device "n"`}, // which is another's
		{"messages", `{"callback":"http://127.0.0.1/"}`, `unknown field "callback"`},
		{"messages", `{"queued":"2026-11-26T00:00:00Z"}`, `unknown field "queued"`},
		{"messages", `{"to":"nobody"}`, `"nobody"`},
		{"messages", `{"ttl":"soon"}`, `"soon"`},
		{"messages", `{} {}`, "more than one"},
		{"frames", `{}`, "frame"},
		{"frames", `{"frame":"!","device":"nowhere"}`, `no device "nowhere"`},
		{"frames", `{"frame":"!","mode":"loud"}`, `"loud"`},
		{"frames", `{"close":7}`, "close: 7"},
		{"faults", `{}`, "on"},
		{"faults", `{"on":"GET nothing"}`, `"GET nothing"`},
		{"faults", `{"on":"*","drop":"maybe"}`, `"maybe"`},
		{"faults", `{"on":"*","status":99}`, "status: 99"},
		{"faults", `{"on":"*","delay":"-2s"}`, "negative"},
		{"faults", `{"on":"*","delay":"2"}`, `"2"`},
		{"faults", `{"on":"*","count":-2}`, "negative"},
		{"faults", `{"on":"*","times":2}`, `"times"`},
		{"accounts", `{"password":"p"}`, "email"},
		{"accounts", `{"email":"e"}`, "password"},
		{"groups", `{}`, "emails"},
		{"groups", `{"emails":["nobody"]}`, `"nobody"`},
		{"devices", `{"name":"nowhere","disabled":true}`, `"nowhere"`},
		{"devices", `{"name":"n"}`, "disabled"},
		{"settings", `{"order":"random"}`, `"random"`},
		{"settings", `{"error_shape":"round"}`, `"round"`},
		{"settings", `{"retry_mode":"never"}`, `"never"`},
		{"settings", `{"page_size":0}`, "page_size: 0"},
	}
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		s.AddDevice("n")
		s.AddAccount("b@example.org", "p", false)
		for _, row := range rows {
			a := c.sim(row.path, row.body)
			if a.status != 400 || !strings.Contains(a.text("error"), row.want) {
				t.Errorf("%s %s: got %d %s, want 400 that tells of %s", row.path, row.body, a.status, a.raw, row.want)
			}
		}
		if n := len(s.Queue("n")); n != 0 {
			t.Errorf("%d messages were queued", n)
		}
		if a := c.get("/sim/nothing", nil); a.status != 404 || a.text("error") == "" {
			t.Errorf("unknown call: got %d %s", a.status, a.raw)
		}
		if a := c.sim("faults", `{"body":"`+strings.Repeat("x", 5<<20)+`"}`); a.err == nil && a.status != 413 {
			t.Errorf("huge body: got %d", a.status)
		}
	})
}

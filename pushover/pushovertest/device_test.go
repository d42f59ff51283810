package pushovertest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func TestRegistrationQueuesOneWelcome(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		secret := c.login(s.Account()).text("secret")
		reg := c.post("/1/devices.json", values{"secret": secret, "name": "nas-1", "os": "O"})
		wantForm(t, "device id", reg.text("id"), "[A-Za-z0-9]{40}")
		got := c.download(pushovertest.Device{Secret: secret, ID: reg.text("id")}).messages(t)
		if len(got) != 1 || got[0]["app"] != "Pushover" || got[0]["aid"] != json.Number("1") ||
			got[0]["icon"] != "pushover" || got[0]["title"] != "Welcome to Pushover!" {
			t.Errorf("got %v, want the welcome message", got)
		}
	})
}

func TestDeviceNames(t *testing.T) {
	const charset = "may only contain letters, numbers, dashes and underscores"
	rows := []struct{ name, problem string }{
		{"a", ""},
		{"Nas-1_x", ""},
		{strings.Repeat("x", 25), ""},
		{strings.Repeat("x", 26), "is too long (maximum is 25 characters)"},
		{"", "can't be blank"},
		{"with space", charset},
		{"dot.dot", charset},
		{"bär", charset},
		{"line\nbreak", charset},
		{"taken", "has already been taken"},
	}
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("taken")
		for _, row := range rows {
			a := c.post("/1/devices.json", values{"secret": d.Secret, "name": row.name, "os": "O"})
			if row.problem == "" {
				if !a.ok() {
					t.Errorf("%q: got %s, want it accepted", row.name, a.raw)
				}
				continue
			}
			want := map[string]any{"name": []any{row.problem}}
			if a.status != 400 || a.body["status"] != 0.0 || !cmp.Equal(a.body["errors"], any(want)) {
				t.Errorf("%q: got %d %s, want errors %v", row.name, a.status, a.raw, want)
			}
		}
	})
}

func TestNamesAreUniquePerAccountOnly(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		s.AddDevice("nas")
		other := c.login(s.AddAccount("other@example.org", "p", false)).text("secret")
		if a := c.post("/1/devices.json", values{"secret": other, "name": "nas", "os": "O"}); !a.ok() {
			t.Errorf("got %s, want it accepted", a.raw)
		}
		s.RemoveDevice("nas")
		if a := c.post("/1/devices.json", values{"secret": other, "name": "nas", "os": "O"}); !a.ok() {
			t.Errorf("after removal: got %s, want it accepted", a.raw)
		}
	})
}

func TestBothShapesOfErrors(t *testing.T) {
	rows := []struct {
		shape          pushovertest.ErrorShape
		register, sync any
	}{
		{pushovertest.ErrorsAsObserved, map[string]any{"secret": []any{"is invalid"}}, []any{"secret is invalid"}},
		{pushovertest.ErrorsAsList, []any{"secret is invalid"}, []any{"secret is invalid"}},
		{pushovertest.ErrorsAsObject, map[string]any{"secret": []any{"is invalid"}}, map[string]any{"secret": []any{"is invalid"}}},
	}
	for _, row := range rows {
		bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
			s.SetErrorShape(row.shape)
			register := c.post("/1/devices.json", values{"secret": "x", "name": "n", "os": "O"})
			sync := c.get("/1/messages.json", values{"secret": "x", "device_id": "y"})
			if diff := cmp.Diff([]any{row.register, row.sync}, []any{register.body["errors"], sync.body["errors"]}); diff != "" {
				t.Errorf("shape %q (-want +got):\n%s", row.shape, diff)
			}
			if _, list := row.sync.([]any); list && sync.body["secret"] != "invalid" {
				t.Errorf("got %s, want the key of the bad parameter", sync.raw)
			}
		})
	}
}

func TestOnlyOpenClientsRegister(t *testing.T) {
	bubble(t, pushovertest.Options{MaxDevices: 2}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("one")
		for _, os := range []string{"", "o", "A", "0"} {
			if a := c.post("/1/devices.json", values{"secret": d.Secret, "name": "n", "os": os}); a.status != 400 {
				t.Errorf("os %q: got %d, want 400", os, a.status)
			}
		}
		s.AddDevice("two")
		a := c.post("/1/devices.json", values{"secret": d.Secret, "name": "three", "os": "O"})
		if a.status != 400 || a.text("message") == "" {
			t.Errorf("too many devices: got %d %s, want a top-level message", a.status, a.raw)
		}
	})
}

func TestTrialEndsAndLicenceHelps(t *testing.T) {
	no := false
	bubble(t, pushovertest.Options{Licensed: &no}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("nas")
		a := c.download(d)
		user, _ := a.body["user"].(map[string]any)
		if !a.ok() || user["is_desktop_licensed"] != false {
			t.Fatalf("on trial: got %s", a.raw)
		}
		pass(30*24*time.Hour - time.Second)
		if a := c.download(d); !a.ok() {
			t.Fatalf("last second of the trial: got %s", a.raw)
		}
		pass(time.Second)
		if a := c.download(d); a.status != 403 || a.body["status"] != 0.0 {
			t.Errorf("after the trial: got %d %s, want 403", a.status, a.raw)
		}
		c.stream(d).want("E", "close 1000")
		s.SetLicensed(true)
		if a := c.download(d); !a.ok() {
			t.Errorf("with a licence: got %s", a.raw)
		}
		ws := c.stream(d)
		s.SetLicensed(false)
		ws.want("E", "close 1000")
	})
}

// The stream says at its next keep-alive what a download would say at once.
func TestTrialThatEndsReachesAConnectedStream(t *testing.T) {
	no := false
	for _, silent := range []bool{false, true} {
		bubble(t, pushovertest.Options{Licensed: &no, Trial: 90 * time.Second}, func(t *testing.T, s *pushovertest.Server, c *caller) {
			s.StopKeepAlive(silent)
			d := s.AddDevice("nas")
			ws := c.stream(d)
			if !silent {
				ws.want("#", "#")
			}
			ws.want("E", "close 1000")
			if st := s.State().Device("nas"); st.Connected || !st.Disabled {
				t.Errorf("silent %v: got %+v, want it disabled and gone", silent, st)
			}
			s.SetLicensed(true)
			ws = c.stream(d)
			s.Send(pushovertest.Outgoing{Message: "x"})
			ws.want("!")
			wantViolations(t, s)
		})
	}
}

func TestDisabledDevice(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("nas")
		ws := c.stream(d)
		s.DisableDevice("nas", true)
		ws.want("E", "close 1000")
		if a := c.download(d); a.status != 403 {
			t.Errorf("got %d, want 403", a.status)
		}
		if sent := s.Send(pushovertest.Outgoing{Message: "x"}); len(sent.IDs) != 0 {
			t.Errorf("got %v queued for a disabled device", sent.IDs)
		}
		s.DisableDevice("nas", false)
		if a := c.download(d); !a.ok() {
			t.Errorf("enabled again: got %s", a.raw)
		}
		ws = c.stream(d)
		s.Send(pushovertest.Outgoing{Message: "x"})
		ws.want("!")
		wantViolations(t, s)
	})
}

func TestRevokedSecretEndsItsStreamOnly(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		one, two := s.AddDevice("one"), s.AddDevice("two")
		first, second := c.stream(one), c.stream(two)
		s.RevokeSecret(one.Secret)
		first.want("E", "close 1000")
		if a := c.download(one); a.status != 400 || a.body["secret"] != "invalid" {
			t.Errorf("got %d %s", a.status, a.raw)
		}
		s.Send(pushovertest.Outgoing{Message: "x", Device: "two"})
		second.want("!")
		fresh := c.login(s.Account()).text("secret")
		if a := c.download(pushovertest.Device{ID: one.ID, Secret: fresh}); !a.ok() {
			t.Errorf("a new secret does not work with the old device: %s", a.raw)
		}
	})
}

package pushovertest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func ids(messages []map[string]any) []string {
	out := []string{}
	for _, m := range messages {
		out = append(out, m["id_str"].(string))
	}
	return out
}

func all(sent []pushovertest.Sent) []string {
	var out []string
	for _, s := range sent {
		out = append(out, s.IDs...)
	}
	return out
}

func TestEmptyQueueIsAnEmptyArray(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		a := c.download(s.AddDevice("n"))
		list, isList := a.body["messages"].([]any)
		if !a.ok() || !isList || len(list) != 0 || !strings.HasPrefix(a.raw, `{"messages":[]`) {
			t.Errorf("got %s", a.raw)
		}
	})
}

func TestFieldsOfAMessage(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		sent := s.Send(pushovertest.Outgoing{
			Title: "T <1>", Message: "line\n\"quoted\" ✔", Priority: 1, App: "Backups", Sound: "siren",
			URL: "https://example.org/?a=1&b=2", URLTitle: "more", HTML: true, Monospace: true, Encrypted: true,
			TTL: time.Minute, Timestamp: time.Unix(1000, 0),
		})
		m := c.download(d).messages(t)[0]
		now := time.Now().Unix()
		number := func(n int64) json.Number { return json.Number(strconv.FormatInt(n, 10)) }
		want := map[string]any{
			"id": json.Number(sent.IDs[0]), "id_str": sent.IDs[0], "umid": json.Number(sent.UMID), "umid_str": sent.UMID,
			"title": "T <1>", "message": "line\n\"quoted\" ✔", "app": "Backups", "aid": m["aid"],
			"aid_str": string(m["aid"].(json.Number)), "icon": m["icon"], "date": number(1000), "queued_date": number(now),
			"dispatched_date": number(now), "expiration_date": number(now + 60), "priority": number(1), "sound": "si",
			"url": "https://example.org/?a=1&b=2", "url_title": "more", "html": number(1), "monospace": number(1),
			"encrypted": number(1), "acked": number(0),
		}
		if diff := cmp.Diff(want, m); diff != "" {
			t.Errorf("message (-want +got):\n%s", diff)
		}
		wantForm(t, "icon", m["icon"].(string), "[A-Za-z0-9]{15}")
	})
}

func TestAbsentFieldsAreAbsent(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.Send(pushovertest.Outgoing{Message: "x"})
		m := c.download(d).messages(t)[0]
		for _, key := range []string{"title", "sound", "url", "url_title", "html", "monospace", "encrypted", "expiration_date", "receipt"} {
			if v, there := m[key]; there {
				t.Errorf("%s is there: %v", key, v)
			}
		}
	})
}

func TestRawFieldsReplaceAddAndVanish(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.Send(pushovertest.Outgoing{
			Message: "x", Fields: map[string]any{"icon": nil, "priority": "high", "new": []int{1}, "acked": true},
			Omit: []string{"app", "id_str"},
		})
		s.Send(pushovertest.Outgoing{Message: "y", Omit: []string{"id", "id_str", "acked", "umid"}})
		got := c.download(d).messages(t)
		m := got[0]
		_, app := m["app"]
		_, idStr := m["id_str"]
		if m["icon"] != nil || m["priority"] != "high" || fmt.Sprint(m["new"]) != "[1]" || m["acked"] != true || app || idStr {
			t.Errorf("got %v", m)
		}
		if got[1]["message"] != "y" || got[1]["id"] != nil {
			t.Errorf("got %v", got[1])
		}
	})
}

func TestIDsGrowAndFitNoFloat(t *testing.T) {
	bubble(t, pushovertest.Options{PageSize: -1}, func(t *testing.T, s *pushovertest.Server, _ *caller) {
		s.AddDevice("n")
		last, steps := int64(0), map[int64]bool{}
		for _, text := range all(s.SendN(2000, pushovertest.Outgoing{Message: "x"})) {
			id, err := strconv.ParseInt(text, 10, 64)
			if err != nil || id <= last || id <= 1<<53 {
				t.Fatalf("id %s after %d", text, last)
			}
			if int64(float64(id)) == id {
				t.Fatalf("id %d survives rounding to a float64", id)
			}
			steps[id-last] = true
			last = id
		}
		if len(steps) < 100 {
			t.Errorf("only %d different steps between ids", len(steps))
		}
	})
}

func TestDevicesOfOneAccountShareTheUMIDAndNotTheID(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		one, two := s.AddDevice("one"), s.AddDevice("two")
		sent := s.Send(pushovertest.Outgoing{Message: "x"})
		a, b := c.download(one).messages(t)[0], c.download(two).messages(t)[0]
		if a["umid_str"] != b["umid_str"] || a["id_str"] == b["id_str"] {
			t.Errorf("got umids %v %v, ids %v %v", a["umid_str"], b["umid_str"], a["id_str"], b["id_str"])
		}
		if want := []string{a["id_str"].(string), b["id_str"].(string)}; !slices.Equal(sent.IDs, want) {
			t.Errorf("Sent.IDs: got %v, want %v", sent.IDs, want)
		}
	})
}

func TestOldCapturesHaveSmallIDsAndNoStrings(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.OmitStrings(true)
		sent := s.SendN(3, pushovertest.Outgoing{Message: "x"})
		for i, m := range c.download(d).messages(t) {
			for k := range m {
				if strings.HasSuffix(k, "_str") {
					t.Errorf("field %s is there", k)
				}
			}
			if got := m["id"].(json.Number).String(); got != sent[i].IDs[0] || len(got) > 3 {
				t.Errorf("got id %s, sent as %s", got, sent[i].IDs[0])
			}
		}
	})
}

func TestPagesHoldTheLowestIDsInEveryOrder(t *testing.T) {
	for _, order := range []pushovertest.Order{pushovertest.Ascending, pushovertest.Descending, pushovertest.Shuffled} {
		bubble(t, pushovertest.Options{PageSize: 10}, func(t *testing.T, s *pushovertest.Server, c *caller) {
			d := s.AddDevice("n")
			s.SetOrder(order)
			sent := all(s.SendN(25, pushovertest.Outgoing{Message: "x"}))
			got := ids(c.download(d).messages(t))
			sorted := slices.Sorted(slices.Values(got))
			if !slices.Equal(sorted, sent[:10]) {
				t.Fatalf("%s: got %v, want the ten lowest of %v", order, got, sent)
			}
			slices.Reverse(sorted)
			if up, down := slices.IsSorted(got), slices.Equal(got, sorted); up != (order == pushovertest.Ascending) || down != (order == pushovertest.Descending) {
				t.Errorf("%s: got %v", order, got)
			}
			s.SetPageSize(-1)
			if n := len(c.download(d).messages(t)); n != 25 {
				t.Errorf("no limit: got %d messages, want 25", n)
			}
		})
	}
}

func TestDownloadRemovesNothingAndDeleteRemovesThrough(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d, other := s.AddDevice("n"), s.AddDevice("other")
		sent := s.SendN(5, pushovertest.Outgoing{Message: "{n}"})
		mine := ids(c.download(d).messages(t))
		if again := ids(c.download(d).messages(t)); !slices.Equal(mine, again) || len(mine) != 5 {
			t.Fatalf("got %v, then %v", mine, again)
		}
		if a := c.deleteThrough(d, mine[2]); !a.ok() {
			t.Fatalf("got %s", a.raw)
		}
		if got := s.Queue("n"); !slices.Equal(got, mine[3:]) {
			t.Errorf("left %v, want %v", got, mine[3:])
		}
		for _, harmless := range []string{mine[2], mine[0], "0"} {
			if a := c.deleteThrough(d, harmless); !a.ok() {
				t.Errorf("delete through %s: got %s", harmless, a.raw)
			}
		}
		for _, bad := range []string{"", "x", "-1", "1.5", "3.8e17", "99999999999999999999"} {
			if a := c.deleteThrough(d, bad); a.status != 400 || a.body["message"] != "invalid" {
				t.Errorf("delete through %q: got %d %s", bad, a.status, a.raw)
			}
		}
		if n := len(s.Queue("other")); n != 5 {
			t.Errorf("the other device has %d left of %d", n, len(sent))
		}
		if a := c.deleteThrough(pushovertest.Device{ID: other.ID, Secret: "x"}, mine[4]); a.ok() {
			t.Error("deleted with a wrong secret")
		}
		wantViolations(t, s)
	})
}

func TestRetentionDropsWhatIsOld(t *testing.T) {
	bubble(t, pushovertest.Options{Retention: time.Hour}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		old := s.Send(pushovertest.Outgoing{Message: "old"}).IDs[0]
		pass(30 * time.Minute)
		kept := s.Send(pushovertest.Outgoing{Message: "new"}).IDs[0]
		c.download(d)
		pass(30 * time.Minute)
		if got := ids(c.download(d).messages(t)); !slices.Equal(got, []string{kept}) {
			t.Errorf("got %v, want %v only", got, kept)
		}
		// The client deletes what it was given, though it is gone already.
		if a := c.deleteThrough(d, old); !a.ok() {
			t.Errorf("got %s", a.raw)
		}
		wantViolations(t, s)
	})
}

func TestMessagesGoToTheNamedDevicesOrToAll(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, _ *caller) {
		for _, name := range []string{"a", "b", "c"} {
			s.AddDevice(name)
		}
		for names, want := range map[string]int{"": 3, "a": 1, "a, c": 2, "a,a": 1, "a,unknown": 3} {
			if sent := s.Send(pushovertest.Outgoing{Message: "x", Device: names}); len(sent.IDs) != want {
				t.Errorf("device %q: got %d ids, want %d", names, len(sent.IDs), want)
			}
		}
	})
}

func TestDownloadDescribesUserAndDevice(t *testing.T) {
	bubble(t, pushovertest.Options{Email: "e@example.org"}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		a := c.download(s.AddDevice("nas-1"))
		user, _ := a.body["user"].(map[string]any)
		device, _ := a.body["device"].(map[string]any)
		if user["email"] != "e@example.org" || user["is_desktop_licensed"] != true || user["quiet_hours"] != false {
			t.Errorf("user: got %v", user)
		}
		if device["name"] != "nas-1" || device["encryption_enabled"] != false || device["default_sound"] != "po" {
			t.Errorf("device: got %v", device)
		}
	})
}

// A user key is whatever the test says, of the real form or not.
func TestDownloadWithAShortUserKey(t *testing.T) {
	bubble(t, pushovertest.Options{UserKey: "u1"}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		a := c.download(s.AddDevice("n"))
		user, _ := a.body["user"].(map[string]any)
		if !a.ok() || user["first_email_alias"] != "simu1" {
			t.Errorf("got %v, %d %s", a.err, a.status, a.raw)
		}
	})
}

func TestIconsAndSounds(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.Send(pushovertest.Outgoing{Message: "x"})
		icon := c.download(d).messages(t)[0]["icon"].(string)
		for path, want := range map[string][2]string{
			"/icons/" + icon + ".png": {"image/png", "\x89PNG"}, "/icons/pushover.png": {"image/png", "\x89PNG"},
			"/sounds/po.mp3": {"audio/mpeg", "\xff\xfb"}, "/sounds/siren.wav": {"audio/wav", "RIFF"},
		} {
			if a := c.get(path, nil); a.status != 200 || a.header.Get("Content-Type") != want[0] || !strings.HasPrefix(a.raw, want[1]) {
				t.Errorf("%s: got %d %s %.8q", path, a.status, a.header.Get("Content-Type"), a.raw)
			}
		}
	})
}

package pushovertest_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func TestSendingValidatesAsDocumented(t *testing.T) {
	long := func(n int) string { return strings.Repeat("é", n) }
	rows := []struct {
		name   string
		fields values
		bad    string // parameter named in the refusal; "" = accepted
	}{
		{"plain", values{}, ""},
		{"unknown token", values{"token": "x"}, "token"},
		{"no token", values{"token": ""}, "token"},
		{"unknown user", values{"user": "x"}, "user"},
		{"no user", values{"user": ""}, "user"},
		{"no message", values{"message": ""}, "message"},
		{"blank message", values{"message": " \n"}, "message"},
		{"longest texts", values{"message": long(1024), "title": long(250), "url": long(512), "url_title": long(100)}, ""},
		{"message too long", values{"message": long(1025)}, "message"},
		{"title too long", values{"title": long(251)}, "title"},
		{"url too long", values{"url": long(513)}, "url"},
		{"url title too long", values{"url_title": long(101)}, "url_title"},
		{"not UTF-8", values{"title": "\xff"}, "title"},
		{"priority low", values{"priority": "-2"}, ""},
		{"priority too low", values{"priority": "-3"}, "priority"},
		{"priority too high", values{"priority": "3"}, "priority"},
		{"priority no number", values{"priority": "high"}, "priority"},
		{"emergency", values{"priority": "2", "retry": "30", "expire": "10800"}, ""},
		{"emergency without retry", values{"priority": "2", "expire": "60"}, "retry"},
		{"emergency without expire", values{"priority": "2", "retry": "30"}, "expire"},
		{"retry too short", values{"priority": "2", "retry": "29", "expire": "60"}, "retry"},
		{"expire too long", values{"priority": "2", "retry": "30", "expire": "10801"}, "expire"},
		{"callback no URL", values{"priority": "2", "retry": "30", "expire": "60", "callback": "nowhere"}, "callback"},
		{"retry without emergency", values{"retry": "1"}, ""},
		{"html", values{"html": "1"}, ""},
		{"html as Python says it", values{"html": "True", "monospace": "False"}, ""},
		{"html and monospace", values{"html": "1", "monospace": "1"}, "html"},
		{"html odd", values{"html": "yes"}, "html"},
		{"encrypted", values{"encrypted": "1"}, ""},
		{"encrypted odd", values{"encrypted": "2"}, "encrypted"},
		{"ttl", values{"ttl": "60"}, ""},
		{"ttl zero", values{"ttl": "0"}, "ttl"},
		{"ttl no number", values{"ttl": "soon"}, "ttl"},
		{"timestamp", values{"timestamp": "1"}, ""},
		{"timestamp no number", values{"timestamp": "now"}, "timestamp"},
		{"device", values{"device": "n"}, ""},
		{"devices", values{"device": "n,unknown"}, ""},
		{"device malformed", values{"device": "no good"}, "device"},
		{"sound", values{"sound": "siren"}, ""},
		{"sound unknown", values{"sound": "whistle"}, ""},
		{"sound malformed", values{"sound": "../x"}, "sound"},
		{"attachment", values{"attachment_base64": "aGk=", "attachment_type": "image/png"}, ""},
		{"attachment that is not an image", values{"attachment_base64": "aGk=", "attachment_type": "text/plain"}, "attachment"},
		{"attachment without a type", values{"attachment_base64": "aGk="}, "attachment"},
		{"longest tags", values{"tags": long(255)}, ""},
		{"tags too long", values{"tags": long(256)}, "tags"},
		{"ciphertext is longer", values{"encrypted": "1", "message": long(1400), "title": long(400), "url": long(700), "url_title": long(160)}, ""},
		{"attachment no base64", values{"attachment_base64": "*"}, "attachment_base64"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
				s.AddDevice("n")
				a := s.Account()
				fields := values{"token": a.AppToken, "user": a.UserKey, "message": "x"}
				maps.Copy(fields, row.fields)
				got := c.post("/1/messages.json", fields)
				queued := len(s.Queue("n"))
				if row.bad == "" {
					if !got.ok() || queued != 1 || got.text("request") == "" {
						t.Errorf("got %s and %d queued, want it accepted", got.raw, queued)
					}
					if (got.text("receipt") != "") != (fields["priority"] == "2") {
						t.Errorf("got receipt %q", got.text("receipt"))
					}
					return
				}
				if got.status != 400 || got.body[row.bad] != "invalid" || queued != 0 {
					t.Errorf("got %d %s and %d queued, want %s refused", got.status, got.raw, queued, row.bad)
				}
			})
		})
	}
}

// The most used sender for Node.js ends its multipart bodies like this.
func TestMultipartWithoutALineEndBeforeTheLastBoundary(t *testing.T) {
	for _, end := range []string{"--B--\r\n", "--B--", "\r\n--B--\r\n"} {
		bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
			d := s.AddDevice("n")
			a := s.Account()
			body := ""
			for _, f := range [][2]string{{"token", a.AppToken}, {"user", a.UserKey}, {"message", "hello"}} {
				body += "\r\n--B\r\nContent-Disposition: form-data; name=\"" + f[0] + "\"\r\n\r\n" + f[1]
			}
			if got := c.do(http.MethodPost, "/1/messages.json", `multipart/form-data; boundary="B"`, body[2:]+end); !got.ok() {
				t.Fatalf("end %q: %s", end, got.raw)
			}
			if m := c.download(d).messages(t); len(m) != 1 || m[0]["message"] != "hello" {
				t.Errorf("end %q: got %v", end, m)
			}
		})
	}
}

func TestSendersMeetTheFormsOfTheService(t *testing.T) {
	bubble(t, pushovertest.Options{MonthlyLimit: 2}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		a := s.Account()
		fields := values{"token": a.AppToken, "user": a.UserKey, "message": "m"}
		if got := c.post("/1/messages.json", fields); !got.ok() || got.text("info") != "no active devices to send to" {
			t.Errorf("no device: got %s, want success with an info", got.raw)
		}
		s.AddDevice("n")
		want := `<?xml version="1.0" encoding="UTF-8"?>` + "\n<hash><request>"
		got := c.post("/1//messages.xml", fields) // the slash twice, too
		if got.status != 200 || !strings.HasPrefix(got.raw, want) || !strings.Contains(got.raw, "<status>1</status>") {
			t.Errorf("XML: got %d %s", got.status, got.raw)
		}
		got = c.post("/1/messages.json", fields)
		if got.status != 429 || got.text("token") != "invalid" || !strings.Contains(got.raw, `["application has exceeded current limit of 2 messages"]`) {
			t.Errorf("quota of the account: got %d %s", got.status, got.raw)
		}
		fields["token"] = "x"
		if got := c.post("/1/messages.xml", fields); got.status != 400 || !strings.Contains(got.raw, "<errors><error>application token is invalid</error>") {
			t.Errorf("refusal in XML: got %d %s", got.status, got.raw)
		}
	})
}

func TestUploadedSoundsHeadTheListAndComeWithDownloads(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		s.AddSound("doorbell", "Door bell")
		d := s.AddDevice("n")
		a := s.Account()
		if got := c.post("/1/sounds.json", values{"token": a.AppToken}); !strings.Contains(got.raw, `"sounds":{"doorbell":"Door bell","pushover":`) {
			t.Errorf("the list is %s", got.raw)
		}
		c.post("/1/messages.json", values{"token": a.AppToken, "user": a.UserKey, "message": "m", "sound": "doorbell"})
		c.post("/1/messages.json", values{"token": a.AppToken, "user": a.UserKey, "message": "a code is not a name", "sound": "si"})
		got := c.download(d)
		if m := got.messages(t); len(m) != 2 || m[1]["sound"] != nil || m[0]["sound"] != "c1" || !strings.Contains(got.raw, `"sounds":{"c1":"doorbell"}`) {
			t.Errorf("the download is %s", got.raw)
		}
	})
}

func TestEncryptedMessageWithoutTitleGetsTheApplicationsName(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		s.Send(pushovertest.Outgoing{Message: "c2VhbGVk", Encrypted: true})
		if m := c.download(d).messages(t); len(m) != 1 || m[0]["title"] != "Simulator" || fmt.Sprint(m[0]["encrypted"]) != "1" {
			t.Errorf("got %v", m)
		}
	})
}

func TestLooseIDsAscendFromSecondToSecondOnly(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		time.Sleep(time.Until(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)))
		s.LooseIDs(true)
		d := s.AddDevice("n")
		back := 0
		last := int64(0)
		for i := range 200 {
			id, err := strconv.ParseInt(s.Send(pushovertest.Outgoing{Message: "m"}).IDs[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			want := int64(time.Since(time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC)) / time.Second)
			if id>>32 != want {
				t.Fatalf("id %d is of second %d, want %d", id, id>>32, want)
			}
			if id < last {
				back++
			}
			if last = id; i%20 == 19 {
				time.Sleep(time.Second)
			}
		}
		if back < 20 || !slices.IsSorted(s.Queue("n")) {
			t.Errorf("%d of 200 ids are lower than the one before, want many; sorted: %t", back, slices.IsSorted(s.Queue("n")))
		}
		// A deletion of all that was seen, and of one that came meanwhile.
		seen := c.download(d).messages(t)
		s.Send(pushovertest.Outgoing{Message: "m", Queued: time.Now().Add(-time.Minute)})
		c.deleteThrough(d, fmt.Sprint(seen[len(seen)-1]["id_str"]))
		if v := s.Violations(); len(v) != 1 || v[0].Rule != pushovertest.RuleUnseenDelete {
			t.Errorf("got %v, want the deletion of an unseen message named", v)
		}
	})
}

func TestSentMessageArrives(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		ws := c.stream(d)
		a := s.Account()
		kind, body := form(t, values{"token": a.AppToken, "user": a.UserKey, "message": "m", "sound": "bike", "priority": "-1"})
		json := fmt.Sprintf(`{"token":%q,"user":%q,"message":"m","sound":"bike","priority":-1}`, a.AppToken, a.UserKey)
		for name, got := range map[string]answer{
			"multipart": c.do(http.MethodPost, "/1/messages.json", kind, body),
			"JSON":      c.do(http.MethodPost, "/1/messages.json", "application/json", json),
		} {
			if !got.ok() {
				t.Errorf("%s: got %s", name, got.raw)
			}
		}
		ws.want("!", "!")
		for _, m := range c.download(d).messages(t) {
			if m["message"] != "m" || m["sound"] != "bk" || fmt.Sprint(m["priority"]) != "-1" || m["app"] != "Simulator" {
				t.Errorf("got %v", m)
			}
		}
	})
}

func TestSeveralRecipients(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		s.AddDevice("n")
		a, b := s.Account(), s.AddAccount("b@example.org", "p", false)
		user := a.UserKey + "," + b.UserKey
		if got := c.post("/1/messages.json", values{"token": b.AppToken, "user": user, "message": "x"}); !got.ok() || len(s.Queue("n")) != 1 {
			t.Errorf("got %s", got.raw)
		}
		if got := c.post("/1/messages.json", values{"token": a.AppToken, "user": a.UserKey + ",x", "message": "x"}); got.status != 400 {
			t.Errorf("one of them unknown: got %d", got.status)
		}
	})
}

func TestMonthlyLimit(t *testing.T) {
	bubble(t, pushovertest.Options{MonthlyLimit: 2}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		s.AddDevice("n")
		a := s.Account()
		for i, want := range []int{200, 200, 429} {
			got := c.post("/1/messages.json", values{"token": a.AppToken, "user": a.UserKey, "message": "x"})
			remaining := fmt.Sprint(max(0, 1-i))
			reset := fmt.Sprint(time.Date(2000, 2, 1, 0, 0, 0, 0, time.UTC).Unix())
			if got.status != want || got.header.Get("X-Limit-App-Limit") != "2" ||
				got.header.Get("X-Limit-App-Remaining") != remaining || got.header.Get("X-Limit-App-Reset") != reset {
				t.Errorf("message %d: got %d %v", i+1, got.status, got.header)
			}
		}
		if got := c.get("/1/apps/limits.json", values{"token": a.AppToken}); !got.ok() || got.body["remaining"] != 0.0 {
			t.Errorf("limits: got %s", got.raw)
		}
	})
}

func TestValidateUser(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		a := s.Account()
		ask := func(v values) answer {
			fields := values{"token": a.AppToken, "user": a.UserKey}
			maps.Copy(fields, v)
			return c.post("/1/users/validate.json", fields)
		}
		if got := ask(nil); got.status != 400 {
			t.Errorf("no device: got %d", got.status)
		}
		s.AddDevice("n")
		if got := ask(nil); !got.ok() || fmt.Sprint(got.body["devices"], got.body["licenses"], got.body["group"]) != "[n] [Desktop] 0" {
			t.Errorf("got %s", got.raw)
		}
		if got := ask(values{"user": s.AddGroup(a)}); !got.ok() || got.body["group"] != 1.0 {
			t.Errorf("group: got %s", got.raw)
		}
		for _, bad := range []values{{"user": "x"}, {"token": "x"}, {"device": "x"}} {
			if got := ask(bad); got.status != 400 {
				t.Errorf("%v: got %d", bad, got.status)
			}
		}
	})
}

func TestListSounds(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		got := c.get("/1/sounds.json", values{"token": s.Account().AppToken})
		sounds, _ := got.body["sounds"].(map[string]any)
		if !got.ok() || len(sounds) != 23 || sounds["siren"] != "Siren" {
			t.Errorf("got %s", got.raw)
		}
	})
}

package pushovertest_test

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func form(t *testing.T, v values) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for k, s := range v {
		if err := w.WriteField(k, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.String()
}

// Placements of parameters that clients have been seen to use.
func TestParametersAreAcceptedWhereverClientsPutThem(t *testing.T) {
	const urlencoded = "application/x-www-form-urlencoded"
	placements := map[string]func(t *testing.T, c *caller, method, path string, v values) answer{
		"query": func(_ *testing.T, c *caller, method, path string, v values) answer {
			return c.do(method, path+"?"+v.encode(), "", "")
		},
		"urlencoded body": func(_ *testing.T, c *caller, method, path string, v values) answer {
			return c.do(method, path, urlencoded, v.encode())
		},
		"urlencoded body with charset": func(_ *testing.T, c *caller, method, path string, v values) answer {
			return c.do(method, path, urlencoded+"; charset=utf-8", v.encode())
		},
		"urlencoded body without content type": func(_ *testing.T, c *caller, method, path string, v values) answer {
			return c.do(method, path, "", v.encode())
		},
		"body with trailing newline": func(_ *testing.T, c *caller, method, path string, v values) answer {
			return c.do(method, path, urlencoded, v.encode()+"\n")
		},
		"multipart": func(t *testing.T, c *caller, method, path string, v values) answer {
			kind, body := form(t, v)
			return c.do(method, path, kind, body)
		},
		"JSON": func(_ *testing.T, c *caller, method, path string, v values) answer {
			var pairs []string
			for k, s := range v {
				pairs = append(pairs, `"`+k+`":"`+s+`"`)
			}
			return c.do(method, path, "application/json", "{"+strings.Join(pairs, ",")+"}")
		},
		"half in query, half in body": func(_ *testing.T, c *caller, method, path string, v values) answer {
			query, body := values{}, values{}
			for k, s := range v {
				if k == "secret" || k == "email" {
					query[k] = s
				} else {
					body[k] = s
				}
			}
			return c.do(method, path+"?"+query.encode(), urlencoded, body.encode())
		},
	}
	for name, call := range placements {
		t.Run(name, func(t *testing.T) {
			bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
				account := s.Account()
				in := call(t, c, http.MethodPost, "/1/users/login.json", values{"email": account.Email, "password": account.Password})
				if !in.ok() {
					t.Fatalf("login: %+v", in)
				}
				secret := in.text("secret")
				reg := call(t, c, http.MethodPost, "/1/devices.json", values{"secret": secret, "name": "n", "os": "O"})
				if !reg.ok() {
					t.Fatalf("register: %+v", reg)
				}
				d := pushovertest.Device{ID: reg.text("id"), Secret: secret}
				sent := s.Send(pushovertest.Outgoing{Message: "x", Priority: 2})
				got := call(t, c, http.MethodGet, "/1/messages.json", values{"secret": secret, "device_id": d.ID})
				if n := len(got.messages(t)); n != 2 {
					t.Fatalf("download: got %d messages, want the welcome and one more: %+v", n, got)
				}
				del := call(t, c, http.MethodPost, "/1/devices/"+d.ID+"/update_highest_message.json",
					values{"secret": secret, "message": sent.IDs[0]})
				if !del.ok() || len(s.Queue("n")) != 0 {
					t.Fatalf("delete: %+v, left %v", del, s.Queue("n"))
				}
				ack := call(t, c, http.MethodPost, "/1/receipts/"+sent.Receipt+"/acknowledge.json", values{"secret": secret})
				if r, _ := s.Receipt(sent.Receipt); !ack.ok() || !r.Acknowledged {
					t.Fatalf("acknowledge: %+v, %+v", ack, r)
				}
				wantViolations(t, s)
			})
		})
	}
}

func TestUrlencodedTextUnderJSONLabelIsRefused(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		sent := s.Send(pushovertest.Outgoing{Message: "x"})
		body := values{"secret": d.Secret, "message": sent.IDs[0]}.encode()
		a := c.do(http.MethodPost, "/1/devices/"+d.ID+"/update_highest_message.json", "application/json", body)
		if a.status != 400 || a.body["status"] != 0.0 || len(s.Queue("n")) != 1 {
			t.Errorf("got %d %s and %d left, want a refusal that deletes nothing", a.status, a.raw, len(s.Queue("n")))
		}
	})
}

func TestDeviceAliasesAreAcceptedUnlessStrict(t *testing.T) {
	for _, strict := range []bool{false, true} {
		bubble(t, pushovertest.Options{StrictDeviceID: strict}, func(t *testing.T, s *pushovertest.Server, c *caller) {
			d := s.AddDevice("n")
			for _, name := range []string{"device", "deviceId"} {
				if a := c.get("/1/messages.json", values{"secret": d.Secret, name: d.ID}); a.ok() == strict {
					t.Errorf("strict %t: %s answered %s", strict, name, a.raw)
				}
			}
		})
	}
}

func TestPathWithoutSuffixIsAccepted(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		if a := c.get("/1/messages", values{"secret": d.Secret, "device_id": d.ID}); !a.ok() {
			t.Errorf("got %d %s", a.status, a.raw)
		}
	})
}

func TestTooLargeBodyIsRefused(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		a := c.do(http.MethodPost, "/1/users/login.json", "", "email="+strings.Repeat("x", 1<<20))
		if a.err == nil && a.status != http.StatusRequestEntityTooLarge {
			t.Errorf("got %d, want 413", a.status)
		}
		if !c.login(s.Account()).ok() {
			t.Error("the next login failed")
		}
	})
}

func TestUnknownPathsAreHTML(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, _ *pushovertest.Server, c *caller) {
		for _, r := range [][2]string{
			{"GET", "/"},
			{"GET", "/1/nothing.json"},
			{"POST", "/1/devices/x/rename.json"},
			{"GET", "/1/users/login.json"},
			{"DELETE", "/1/messages.json"},
			{"GET", "/icons/unknown.png"},
			{"GET", "/sounds/unknown.mp3"},
		} {
			a := c.do(r[0], r[1], "", "")
			if a.status != 404 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || a.body != nil {
				t.Errorf("%v: got %d %s, want 404 HTML", r, a.status, a.header.Get("Content-Type"))
			}
		}
	})
}

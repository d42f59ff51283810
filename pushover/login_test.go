package pushover_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func TestLoginAndRegistrationMakeADeviceThatReceives(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		ctx, a := w.Context(), w.sim.Account()
		account, err := w.client.Login(ctx, a.Email, pushover.Secret(a.Password), "")
		if err != nil || account.UserKey != a.UserKey || account.Secret == "" {
			w.Fatalf("Login: got %v, %v, want the user key and a secret", account, err)
		}
		cr := pushover.Credentials{Secret: account.Secret, DeviceName: "nas-2"}
		if cr.DeviceID, err = w.client.WithCredentials(cr).RegisterDevice(ctx, "nas-2"); err != nil {
			w.Fatal(err)
		}
		b, err := w.client.WithCredentials(cr).Download(ctx)
		if err != nil || len(b.Messages) != 1 || b.Messages[0].AppID != 1 || b.Device.Name != "nas-2" {
			w.Errorf("first download of a new device: got %v, %v, want the welcome message", b, err)
		}
	})
}

func TestTwoFactorLogin(t *testing.T) {
	simulate(t, pushovertest.Options{TwoFactor: true}, func(w *world) {
		ctx, a := w.Context(), w.sim.Account()
		password := pushover.Secret(a.Password)
		_, err := w.client.Login(ctx, a.Email, password, "")
		if !errors.Is(err, pushover.ErrTwoFactorNeeded) || pushover.Retryable(err) {
			w.Errorf("without code: got %v, want ErrTwoFactorNeeded, not retryable", err)
		}
		wrong := "000000"
		if a.Code() == wrong {
			wrong = "000001"
		}
		_, err = w.client.Login(ctx, a.Email, password, wrong)
		if !errors.Is(err, pushover.ErrTwoFactorWrong) || errors.Is(err, pushover.ErrTwoFactorNeeded) {
			w.Errorf("wrong code: got %v, want ErrTwoFactorWrong", err)
		}
		if account, err := w.client.Login(ctx, a.Email, password, a.Code()); err != nil || account.Secret == "" {
			w.Errorf("right code: got %v, want a secret", err)
		}
	})
}

func TestWrongPasswordIsRefusedAndNeverSentTwice(t *testing.T) {
	for _, codes := range [][]string{{"", "", "123456"}, {"123456", "654321", "", "123456"}} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			a := w.sim.Account()
			for _, code := range codes {
				_, err := w.client.Login(w.Context(), a.Email, "WRONG password", code)
				if !errors.Is(err, pushover.ErrLoginRefused) || pushover.Retryable(err) {
					w.Errorf("codes %q: got %v, want ErrLoginRefused", codes, err)
				}
			}
			if got := w.sim.Requests("POST login"); got != 1 {
				w.Errorf("codes %q: got %d login requests, want 1", codes, got)
			}
			if _, err := w.client.Login(w.Context(), a.Email, pushover.Secret(a.Password), ""); err != nil {
				w.Errorf("the right password after a wrong one: got %v", err)
			}
		})
	}
}

func TestLoginNeedsEMailAndPassword(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		for _, in := range [][2]string{{"", "x"}, {"me@example.org", ""}} {
			if _, err := w.client.Login(w.Context(), in[0], pushover.Secret(in[1]), ""); err == nil {
				w.Errorf("Login(%q, %q): got no error", in[0], in[1])
			}
		}
		if got := w.sim.Requests("POST login"); got != 0 {
			w.Errorf("got %d login requests, want none", got)
		}
	})
}

func TestTakenDeviceNameInBothShapes(t *testing.T) {
	for _, shape := range []pushovertest.ErrorShape{pushovertest.ErrorsAsList, pushovertest.ErrorsAsObject} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			w.sim.SetErrorShape(shape)
			_, err := w.client.RegisterDevice(w.Context(), "nas-1")
			if !errors.Is(err, pushover.ErrDeviceNameTaken) || pushover.Retryable(err) {
				w.Errorf("%s: got %v, want ErrDeviceNameTaken", shape, err)
			}
			var e *pushover.APIError
			if !errors.As(err, &e) || e.RequestID == "" || !strings.Contains(err.Error(), "name has already been taken") {
				w.Errorf("%s: got %v, want the service's text and request id", shape, err)
			}
		})
	}
}

func TestMalformedDeviceNameIsNotSent(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		for _, name := range []string{"", "nas 1", "näs", "a/b", strings.Repeat("x", 26), "a\n"} {
			_, err := w.client.RegisterDevice(w.Context(), name)
			if !errors.Is(err, pushover.ErrDeviceNameInvalid) || !strings.Contains(err.Error(), "1 to 25 letters") {
				w.Errorf("RegisterDevice(%q): got %v, want ErrDeviceNameInvalid with the rule", name, err)
			}
		}
		if got := w.sim.Requests("POST devices"); got != 0 {
			w.Errorf("got %d requests, want none", got)
		}
		if _, err := w.client.RegisterDevice(w.Context(), strings.Repeat("x", 25)); err != nil {
			w.Errorf("25 characters: got %v", err)
		}
	})
}

func TestRegistrationWithADeadSecretIsASessionProblem(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.RevokeSecret(w.device.Secret)
		if _, err := w.client.RegisterDevice(w.Context(), "nas-2"); !errors.Is(err, pushover.ErrSessionRejected) {
			w.Errorf("got %v, want ErrSessionRejected", err)
		}
		_, err := w.client.WithCredentials(pushover.Credentials{}).RegisterDevice(w.Context(), "nas-2")
		if err == nil || !strings.Contains(err.Error(), "log in first") {
			w.Errorf("without secret: got %v, want the remedy", err)
		}
	})
}

func TestTooManyDevicesSaysSo(t *testing.T) {
	simulate(t, pushovertest.Options{MaxDevices: 1}, func(w *world) {
		_, err := w.client.RegisterDevice(w.Context(), "nas-2")
		var e *pushover.APIError
		if !errors.As(err, &e) || errors.Is(err, pushover.ErrDeviceNameTaken) || errors.Is(err, pushover.ErrSessionRejected) || len(e.Errors) == 0 {
			w.Errorf("got %v, want an APIError with the service's text and no other meaning", err)
		}
	})
}

// A login whose outcome is unknown may be tried again by the caller, who is made
// to wait.
func TestLoginThroughAnOutageIsHeldBack(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "POST login", Status: 503, Count: 1})
		a := w.sim.Account()
		_, err := w.client.Login(w.Context(), a.Email, pushover.Secret(a.Password), "")
		if !errors.Is(err, pushover.ErrUnavailable) || !pushover.Retryable(err) {
			w.Fatalf("got %v, want ErrUnavailable", err)
		}
		short, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		if _, err := w.client.Login(short, a.Email, pushover.Secret(a.Password), ""); !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("at once: got %v, want to be held back", err)
		}
		if _, err := w.client.Login(w.Context(), a.Email, pushover.Secret(a.Password), ""); err != nil {
			w.Errorf("after the wait: got %v", err)
		}
	})
}

func TestPastedBlanksAreRemovedFromAddressAndCode(t *testing.T) {
	serve(t, pushover.Options{}, func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		want := url.Values{"email": {"me@example.org"}, "password": {" pass word "}, "twofa": {"123456"}}
		if d := cmp.Diff(r.PostForm, want); d != "" {
			t.Errorf("login form (-got +want):\n%s", d)
		}
		_, _ = w.Write([]byte(`{"status":1,"id":"u","secret":"s"}`))
	}, func(t *testing.T, c *pushover.Client) {
		if _, err := c.Login(t.Context(), " me@example.org\n", " pass word ", "\t123 456 "); err != nil {
			t.Error(err)
		}
	})
}

// Nobody has looked at the password then, so that a program may try again by
// itself.
func TestLoginThatDidNotReachTheServiceMayBeRepeated(t *testing.T) {
	login := func(c *pushover.Client) error {
		_, err := c.Login(t.Context(), "me@example.org", "password", "")
		return err
	}
	check := func(name string, err error) {
		if err == nil || !pushover.Retryable(err) || pushover.RetryAfter(err) < 5*time.Second || errors.Is(err, pushover.ErrLoginRefused) {
			t.Errorf("%s: got %v, want a retryable error", name, err)
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"proxy wants a login": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Proxy-Authenticate", "Basic")
			http.Error(w, "<html>log in", http.StatusProxyAuthRequired)
		},
		"captive portal":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>welcome to the wifi")) },
		"portal's 403":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusForbidden) },
		"portal's detour": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://portal/", http.StatusFound) },
	} {
		server := httptest.NewServer(h)
		check(name, login(mustNew(t, pushover.Options{APIURL: server.URL})))
		server.Close()
		check("gone: "+name, login(mustNew(t, pushover.Options{APIURL: server.URL})))
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = discardLogger
	server.StartTLS()
	defer server.Close()
	check("unknown certificate", login(mustNew(t, pushover.Options{APIURL: server.URL})))
	check("no such host", login(mustNew(t, pushover.Options{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "api.pushover.net", IsNotFound: true}
	}})))
}

package pushovertest_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func wantForm(t *testing.T, what, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
		t.Errorf("%s: got %q, want %s", what, got, pattern)
	}
}

func TestLoginMakesANewSecretOfTheDocumentedForm(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		one, two := c.login(s.Account()), c.login(s.Account())
		if !one.ok() || !two.ok() {
			t.Fatalf("got %s and %s", one.raw, two.raw)
		}
		wantForm(t, "secret", one.text("secret"), "[A-Za-z0-9]{60}")
		wantForm(t, "user key", one.text("id"), "[A-Za-z0-9]{30}")
		wantForm(t, "request", one.text("request"), "[0-9a-f-]{36}")
		if one.text("secret") == two.text("secret") {
			t.Error("both logins made the same secret")
		}
		for _, secret := range []string{one.text("secret"), two.text("secret")} {
			if a := c.post("/1/devices.json", values{"secret": secret, "name": "d" + secret[:5], "os": "O"}); !a.ok() {
				t.Errorf("a later login invalidated an earlier secret: %s", a.raw)
			}
		}
	})
}

func TestLoginIsCaseSensitiveAndSaysWhatIsWrong(t *testing.T) {
	bubble(t, pushovertest.Options{Email: "Me@example.org", Password: "Secret"}, func(t *testing.T, _ *pushovertest.Server, c *caller) {
		for _, v := range []values{
			{"email": "me@example.org", "password": "Secret"},
			{"email": "Me@example.org", "password": "secret"},
			{"email": "Me@example.org"},
			{},
		} {
			a := c.post("/1/users/login.json", v)
			if a.status != 400 || a.body["status"] != 0.0 || a.body["errors"] == nil {
				t.Errorf("%v: got %d %s", v, a.status, a.raw)
			}
		}
	})
}

func TestSecondFactor(t *testing.T) {
	bubble(t, pushovertest.Options{TwoFactor: true}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		a := s.Account()
		in := func(code string) answer {
			return c.post("/1/users/login.json", values{"email": a.Email, "password": a.Password, "twofa": code})
		}
		if got := c.login(a); got.status != 412 || got.body["status"] != 0.0 {
			t.Fatalf("no code: got %d %s, want 412", got.status, got.raw)
		}
		wrong := "000000"
		if a.Code() == wrong {
			wrong = "000001"
		}
		if got := in(wrong); got.status != 412 {
			t.Errorf("wrong code: got %d %s, want 412", got.status, got.raw)
		}
		code := a.Code()
		if got := in(code); !got.ok() {
			t.Fatalf("right code: got %d %s", got.status, got.raw)
		}
		if got := in(code); got.ok() {
			t.Error("the same code was accepted twice")
		}
		pass(30 * time.Second)
		if got := in(a.Code()); !got.ok() {
			t.Errorf("next code: got %d %s", got.status, got.raw)
		}
		pass(30 * time.Second)
		late := a.Code()
		pass(30 * time.Second)
		if got := in(late); !got.ok() {
			t.Errorf("code of the step before: got %d %s", got.status, got.raw)
		}
		old := a.Code()
		pass(90 * time.Second)
		if got := in(old); got.ok() {
			t.Error("a code three steps old was accepted")
		}
	})
}

func TestWrongPasswordIsToldBeforeTheCodeIsAsked(t *testing.T) {
	bubble(t, pushovertest.Options{TwoFactor: true}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		a := s.Account()
		a.Password = "wrong"
		if got := c.login(a); got.status != 400 {
			t.Errorf("got %d, want 400", got.status)
		}
	})
}

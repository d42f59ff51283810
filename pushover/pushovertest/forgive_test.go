package pushovertest_test

import (
	"testing"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// What a client was refused for may be mended by the account's owner. The
// client that tries once more afterwards has done nothing wrong.
func TestReplacedAccountForgivesWhatWasRefusedBefore(t *testing.T) {
	const password = "the new one"
	rows := map[string]struct {
		before  pushovertest.Options
		refusal int
	}{
		"the password":      {pushovertest.Options{Password: "the old one"}, 400},
		"the second factor": {pushovertest.Options{Password: password, TwoFactor: true}, 412},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			bubble(t, row.before, func(t *testing.T, s *pushovertest.Server, c *caller) {
				a := s.Account()
				a.Password = password
				if got := c.login(a); got.status != row.refusal {
					t.Fatalf("before: got %d %s, want %d", got.status, got.raw, row.refusal)
				}
				s.AddAccount(a.Email, password, false)
				if got := c.login(a); !got.ok() {
					t.Errorf("after: got %s", got.raw)
				}
				wantViolations(t, s)
			})
		})
	}
}

func TestNewAccountForgivesWhoTriedTooSoon(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		a := pushovertest.Account{Email: "late@example.org", Password: "p"}
		if got := c.login(a); got.status != 400 {
			t.Fatalf("before: got %d %s, want 400", got.status, got.raw)
		}
		s.AddAccount(a.Email, a.Password, false)
		if got := c.login(a); !got.ok() {
			t.Errorf("after: got %s", got.raw)
		}
		wantViolations(t, s)
	})
}

// Replacing the account forgives what was, not what comes.
func TestReplacedPasswordStillBinds(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		old := s.Account()
		s.AddAccount(old.Email, "the new one", false)
		c.login(old)
		wantViolations(t, s)
		c.login(old)
		wantViolations(t, s, pushovertest.RulePassword)
	})
}

// A test that clears the list between two cases must see in the second what
// it saw in the first, of the rules too that accuse only once.
func TestClearedViolationsAreAccusedAgain(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		c.agent = "Go-http-client/1.1"
		for range 2 {
			c.download(d)
			c.download(d)
			wantViolations(t, s, pushovertest.RuleUserAgent)
			s.ClearViolations()
			wantViolations(t, s)
		}
	})
}

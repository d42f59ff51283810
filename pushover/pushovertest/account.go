package pushovertest

import (
	"crypto/subtle"
	"encoding/base32"
	"net/http"
	"strings"
	"time"

	crand "crypto/rand"

	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"
)

// An Account is what its owner knows about it.
type Account struct {
	Email, Password string
	// TOTPSecret is the base32 secret of the authenticator. Empty means the
	// account has no second factor.
	TOTPSecret string
	// UserKey is where senders send to, AppToken what they send with.
	UserKey, AppToken string
}

// Code is the authenticator's current code, "" without second factor. The
// service accepts a code once: a second login needs the code of a later
// thirty seconds.
func (a Account) Code() string {
	if a.TOTPSecret == "" {
		return ""
	}
	code, err := totp.GenerateCode(a.TOTPSecret, time.Now())
	if err != nil {
		return "" // a secret that is not base32 has no code
	}
	return code
}

type account struct {
	Account
	created  time.Time
	licensed bool
	// trial starts with the first registration; zero before.
	trial    time.Time
	lastStep int64 // TOTP step of the last accepted code
	devices  []*device
	sent     int // through the sending side
}

// A session is what one login made. A secret is good for all devices of its
// account; which device uses it is learnt from use.
type session struct {
	secret  string
	account *account
	device  *device
}

// Account returns the first account.
func (s *Server) Account() Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accounts[0].Account
}

// AddAccount makes a further account with a user key and an application of
// its own. An e-mail address that exists already gets its password and second
// factor replaced. Whoever was refused before may try the same again.
func (s *Server) AddAccount(email, password string, twofa bool) Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.bump()
	s.manners.forgiveLogins()
	if a := s.accountByEmail(email); a != nil {
		a.Password, a.TOTPSecret, a.lastStep = password, "", 0
		if twofa {
			a.TOTPSecret = newTOTPSecret()
		}
		return a.Account
	}
	return s.addAccount(email, password, "u"+randomText(29), "a"+randomText(29), twofa, true).Account
}

// AddGroup makes a delivery group of accounts and returns its key, which
// senders use in place of a user key. One receipt covers an emergency to the
// whole group: the first acknowledgement silences it for all.
func (s *Server) AddGroup(members ...Account) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := "g" + randomText(29)
	for _, m := range members {
		if a := s.accountByEmail(m.Email); a != nil {
			s.groups[key] = append(s.groups[key], a)
		}
	}
	return key
}

// SetLicensed gives the first account a desktop licence or takes it away.
// Without one its devices work until the trial is over.
func (s *Server) SetLicensed(licensed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[0]
	a.licensed = licensed
	s.manners.forgive()
	for _, d := range a.devices {
		s.enforce(d)
	}
	s.bump()
}

// RevokeSecret ends the session of that secret. Streams that use it get 'E'.
func (s *Server) RevokeSecret(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, secret)
	for st := range s.streams {
		if st.device != nil && st.secret == secret {
			st.end('E')
		}
	}
	s.bump()
}

func (s *Server) addAccount(email, password, userKey, token string, twofa, licensed bool) *account {
	a := &account{
		Account:  Account{Email: email, Password: password, UserKey: userKey, AppToken: token},
		created:  time.Now(),
		licensed: licensed,
	}
	if twofa {
		a.TOTPSecret = newTOTPSecret()
	}
	s.accounts = append(s.accounts, a)
	name := "Simulator"
	if len(s.accounts) > 1 {
		name, _, _ = strings.Cut(email, "@")
	}
	s.addApplication(name, token, a)
	return a
}

func newTOTPSecret() string {
	var key [20]byte
	_, _ = crand.Read(key[:]) // never fails, see crypto/rand
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(key[:])
}

func (s *Server) accountByEmail(email string) *account {
	for _, a := range s.accounts {
		if a.Email == email {
			return a
		}
	}
	return nil
}

// active says whether the account may use its devices now.
func (a *account) active(now time.Time, trial time.Duration) bool {
	return a.licensed || a.trial.IsZero() && trial > 0 || now.Sub(a.trial) < trial
}

// newSession logs the account in.
func (s *Server) newSession(a *account) *session {
	se := &session{secret: randomText(60), account: a}
	s.sessions[se.secret] = se
	return se
}

// login is POST users/login.json.
func (s *Server) login(c *call) reply {
	email, password, code := c.params.Get("email"), c.params.Get("password"), c.params.Get("twofa")
	a := s.accountByEmail(email)
	if a == nil || subtle.ConstantTimeCompare([]byte(a.Password), []byte(password)) != 1 {
		rep := s.refuse(http.StatusBadRequest, "", "invalid email and/or password")
		rep.badPassword = true
		return rep
	}
	if a.TOTPSecret != "" {
		if code == "" {
			return s.refuse(http.StatusPreconditionFailed, "", "two-factor authentication code required")
		}
		if !a.accepts(strings.TrimSpace(code), time.Now()) {
			return s.refuse(http.StatusPreconditionFailed, "twofa", "is incorrect or was used before")
		}
	}
	se := s.newSession(a)
	return s.success(map[string]any{"id": a.UserKey, "secret": se.secret})
}

// accepts checks a code with one step of clock skew either way. A step that
// was used, and every one before it, is spent (RFC 6238, 5.2).
func (a *account) accepts(code string, now time.Time) bool {
	step := now.Unix() / 30
	for n := step - 1; n <= step+1; n++ {
		if n <= a.lastStep || n < 0 {
			continue
		}
		want, err := hotp.GenerateCode(a.TOTPSecret, uint64(n)) //nolint:gosec // not negative
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			a.lastStep = n
			return true
		}
	}
	return false
}

package pushover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

// An Account is what logging in gives. Printing, logging and marshalling it shows
// neither part.
type Account struct {
	UserKey string // private: whoever has it can send to the user
	Secret  Secret // new at every login; for [Credentials]
}

// Format implements [fmt.Formatter].
func (a Account) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "{UserKey:%s Secret:%s}", redact(a.UserKey), a.Secret)
}

// LogValue implements [slog.LogValuer].
func (a Account) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(a)) }

// MarshalJSON writes both parts redacted.
func (a Account) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"user_key": redact(a.UserKey), "secret": redact(string(a.Secret))})
}

// Login logs the user in and returns a new session secret. Keep the secret and
// forget the password: the secret serves until the service rejects it, and works
// with a device that is registered already.
//
// code is the current two-factor code, empty at first. Blanks around the address
// and anywhere in the code are removed, since both are pasted; the password is sent
// as it is. The error is
// [ErrTwoFactorNeeded] if one is needed, [ErrTwoFactorWrong] if it was not
// accepted, [ErrLoginRefused] if e-mail or password is wrong; the same Client does
// not send such a password again for an hour, whatever the code. Login never
// repeats anything by itself: no code is sent twice unless it is called twice with
// it. Every answer in the service's own form is final. An attempt that did not get
// one (no connection, a certificate that does not fit, a proxy or captive portal
// that answers instead) is [Retryable] and may be made again; [RetryAfter] and the
// Client itself keep such attempts apart.
// See https://pushover.net/api/client#login.
func (c *Client) Login(ctx context.Context, email string, password Secret, code string) (Account, error) {
	email = strings.TrimSpace(email)
	code = strings.Join(strings.Fields(code), "")
	if email == "" || password == "" {
		return Account{}, errors.New("login: e-mail and password must not be empty")
	}
	var a Account
	rq := &request{
		op: opLogin, method: http.MethodPost, path: []string{"1", "users", "login.json"},
		form:    []field{{"email", email}, {"password", password.Reveal()}},
		private: []string{email, password.Reveal(), code}, limit: maxDocument,
		read: func(body io.Reader, _ http.Header) error {
			members, err := readSuccess(body)
			if err != nil {
				return err
			}
			a = Account{UserKey: textOf(members["id"]), Secret: Secret(textOf(members["secret"]))}
			return present("secret", a.Secret.Reveal())
		},
	}
	// No code makes a password right that was refused without one, or with another.
	bare := c.rejected.fingerprint(rq)
	if code != "" {
		if e := c.rejected.lookup(bare); e != nil && errors.Is(e, ErrLoginRefused) {
			return Account{}, notSent(e)
		}
		rq.form = append(rq.form, field{"twofa", code})
	}
	err := c.call(ctx, rq)
	if e := (*APIError)(nil); errors.As(err, &e) && errors.Is(e, ErrLoginRefused) {
		c.rejected.add(bare, e)
	}
	if err != nil {
		return Account{}, err
	}
	return a, nil
}

// RegisterDevice makes a new device of the account the Client's secret belongs
// to, and returns its id. After [Client.Login], use a Client from
// [Client.WithCredentials] with the new secret. Store the id before anything else:
// a device whose id is lost stays on the account and keeps its name.
//
// The name has 1 to 25 letters, digits, _ or - and is unique in the account:
// [ErrDeviceNameInvalid] is found before anything is sent, [ErrDeviceNameTaken]
// is the service's answer. The queue of a new device holds one welcome message.
// See https://pushover.net/api/client#register.
func (c *Client) RegisterDevice(ctx context.Context, name string) (DeviceID, error) {
	if !validDeviceName(name) {
		return "", fmt.Errorf("register: %w", ErrDeviceNameInvalid)
	}
	secret := c.o.Credentials.Secret.Reveal()
	if secret == "" {
		return "", errors.New("register: no session secret; log in first, and use a Client with the secret from there (WithCredentials)")
	}
	var id string
	err := c.call(ctx, &request{
		op: opRegister, method: http.MethodPost, path: []string{"1", "devices.json"},
		form:  []field{{"secret", secret}, {"name", name}, {"os", "O"}},
		limit: maxDocument,
		read: func(body io.Reader, _ http.Header) error {
			members, err := readSuccess(body)
			if err != nil {
				return err
			}
			id = textOf(members["id"])
			return present("id", id)
		},
	})
	if err != nil {
		return "", err
	}
	return DeviceID(id), nil
}

// present fails for a success without its result: whatever answered, it was not
// the service as documented.
func present(member, value string) error {
	if value == "" {
		return fmt.Errorf("%w of the expected form: %s is missing", errNotJSON, member)
	}
	return nil
}

// validDeviceName follows https://pushover.net/api.
func validDeviceName(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '_' && s[i] != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 25
}

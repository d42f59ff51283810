package main

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

// refusal says why the service refused a login or a registration with the
// settings of the environment, and what to change, naming the variables in use.
// Both are empty for an error that is not a refusal the user can do something about.
func (a *accountSettings) refusal(err error) (why, fix string) {
	switch {
	case errors.Is(err, pushover.ErrTwoFactorNeeded):
		return "Pushover refused the login: two-factor code needed",
			"set PUSHOVER_TWOFA to the current code"
	case errors.Is(err, pushover.ErrTwoFactorWrong):
		return "Pushover refused the login: two-factor code not accepted",
			"set " + variableInUse("PUSHOVER_TWOFA") + " to the current code, which works once and for about half a minute"
	case errors.Is(err, pushover.ErrLoginRefused):
		return "Pushover refused the login: e-mail or password not accepted",
			"correct PUSHOVER_EMAIL or " + variableInUse("PUSHOVER_PASSWORD") + " (case matters)"
	case errors.Is(err, pushover.ErrDeviceNameTaken):
		return fmt.Sprintf("Pushover refused to register the device: device name %q is already taken", a.DeviceName),
			"choose another PUSHOVER_DEVICE_NAME, or remove that device in the Pushover dashboard"
	case errors.Is(err, pushover.ErrDeviceNameInvalid):
		return fmt.Sprintf("Pushover refused to register the device: device name %q is not accepted", a.DeviceName),
			"choose another PUSHOVER_DEVICE_NAME"
	default:
		return "", ""
	}
}

// variableInUse returns the name under which a secret was given: its own, or
// that of the variable that names a file.
func variableInUse(name string) string {
	if os.Getenv(name+"_FILE") != "" {
		return name + "_FILE"
	}
	return name
}

// refusedLogin is the content of the file that records a refused login: a
// fingerprint of it, slow enough to compute that it gives no password away, and
// what was said.
type refusedLogin struct {
	Salt        string    `json:"salt"`
	Fingerprint string    `json:"fingerprint"`
	At          time.Time `json:"at"`
	Reason      string    `json:"reason"`
	Remedy      string    `json:"remedy"`
}

func (a *accountSettings) refusedFile() string { return a.CredentialsFile + ".refused" }

// recordRefusal turns a refusal into a failure, and records it.
func (f *firstLogin) recordRefusal(err error) error {
	why, fix := f.account.refusal(err)
	if why == "" {
		why, fix = "Pushover refused the login: "+err.Error(), "correct the settings"
	}
	if f.lost && errors.Is(err, pushover.ErrDeviceNameTaken) {
		why += ", perhaps by this connector itself, since an earlier registration was not answered"
	}
	if errors.Is(err, pushover.ErrTwoFactorNeeded) || errors.Is(err, pushover.ErrTwoFactorWrong) {
		fix = "run 'pushover-connector login', which asks for the code, or " + fix
	}
	fix = fmt.Sprintf("%s, then restart. To try the same login again, delete %s, then %s", fix, f.account.refusedFile(), f.resume)
	if err := f.account.writeRefused(why, fix); err != nil {
		f.log.Error("refused login not recorded, a restart will repeat it", slog.Any("error", err))
	}
	return &connector.Failure{Reason: connector.ReasonRefusedLogin, Detail: why, Remedy: fix, Err: err}
}

// checkRefused returns an error if this very login has been refused before.
func (f *firstLogin) checkRefused() error {
	path := f.account.refusedFile()
	var old refusedLogin
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(content, &old)
	}
	if err != nil {
		return failure(connector.ReasonRefusedLogin,
			fmt.Sprintf("a login was refused before, but its record %s cannot be read: %v", path, err), "delete it, then "+f.resume)
	}
	fingerprint, err := f.account.fingerprint(old.Salt)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(fingerprint), []byte(old.Fingerprint)) == 1 {
		return failure(connector.ReasonRefusedLogin, fmt.Sprintf("Pushover rejected this login at %s and it will not be retried: %s",
			old.At.Format(time.RFC3339), old.Reason), old.Remedy)
	}
	return nil
}

func (a *accountSettings) fingerprint(salt string) (string, error) {
	const rounds = 600_000 // OWASP's advice for PBKDF2 with SHA-256
	login := fmt.Sprintf("%q %q %q %q", a.Email, a.Password.Reveal(), a.TwoFA.Reveal(), a.DeviceName)
	key, err := pbkdf2.Key(sha256.New, login, []byte(salt), rounds, sha256.Size)
	return hex.EncodeToString(key), err
}

func (a *accountSettings) writeRefused(why, fix string) error {
	r := refusedLogin{Salt: rand.Text(), At: time.Now().UTC(), Reason: why, Remedy: fix}
	var err error
	if r.Fingerprint, err = a.fingerprint(r.Salt); err != nil {
		return err
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(a.refusedFile()), 0o700); err != nil {
		return err
	}
	return os.WriteFile(a.refusedFile(), append(content, '\n'), 0o600)
}

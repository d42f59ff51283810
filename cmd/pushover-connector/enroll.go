package main

import (
	"context"
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

	"github.com/pushover-connector/pushover-connector/pushover"
)

// enroll logs in and registers a device, unless creds has one already: then
// only its secret is renewed, since a lost device stays on the account for ever.
// It swallows the message that welcomes a new device, and no other.
func enroll(ctx context.Context, client *pushover.Client, email string, password pushover.Secret, code string,
	creds pushover.Credentials,
) (pushover.Credentials, error) {
	account, err := client.Login(ctx, email, password, code)
	if err != nil {
		return pushover.Credentials{}, err
	}
	creds.Secret = account.Secret
	if creds.DeviceID != "" {
		return creds, nil
	}
	creds.DeviceID, err = client.WithCredentials(creds).RegisterDevice(ctx, creds.DeviceName)
	return creds, err
}

// pushoverAppID is the application that Pushover itself sends from.
const pushoverAppID = 1

// swallowWelcome deletes the message that greets a newly registered device, if
// it is all there is. Whatever else is waiting is left for the daemon.
func swallowWelcome(ctx context.Context, client *pushover.Client) error {
	batch, err := client.Download(ctx)
	if err != nil {
		return fmt.Errorf("look for the welcome message: %w", err)
	}
	if len(batch.Messages) == 0 || batch.Messages[0].AppID != pushoverAppID {
		return nil
	}
	if err := client.DeleteThrough(ctx, batch.Messages[0].ID); err != nil {
		return fmt.Errorf("delete the welcome message: %w", err)
	}
	return nil
}

// loginOnce logs in with the e-mail and password of the environment and writes
// the credentials file. A login that Pushover has refused is remembered beside
// that file, so that restarting the program does not repeat it: the service
// blocks addresses that do.
func (a *accountSettings) loginOnce(ctx context.Context, client *pushover.Client, log *slog.Logger) (pushover.Credentials, error) {
	if err := canSave(a.CredentialsFile); err != nil {
		return pushover.Credentials{}, err
	}
	marker := a.CredentialsFile + ".refused"
	print, err := a.loginPrint(marker)
	if err != nil {
		return pushover.Credentials{}, err
	}
	creds, err := enroll(ctx, client, a.Email, a.Password, a.TwoFA.Reveal(),
		pushover.Credentials{DeviceName: a.DeviceName})
	if err != nil {
		if !pushover.Retryable(err) && ctx.Err() == nil {
			err = errors.Join(err, writeMarker(marker, print, err))
		}
		return pushover.Credentials{}, err
	}
	if err := creds.Save(a.CredentialsFile); err != nil {
		return pushover.Credentials{}, fmt.Errorf("device %s is registered, but its credentials are lost: %w",
			creds.DeviceName, err)
	}
	if err := os.Remove(marker); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return creds, err
	}
	if err := swallowWelcome(ctx, client.WithCredentials(creds)); err != nil {
		log.Warn("the welcome message will be published as an event", slog.Any("error", err))
	}
	return creds, nil
}

// canSave finds out whether credentials can be written before they are asked
// for: a device whose id is lost keeps its name on the account for ever.
func canSave(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("PUSHOVER_CREDENTIALS_FILE: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("PUSHOVER_CREDENTIALS_FILE: %s cannot be written: %w", dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// refusedLogin is the marker file: a fingerprint of a login that was refused,
// slow enough to compute that it gives no password away, and why.
type refusedLogin struct {
	Salt        string    `json:"salt"`
	Fingerprint string    `json:"fingerprint"`
	At          time.Time `json:"at"`
	Reason      string    `json:"reason"`
}

// loginPrint returns the marker to write should the login be refused, or an
// error if this very login has been refused before.
func (a *accountSettings) loginPrint(path string) (refusedLogin, error) {
	var old refusedLogin
	content, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(content, &old); err != nil {
			return old, fmt.Errorf("%s: %w; delete the file to log in again", path, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return old, err
	}
	if old.Salt != "" {
		print, err := a.fingerprint(old.Salt)
		if err != nil {
			return old, err
		}
		if subtle.ConstantTimeCompare([]byte(print), []byte(old.Fingerprint)) == 1 {
			return old, fmt.Errorf("this login was refused at %s (%s) and is not repeated; "+
				"correct PUSHOVER_EMAIL, PUSHOVER_PASSWORD, PUSHOVER_TWOFA or PUSHOVER_DEVICE_NAME, or delete %s",
				old.At.Format(time.RFC3339), old.Reason, path)
		}
	}
	fresh := refusedLogin{Salt: rand.Text()}
	fresh.Fingerprint, err = a.fingerprint(fresh.Salt)
	return fresh, err
}

func (a *accountSettings) fingerprint(salt string) (string, error) {
	const rounds = 600_000 // OWASP's advice for PBKDF2 with SHA-256
	login := fmt.Sprintf("%q %q %q %q", a.Email, a.Password.Reveal(), a.TwoFA.Reveal(), a.DeviceName)
	key, err := pbkdf2.Key(sha256.New, login, []byte(salt), rounds, sha256.Size)
	return hex.EncodeToString(key), err
}

func writeMarker(path string, m refusedLogin, reason error) error {
	m.At, m.Reason = time.Now().UTC(), reason.Error()
	content, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o600)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

// A firstLogin logs in and registers a device with the e-mail and password of
// the environment, and writes the credentials file. It may take several
// attempts, one at a time; each goes on where the one before got stuck, so that
// nothing is done twice that has succeeded.
type firstLogin struct {
	account *accountSettings
	client  *pushover.Client
	log     *slog.Logger
	resume  string // what makes the connector try again, as a clause

	attempted bool
	creds     pushover.Credentials // as far as they are known
	lost      bool                 // a registration was not answered
}

// attempt returns the credentials, or why there are none: an error that is
// [pushover.Retryable] if Pushover has not refused anything, else a
// [*connector.Failure].
//
// A refused login is recorded beside the credentials file, so that restarting
// the program does not repeat it: the service blocks addresses that do. Within
// one process a person has asked for every further attempt.
func (f *firstLogin) attempt(ctx context.Context) (pushover.Credentials, error) {
	var none pushover.Credentials
	a, first := f.account, !f.attempted
	f.attempted = true
	if err := canSave(a.CredentialsFile); err != nil {
		return none, failure(connector.ReasonUnexpected, err.Error(), "make the directory writable, then "+f.resume)
	}
	if first {
		if err := f.checkRefused(); err != nil {
			return none, err
		}
	}
	if err := f.enroll(ctx); err != nil {
		if pushover.Retryable(err) || ctx.Err() != nil {
			return none, err
		}
		return none, f.recordRefusal(err)
	}
	if err := f.creds.Save(a.CredentialsFile); err != nil {
		return none, failure(connector.ReasonUnexpected,
			fmt.Sprintf("device %q is registered, but its credentials could not be stored: %v", f.creds.DeviceName, err),
			"make room for them, then "+f.resume+" (a restart loses the device)")
	}
	if err := os.Remove(a.refusedFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.log.Warn("record of a refused login not removed", slog.Any("error", err))
	}
	f.log.Info("logged in and registered", slog.String("device", f.creds.DeviceName),
		slog.String("credentials_file", a.CredentialsFile))
	if err := f.client.WithCredentials(f.creds).DeleteWelcome(ctx); err != nil {
		f.log.Warn("welcome message not deleted, it will be published as an event", slog.Any("error", err))
	}
	return f.creds, nil
}

func failure(reason connector.Reason, detail, remedy string) error {
	return &connector.Failure{Reason: reason, Detail: detail, Remedy: remedy}
}

// enroll does what is left to do.
func (f *firstLogin) enroll(ctx context.Context) error {
	client := f.client.WithCredentials(pushover.Credentials{}) // has forgotten earlier refusals
	if f.creds.Secret == "" {
		email, password, code := f.account.loginInput()
		account, err := client.Login(ctx, email, password, code)
		if err != nil {
			return err
		}
		f.creds = pushover.Credentials{Secret: account.Secret, DeviceName: f.account.DeviceName}
	}
	if f.creds.DeviceID != "" {
		return nil
	}
	id, err := client.WithCredentials(f.creds).RegisterDevice(ctx, f.creds.DeviceName)
	switch {
	case errors.Is(err, pushover.ErrSessionRejected):
		f.creds.Secret = "" // the next attempt needs another one
	case errors.Is(err, pushover.ErrUnavailable):
		f.lost = true
	}
	f.creds.DeviceID = id
	return err
}

// loginInput returns what to log in with. Copying an address or a code tends to
// bring blanks along, and many programs show codes as two groups of digits.
func (a *accountSettings) loginInput() (email string, password pushover.Secret, code string) {
	return strings.TrimSpace(a.Email), a.Password, withoutBlanks(a.TwoFA.Reveal())
}

func withoutBlanks(s string) string { return strings.Join(strings.Fields(s), "") }

// canSave finds out whether credentials can be written before they are asked
// for: a device whose id is lost keeps its name on the account for ever. It
// leaves nothing behind: a directory that is missing is made when they are saved.
func canSave(path string) error {
	dir := filepath.Dir(path)
	probe, err := os.CreateTemp(dir, ".probe-*")
	for errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		probe, err = os.CreateTemp(dir, ".probe-*")
	}
	if err != nil {
		return fmt.Errorf("%s: %s cannot be written: %w", credentialsLabel(), dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

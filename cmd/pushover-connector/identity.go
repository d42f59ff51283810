package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// identity is the device the daemon is, and how it learns of new credentials.
type identity struct {
	device      string
	credentials pushover.Credentials // may be empty: then they are waited for
	reload      func() (pushover.Credentials, error)
}

// identify finds the credentials: in the environment, in the file, or by
// logging in once. A failed login does not end the daemon: it goes on without
// credentials, says so, and picks them up when they appear. Anything else that
// is wrong is an error, for whoever started the program to see.
func (a *accountSettings) identify(ctx context.Context, client *pushover.Client, log *slog.Logger) (identity, error) {
	if a.Secret != "" {
		creds := pushover.Credentials{
			Secret: a.Secret, DeviceID: pushover.DeviceID(a.DeviceID.Reveal()), DeviceName: a.DeviceName,
		}
		if err := creds.Validate(); err != nil {
			return identity{}, fmt.Errorf("PUSHOVER_SECRET, PUSHOVER_DEVICE_ID: %w", err)
		}
		return identity{device: a.DeviceName, credentials: creds, reload: a.reloadFromFiles()}, nil
	}
	reload := func() (pushover.Credentials, error) {
		creds, err := pushover.LoadCredentials(a.CredentialsFile)
		if creds.DeviceName == "" {
			creds.DeviceName = a.DeviceName
		}
		return creds, err
	}
	creds, err := reload()
	switch {
	case err == nil:
		return identity{device: creds.DeviceName, credentials: creds, reload: reload}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return identity{}, fmt.Errorf("PUSHOVER_CREDENTIALS_FILE: %w", err)
	case a.Email == "":
		return identity{}, fmt.Errorf("PUSHOVER_CREDENTIALS_FILE: %w; run 'pushover-connector login', "+
			"or set PUSHOVER_EMAIL and PUSHOVER_PASSWORD to log in once", err)
	}
	creds, err = a.loginOnce(ctx, client, log)
	if err != nil {
		if ctx.Err() != nil {
			return identity{}, ctx.Err()
		}
		log.Error("login failed; waiting for credentials", slog.Any("error", err),
			slog.String("credentials_file", a.CredentialsFile))
		return identity{device: a.DeviceName, reload: reload}, nil
	}
	log.Info("logged in and registered", slog.String("device", creds.DeviceName),
		slog.String("credentials_file", a.CredentialsFile))
	return identity{device: creds.DeviceName, credentials: creds, reload: reload}, nil
}

// reloadFromFiles reads the secret, and the device id, from the files they came
// from once more. It is nil if the secret stands in the environment itself,
// which does not change.
func (a *accountSettings) reloadFromFiles() func() (pushover.Credentials, error) {
	if os.Getenv("PUSHOVER_SECRET_FILE") == "" {
		return nil
	}
	return func() (pushover.Credentials, error) {
		secret, err := secretFromFile("PUSHOVER_SECRET_FILE")
		if err != nil {
			return pushover.Credentials{}, err
		}
		id := a.DeviceID.Reveal()
		if os.Getenv("PUSHOVER_DEVICE_ID_FILE") != "" {
			if id, err = secretFromFile("PUSHOVER_DEVICE_ID_FILE"); err != nil {
				return pushover.Credentials{}, err
			}
		}
		return pushover.Credentials{
			Secret: pushover.Secret(secret), DeviceID: pushover.DeviceID(id), DeviceName: a.DeviceName,
		}, nil
	}
}

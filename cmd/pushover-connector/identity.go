package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

// identity is the device the daemon is, and how it learns of new credentials.
type identity struct {
	device      string
	credentials pushover.Credentials // may be empty: then login provides them
	reload      func() (pushover.Credentials, error)
	login       func(context.Context) (pushover.Credentials, error) // nil if there are credentials
	remedies    connector.Remedies
}

// identify finds the credentials in the environment or in the file, or prepares
// the login that makes the first ones. Anything that is wrong with them is an
// error, for whoever started the program to see. resume says how a session is
// started again, as a clause.
func (a *accountSettings) identify(client *pushover.Client, log *slog.Logger, resume string) (identity, error) {
	id := identity{device: a.DeviceName, remedies: a.remedies(resume)}
	if a.Secret != "" {
		id.credentials, id.reload = a.fromEnvironment(), a.reloadFromFiles()
		if err := id.credentials.Validate(); err != nil {
			return identity{}, fmt.Errorf("%s, %s: %w", variableInUse("PUSHOVER_SECRET"), variableInUse("PUSHOVER_DEVICE_ID"), err)
		}
		return id, nil
	}
	id.reload = func() (pushover.Credentials, error) {
		creds, err := pushover.LoadCredentials(a.CredentialsFile)
		if creds.DeviceName == "" {
			creds.DeviceName = a.DeviceName
		}
		return creds, err
	}
	creds, err := id.reload()
	switch {
	case err == nil:
		id.device, id.credentials = creds.DeviceName, creds
	case !errors.Is(err, fs.ErrNotExist):
		return identity{}, fmt.Errorf("%s: %w", credentialsLabel(), err)
	case a.Email == "":
		return identity{}, fmt.Errorf("%s: %s does not exist; run 'pushover-connector login', "+
			"or set PUSHOVER_EMAIL and PUSHOVER_PASSWORD to log in once", credentialsLabel(), a.CredentialsFile)
	default:
		id.login = (&firstLogin{account: a, client: client, log: log, resume: resume}).attempt
	}
	return id, nil
}

// credentialsLabel begins an error about the credentials file: with the variable
// that names it, if somebody set it.
func credentialsLabel() string {
	if os.Getenv("PUSHOVER_CREDENTIALS_FILE") != "" {
		return "PUSHOVER_CREDENTIALS_FILE"
	}
	return "credentials file"
}

// remedies say how the credentials are replaced where they came from.
func (a *accountSettings) remedies(resume string) connector.Remedies {
	const manifest = "run 'pushover-connector login -output kubernetes"
	secret, device := variableInUse("PUSHOVER_SECRET"), variableInUse("PUSHOVER_DEVICE_ID")
	r := connector.Remedies{Resume: resume}
	switch {
	case a.Secret == "" && !isMountedVolume(filepath.Dir(a.CredentialsFile)):
		r.Secret = "run 'pushover-connector login'"
		r.Device = "run 'pushover-connector login -new-device'"
	case a.Secret == "":
		r.Secret = "with PUSHOVER_CREDENTIALS_FILE naming a copy of the old credentials, " + manifest + " -name SECRET | kubectl apply -f -'"
		r.Device = manifest + " -name SECRET | kubectl apply -f -' to register a new device"
	case a.reloadFromFiles() != nil && device == "PUSHOVER_DEVICE_ID_FILE":
		files := os.Getenv(secret) + " and " + os.Getenv(device)
		r.Secret = "with the same variables set, " + manifest + "' and replace the files " + files + " by what it prints"
		r.Device = manifest + " -new-device' and replace the files " + files + " by what it prints"
	default:
		r.Secret = "with the same variables set, " + manifest + "', then set " + secret + " to the new value and restart"
		r.Device = manifest + " -new-device', then set " + secret + " and " + device + " to the new values and restart"
	}
	return r
}

// isMountedVolume reports whether Kubernetes keeps the directory's files: it
// replaces all of them at once by means of this link.
func isMountedVolume(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, "..data"))
	return err == nil
}

func (a *accountSettings) fromEnvironment() pushover.Credentials {
	return pushover.Credentials{
		Secret: a.Secret, DeviceID: pushover.DeviceID(a.DeviceID.Reveal()), DeviceName: a.DeviceName,
	}
}

// reloadFromFiles reads the secret, and the device id, from the files they came
// from once more. It is nil if the secret stands in the environment itself,
// which does not change.
func (a *accountSettings) reloadFromFiles() func() (pushover.Credentials, error) {
	if os.Getenv("PUSHOVER_SECRET_FILE") == "" {
		return nil
	}
	read := func() (pushover.Credentials, error) {
		creds := a.fromEnvironment()
		secret, err := secretFromFile("PUSHOVER_SECRET_FILE")
		creds.Secret = pushover.Secret(secret)
		if err == nil && os.Getenv("PUSHOVER_DEVICE_ID_FILE") != "" {
			var id string
			id, err = secretFromFile("PUSHOVER_DEVICE_ID_FILE")
			creds.DeviceID = pushover.DeviceID(id)
		}
		return creds, err
	}
	return func() (pushover.Credentials, error) {
		creds, err := read()
		for err == nil { // the files may be replaced between two reads
			before := creds
			if creds, err = read(); creds == before {
				break
			}
		}
		return creds, err
	}
}

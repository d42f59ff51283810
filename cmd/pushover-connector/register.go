package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// register makes a new device. If the name is taken, only another name is asked
// for, and not another login.
func (l *login) register(ctx context.Context, secret pushover.Secret) (pushover.Credentials, error) {
	creds := pushover.Credentials{Secret: secret, DeviceName: l.account.DeviceName}
	if l.output == "file" {
		if err := l.keepOld(); err != nil {
			return creds, err
		}
	}
	client := l.client.WithCredentials(creds) // remembers which names were refused
	question := fmt.Sprintf("Name for this device [%s]", creds.DeviceName)
	ask := l.terminal && os.Getenv("PUSHOVER_DEVICE_NAME") == ""
	for {
		if ask {
			name, err := l.askDeviceName(ctx, question, creds.DeviceName)
			if err != nil {
				return creds, err
			}
			creds.DeviceName = name
		}
		before := l.soFar
		l.soFar = fmt.Sprintf("device %q may have been registered, no credentials were stored; %s", creds.DeviceName, lostAdvice)
		id, err := client.RegisterDevice(ctx, creds.DeviceName)
		taken := errors.Is(err, pushover.ErrDeviceNameTaken)
		switch {
		case err == nil:
			creds.DeviceID = id
			return creds, nil
		case ctx.Err() != nil:
			return creds, err
		case l.terminal && (taken || errors.Is(err, pushover.ErrDeviceNameInvalid)):
			if taken {
				l.say("The account already has a device named %q.", creds.DeviceName)
			} else {
				l.say("Pushover does not accept the name %q.", creds.DeviceName)
			}
			l.soFar, ask, question = before, true, "Another name for this device"
		case pushover.Retryable(err):
			return creds, fmt.Errorf("%w; %s", err, l.soFar)
		default:
			l.account.DeviceName = creds.DeviceName
			return creds, l.explain(err, false)
		}
	}
}

// lostAdvice is for a registration whose answer did not arrive.
const lostAdvice = "if the name is taken next time, remove that device in the Pushover dashboard or choose another name"

// askDeviceName asks until the answer can be a device's name. An empty answer
// means the default, which the question shows.
func (l *login) askDeviceName(ctx context.Context, question, byDefault string) (string, error) {
	for {
		name, err := l.ask(ctx, question)
		switch {
		case err != nil:
			return "", err
		case name == "":
			name = byDefault
		}
		if deviceName.MatchString(name) {
			return name, nil
		}
		l.say("A device name is 1 to 25 letters, digits, _ or -.")
	}
}

// keepOld copies a credentials file that is about to be replaced by another
// device's.
func (l *login) keepOld() error {
	content, err := os.ReadFile(l.account.CredentialsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		l.kept = l.account.CredentialsFile + ".old"
		err = os.WriteFile(l.kept, content, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep the old credentials: %w; no device was registered", err)
	}
	return nil
}

func (l *login) store(creds pushover.Credentials, renewed bool) error {
	if l.output == "kubernetes" {
		manifest, err := secretManifest(creds, l.name, l.namespace)
		if err != nil {
			return err
		}
		if _, err := l.streams.out.Write(manifest); err != nil {
			return fmt.Errorf("the device is registered, but the manifest could not be written: %w", err)
		}
		l.say("Logged in as device %q. Apply the Secret with 'kubectl apply -f -', then install the chart with\n"+
			"  --set pushover.existingSecret=%s", creds.DeviceName, l.name)
		return nil
	}
	if err := creds.Save(l.account.CredentialsFile); err != nil {
		return fmt.Errorf("device %q is registered, but its credentials could not be stored: %w", creds.DeviceName, err)
	}
	l.say("Logged in as device %q.\nCredentials stored in %s (only you can read it).", creds.DeviceName, l.account.CredentialsFile)
	if l.kept != "" {
		l.say("The old credentials are kept in %s.", l.kept)
	}
	if renewed {
		l.say("\nA running connector picks the new credentials up by itself.")
	} else {
		l.say("\nNext: 'pushover-connector check' tries everything, 'pushover-connector' runs it.")
	}
	return nil
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pushover-connector/pushover-connector/pushover"
)

func TestRemediesNameWhereCredentialsCameFrom(t *testing.T) {
	mounted := t.TempDir()
	if err := os.Symlink("..2026", filepath.Join(mounted, "..data")); err != nil {
		t.Skip(err)
	}
	for _, test := range []struct {
		name           string
		account        accountSettings
		files          map[string]string
		secret, device []string
	}{
		{
			name:    "file",
			account: accountSettings{CredentialsFile: filepath.Join(t.TempDir(), "credentials.json")},
			secret:  []string{"run 'pushover-connector login'"},
			device:  []string{"run 'pushover-connector login -new-device'"},
		},
		{
			name:    "mounted Secret",
			account: accountSettings{CredentialsFile: filepath.Join(mounted, "credentials.json")},
			secret:  []string{"login -output kubernetes", "| kubectl apply -f -'", "copy of the old credentials"},
			device:  []string{"login -output kubernetes", "| kubectl apply -f -'", "new device"},
		},
		{
			name:    "secret files",
			account: accountSettings{Secret: "s", DeviceID: "d"},
			files:   map[string]string{"PUSHOVER_SECRET_FILE": "/run/secret", "PUSHOVER_DEVICE_ID_FILE": "/run/device"},
			secret:  []string{"login -output kubernetes'", "replace the files /run/secret and /run/device"},
			device:  []string{"login -output kubernetes -new-device'", "replace the files /run/secret and /run/device"},
		},
		{
			name:    "variables",
			account: accountSettings{Secret: "s", DeviceID: "d"},
			secret:  []string{"login -output kubernetes'", "set PUSHOVER_SECRET to", "restart"},
			device:  []string{"login -output kubernetes -new-device'", "set PUSHOVER_SECRET and PUSHOVER_DEVICE_ID to", "restart"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			for name, value := range test.files {
				t.Setenv(name, value)
			}
			r := test.account.remedies("restart")
			for _, want := range test.secret {
				if !strings.Contains(r.Secret, want) {
					t.Errorf("remedy for the secret is %q, want it to contain %q", r.Secret, want)
				}
			}
			for _, want := range test.device {
				if !strings.Contains(r.Device, want) {
					t.Errorf("remedy for the device is %q, want it to contain %q", r.Device, want)
				}
			}
			if r.Resume != "restart" {
				t.Errorf("got %q, want restart", r.Resume)
			}
		})
	}
}

// The files are replaced together. Whoever reads in between must not see a pair
// that never was.
func TestSecretAndDeviceAreReadAsAPair(t *testing.T) {
	mount := t.TempDir()
	publish := func(n int) {
		t.Helper()
		dir := fmt.Sprintf("..%d", n)
		write := func(name, value string) {
			if err := os.WriteFile(filepath.Join(mount, dir, name), []byte(value), 0o600); err != nil {
				t.Error(err)
			}
		}
		if err := os.Mkdir(filepath.Join(mount, dir), 0o700); err != nil {
			t.Error(err)
		}
		write("secret", fmt.Sprintf("secret-%d", n))
		write("device", fmt.Sprintf("device-%d", n))
		if err := errors.Join(os.Symlink(dir, filepath.Join(mount, "..tmp")),
			os.Rename(filepath.Join(mount, "..tmp"), filepath.Join(mount, "..data"))); err != nil {
			t.Error(err)
		}
	}
	publish(0)
	t.Setenv("PUSHOVER_SECRET_FILE", filepath.Join(mount, "..data", "secret"))
	t.Setenv("PUSHOVER_DEVICE_ID_FILE", filepath.Join(mount, "..data", "device"))
	reload := (&accountSettings{Secret: "secret-0", DeviceID: "device-0"}).reloadFromFiles()

	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; n < 2000 && t.Context().Err() == nil; n++ {
			publish(n)
		}
	}()
	t.Cleanup(func() { <-done })
	for {
		got, err := reload()
		if err != nil {
			t.Fatal(err)
		}
		secret, device := got.Secret.Reveal(), got.DeviceID.Reveal()
		if strings.TrimPrefix(secret, "secret-") != strings.TrimPrefix(device, "device-") {
			t.Fatalf("got the secret %s with the device %s", secret, device)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestSecretInAFileIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	secret, device := filepath.Join(dir, "secret"), filepath.Join(dir, "device")
	write := func(path, value string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(secret, "old-secret")
	write(device, "old-device")
	a := accountSettings{Secret: "old-secret", DeviceID: "old-device", DeviceName: "nas"}
	if a.reloadFromFiles() != nil {
		t.Error("an environment that names no file is read again, though it cannot change")
	}
	t.Setenv("PUSHOVER_SECRET_FILE", secret)
	t.Setenv("PUSHOVER_DEVICE_ID_FILE", device)
	reload := a.reloadFromFiles()
	write(secret, "new-secret")
	write(device, "new-device")
	got, err := reload()
	want := pushover.Credentials{Secret: "new-secret", DeviceID: "new-device", DeviceName: "nas"}
	if err != nil || got != want {
		t.Errorf("got the new credentials: %t, %v", got == want, err)
	}
	write(secret, "")
	if _, err := reload(); err == nil {
		t.Error("an empty file gave no error")
	}
}

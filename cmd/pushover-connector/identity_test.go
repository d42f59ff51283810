package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pushover-connector/pushover-connector/pushover"
)

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

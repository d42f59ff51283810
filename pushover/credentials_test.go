package pushover_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/pushover"
)

var someCredentials = pushover.Credentials{
	Secret:     pushover.Secret(strings.Repeat("SeCrEt", 10)),
	DeviceID:   pushover.DeviceID(strings.Repeat("DeVi", 10)),
	DeviceName: "nas-1",
}

func TestCredentialsSurviveSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "dir", "credentials.json")
	for range 2 { // into a new directory, and over an old file
		if err := someCredentials.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := pushover.LoadCredentials(path)
	if err != nil || got != someCredentials {
		t.Errorf("LoadCredentials: got %v, want what was saved", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: got %v, %v, want 0600", info.Mode(), err)
	}
	info, err = os.Stat(filepath.Dir(path))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the directory: got %v, %v, want 0700", info.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("files left behind: got %v, %v, want the credentials alone", entries, err)
	}
}

// Whoever keeps the credentials elsewhere and links to them finds them there.
func TestSaveThroughALinkKeepsTheLink(t *testing.T) {
	for name, target := range map[string]string{"absolute": "", "relative": "../data/credentials.json", "dangling": "../data/new.json"} {
		dir := t.TempDir()
		for _, sub := range []string{"data", "config"} {
			if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		file, link := filepath.Join(dir, "data", "credentials.json"), filepath.Join(dir, "config", "link.json")
		old := pushover.Credentials{Secret: "old", DeviceID: "d", DeviceName: "n"}
		if err := old.Save(file); err != nil {
			t.Fatal(err)
		}
		if name == "dangling" {
			file = filepath.Join(dir, "data", "new.json")
		}
		if target == "" {
			target = file
		}
		second := filepath.Join(dir, "config", "link of a link.json")
		if err := errors.Join(os.Symlink(target, link), os.Symlink("link.json", second)); err != nil {
			t.Fatal(err)
		}
		renewed := old
		renewed.Secret = "new"
		if err := renewed.Save(second); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := pushover.LoadCredentials(file)
		info, lerr := os.Lstat(link)
		if err != nil || lerr != nil || got != renewed || info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("%s: the file holds %v (%v), the link is %v (%v)", name, got, err, info, lerr)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*", ".*")); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
}

func TestSaveThatFailsKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "credentials.json")
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil { // a directory cannot be renamed over
		t.Fatal(err)
	}
	if err := someCredentials.Save(path); err == nil {
		t.Error("Save over a directory: got no error")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("files left behind: got %v, %v, want the directory alone", entries, err)
	}
}

func TestParseCredentialsSaysWhatIsWrong(t *testing.T) {
	whole := string(someCredentials.Encode())
	for name, tc := range map[string]struct{ doc, want string }{
		"empty":            {" \n", "empty"},
		"half written":     {whole[:len(whole)/2], "half written"},
		"not JSON":         {"secret=SeCrEt", "not JSON"},
		"HTML":             {"<html>SeCrEt</html>", "not JSON"},
		"list":             {`["SeCrEt"]`, "not a JSON object"},
		"no secret":        {`{"device_id":"DeVi"}`, `"secret" is missing`},
		"no device":        {`{"secret":"SeCrEt"}`, `"device_id" is missing`},
		"null":             {`{"secret":null,"device_id":"DeVi"}`, `"secret" is missing`},
		"number":           {`{"secret":42,"device_id":"DeVi"}`, `"secret" is not a string`},
		"name not text":    {`{"secret":"SeCrEt","device_id":"DeVi","device_name":{}}`, `"device_name" is not a string`},
		"empty secret":     {`{"secret":"","device_id":"DeVi"}`, "secret is missing"},
		"colon":            {`{"secret":"SeCrEt:x","device_id":"DeVi"}`, "session secret has a character"},
		"newline":          {`{"secret":"SeCrEt","device_id":"DeVi\n"}`, "device id has a character"},
		"much too long":    {`{"secret":"` + strings.Repeat("SeCrEt", 60) + `","device_id":"DeVi"}`, "more than 256"},
		"several problems": {`{"secret":"SeCrEt ","device_id":":DeVi"}`, "device id has a character"},
	} {
		_, err := pushover.ParseCredentials([]byte(tc.doc))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got error %v, want one with %q", name, err, tc.want)
			continue
		}
		if strings.Contains(err.Error(), "SeCrEt") || strings.Contains(err.Error(), "DeVi") {
			t.Errorf("%s: error repeats the content: %v", name, err)
		}
	}
}

func TestParseCredentialsNeedsNoNameAndIgnoresMore(t *testing.T) {
	got, err := pushover.ParseCredentials([]byte(`{"device_id":"d","secret":"s","comment":1}`))
	if want := (pushover.Credentials{Secret: "s", DeviceID: "d"}); err != nil || got != want {
		t.Errorf("got %v, want it accepted", err)
	}
}

func TestLoadCredentialsNamesFileAndRemedy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials.json")
	_, err := pushover.LoadCredentials(path)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "log in") {
		t.Errorf("missing file: got %v, want the path, the remedy and fs.ErrNotExist", err)
	}
	if err := os.WriteFile(path, []byte(`{"secret":"Se`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = pushover.LoadCredentials(path)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "log in again") {
		t.Errorf("broken file: got %v, want the path and the remedy", err)
	}
}

func TestSecretsPrintAsRedacted(t *testing.T) {
	key, err := pushover.ParseE2EEKey(strings.Repeat("5e", 32))
	if err != nil {
		t.Fatal(err)
	}
	values := []any{
		someCredentials, &someCredentials, someCredentials.Secret, someCredentials.DeviceID,
		pushover.Account{UserKey: "uSeCrEtUser", Secret: "SeCrEt"},
		pushover.User{Email: "SeCrEt@example.org", EmailAlias: "SeCrEt"},
		pushover.Options{Credentials: someCredentials}, key, []pushover.E2EEKey{key},
	}
	c, err := pushover.New(pushover.Options{Credentials: someCredentials})
	if err != nil {
		t.Fatal(err)
	}
	values = append(values, c, *c, struct{ C pushover.Client }{*c}, c.WithCredentials(someCredentials))
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	for _, v := range values {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			assertNoSecret(t, fmt.Sprintf(format, v))
		}
		logger.Info("x", "v", v)
		if _, hasFuncs := v.(pushover.Options); hasFuncs {
			continue
		}
		doc, err := json.Marshal(v)
		if err != nil {
			t.Errorf("json.Marshal(%T): %v", v, err)
		}
		assertNoSecret(t, string(doc))
	}
	assertNoSecret(t, log.String())
}

func assertNoSecret(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{"SeCrEt", "DeVi", "5365437245", "5e5e5e", "94 94", "0x5e, 0x5e"} {
		if strings.Contains(text, secret) {
			t.Errorf("a secret is in %q", text)
		}
	}
}

func TestEncodeHoldsTheRealValues(t *testing.T) {
	var got map[string]string
	if err := json.Unmarshal(someCredentials.Encode(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"secret": strings.Repeat("SeCrEt", 10), "device_id": strings.Repeat("DeVi", 10), "device_name": "nas-1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Encode (-want +got):\n%s", d)
	}
}

func TestLongestCredentialIsTaken(t *testing.T) {
	for n, ok := range map[int]bool{256: true, 257: false} {
		c := pushover.Credentials{Secret: pushover.Secret(strings.Repeat("x", n)), DeviceID: "d"}
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%d characters: got %v, want success: %t", n, err, ok)
		}
	}
}

// Secrets and device ids are printable ASCII without blanks; a colon separates
// them in the stream's login frame.
func TestCharactersOfACredential(t *testing.T) {
	for in, ok := range map[string]bool{
		"!": true, "~": true, "azAZ09-_.": true,
		" ": false, "a b": false, "a\tb": false, "a\n": false, "\x7f": false, "ä": false, "a:b": false, "": false,
	} {
		c := pushover.Credentials{Secret: pushover.Secret(in), DeviceID: "d"}
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%q: got %v, want success: %t", in, err, ok)
		}
	}
}

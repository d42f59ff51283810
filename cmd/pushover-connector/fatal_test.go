package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFatalLineIsInTheFormatOfTheLog: of all lines, whoever collects logs must be
// able to read the last one.
func TestFatalLineIsInTheFormatOfTheLog(t *testing.T) {
	credentials := filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(credentials, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PUSHOVER_CREDENTIALS_FILE", credentials)
	t.Setenv("LOG_FORMAT", "json")
	t.Setenv("HTTP_ADDR", "127.0.0.1:0")
	t.Setenv("SINK", "stdout")
	var out, problems bytes.Buffer
	if code := execute(t.Context(), []string{"run"}, streams{os.Stdin, &out, &problems}); code != 1 {
		t.Errorf("got exit code %d, want 1", code)
	}
	lines := strings.Split(strings.TrimSpace(problems.String()), "\n")
	var last struct{ Level, Error string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Level != "ERROR" || !strings.Contains(last.Error, "not JSON") {
		t.Errorf("got %v and as the last line %s", err, lines[len(lines)-1])
	}
}

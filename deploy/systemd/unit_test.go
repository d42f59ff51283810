// Package systemd tests the unit beside it with systemd's own tools.
package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const unit = "pushover-connector.service"

// TestUnitIsValidAndConfined has systemd-analyze verify the unit and judge its
// confinement: an exposure of at most 1.5 of 10. Without systemd the test is
// skipped.
func TestUnitIsValidAndConfined(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	content, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	// The program is not installed where tests run; any other stands in for it.
	const start = "ExecStart=/usr/local/bin/pushover-connector run"
	if !strings.Contains(string(content), start) {
		t.Fatalf("the unit has no line %s", start)
	}
	path := filepath.Join(t.TempDir(), unit)
	verified := strings.Replace(string(content), start, "ExecStart=/bin/true", 1)
	if err := os.WriteFile(path, []byte(verified), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "verify", "--man=no", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	if out, err := exec.Command(tool, "security", "--offline=true", "--threshold=15", path).CombinedOutput(); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}

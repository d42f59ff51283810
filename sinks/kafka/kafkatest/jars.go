package kafkatest

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for the pom
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed pom.xml
var pom []byte

const howTo = "a real Kafka needs java (17 or later) and mvn on the PATH, with Maven Central in reach once, or KAFKA_BROKERS=host:port"

// unavailable skips the test, or fails it where a real broker is required.
func unavailable(t testing.TB, why error) {
	t.Helper()
	if os.Getenv("KAFKATEST_REQUIRED") == "1" {
		t.Fatalf("kafkatest: %v; %s", why, howTo)
	}
	t.Skipf("kafkatest: SKIPPED, no real Kafka: %v; %s", why, howTo)
}

// jars returns the directory with the broker's jars, which it fills on first
// use. The directory's name follows from the pom, so a new version is fetched
// into a new one.
func jars() (string, error) {
	for _, tool := range []string{"java", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", err
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	base := filepath.Join(cache, "pushover-connector")
	sum := sha256.Sum256(pom)
	dir := filepath.Join(base, fmt.Sprintf("kafka-%x", sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return "", err
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	// Fetched beside and moved, so that an aborted or a simultaneous fetch
	// leaves no half-filled directory.
	tmp, err := os.MkdirTemp(base, "fetch-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	file, libs := filepath.Join(tmp, "pom.xml"), filepath.Join(tmp, "libs")
	if err := os.WriteFile(file, pom, 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("mvn", "-q", "-B", "-f", file, "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+libs)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("mvn: %w: %s", err, strings.TrimSpace(out.String()))
	}
	if err := os.Rename(libs, dir); err != nil {
		if _, serr := os.Stat(dir); serr == nil {
			return dir, nil // somebody else was faster
		}
		return "", err
	}
	return dir, nil
}

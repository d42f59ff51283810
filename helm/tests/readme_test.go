package tests

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadmeRenewsTheSession carries out what the README says about renewing a
// session, word for word, with the program, a simulated service and a kubectl that
// keeps what is applied in a file.
func TestReadmeRenewsTheSession(t *testing.T) {
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./cmd/pushover-connector", "./cmd/pushover-sim")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "kubectl")); err != nil {
		t.Fatal(err)
	}

	sim := exec.CommandContext(t.Context(), filepath.Join(dir, "pushover-sim"), "-listen", "127.0.0.1:0", "-tls-listen", "")
	stdout, err := sim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Process.Kill(); _ = sim.Wait() }) // killed, so Wait says so
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var service map[string]string
	if err := json.Unmarshal(line, &service); err != nil {
		t.Fatal(err)
	}

	store := filepath.Join(dir, "secret.json")
	sh := func(script string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
		command.Dir = dir
		command.Env = []string{
			"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, "STORE=" + store, "NAMESPACE=alerting",
			"PUSHOVER_API_URL=" + service["api_url"], "PUSHOVER_STREAM_URL=" + service["stream_url"],
			"PUSHOVER_EMAIL=" + service["email"], "PUSHOVER_PASSWORD=" + service["password"],
		}
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s\n%v\n%s", script, err, out)
		}
	}
	credentials := func() map[string]string {
		t.Helper()
		kept, err := readSecret(store)
		if err != nil {
			t.Fatal(err)
		}
		if kept.Metadata.Name != "pushover-credentials" || kept.Metadata.Namespace != "alerting" {
			t.Errorf("got Secret %+v", kept.Metadata)
		}
		var file map[string]string
		if err := json.Unmarshal(kept.Data["credentials.json"], &file); err != nil {
			t.Fatal(err)
		}
		return file
	}

	sh(readmeBlock(t, "## Install", "login -output kubernetes"))
	before := credentials()
	sh(readmeBlock(t, "**Renew the session**", ""))
	after := credentials()
	if before["device_id"] == "" || after["device_id"] != before["device_id"] || after["secret"] == before["secret"] {
		t.Error("it is not a new session of the same device")
	}
	if left, err := filepath.Glob(filepath.Join(dir, "old.json")); err != nil || len(left) > 0 {
		t.Errorf("old credentials are left behind: %v, %v", left, err)
	}
}

// readmeBlock is the first block of shell commands after a text in the README;
// only the lines that contain part.
func readmeBlock(t *testing.T, after, part string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), after)
	_, rest, _ = strings.Cut(rest, "```sh\n")
	block, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("no commands after %q", after)
	}
	var lines []string
	for line := range strings.Lines(block) {
		if strings.Contains(line, part) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

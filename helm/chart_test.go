// Package helm holds the chart. Its tests are a module of their own, in tests,
// because Helm's library weighs more than the program; this test runs them.
package helm

import (
	"os"
	"os/exec"
	"testing"
)

// TestChart runs the chart's tests with the go command that is on the PATH.
func TestChart(t *testing.T) {
	command := exec.Command("go", "test", "./...")
	command.Dir = "tests"
	// The tests are a module of its own, whatever a go.work above says.
	command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := command.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
}

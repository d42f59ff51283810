// Package helm holds the chart. Its tests are a module of their own, in tests,
// because Helm's library weighs more than the program; this test runs them.
package helm

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestChart runs the chart's tests with the go command that is on the PATH.
//
// They look at files outside of their module, which the go command does not
// count as a reason to run them again: hence -count=1 there, and here a walk past
// all that there is, which makes it a reason to run this test again.
func TestChart(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone since its directory was read
		case err == nil && entry.IsDir() && entry.Name() == ".git":
			return fs.SkipDir
		default:
			return err
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("go", "test", "-count=1", "./...")
	command.Dir = "tests"
	// The tests are a module of its own, whatever a go.work above says.
	command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := command.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
}

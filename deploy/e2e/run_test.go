// Package e2e holds the end-to-end test in a cluster, which is a shell script.
// Tested here is what it must never do to a cluster.
package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRunLeavesForeignNamespacesAlone runs the script against a cluster, played
// by another script, that has a namespace of the name it wants. Without the
// script's label it must stop before it changes anything. With the label it goes
// on, and deletes by the label only.
func TestRunLeavesForeignNamespacesAlone(t *testing.T) {
	const kubectl = `#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
"get namespace mine "*) echo namespace/mine ;;
"get namespaces -l app.kubernetes.io/managed-by=pushover-connector-e2e --field-selector metadata.name=mine "*) printf '%s' "$LABELLED" ;;
"create "*) exit 1 ;;
esac
`
	const byLabel = "delete namespaces -l app.kubernetes.io/managed-by=pushover-connector-e2e --field-selector metadata.name=mine"
	for _, test := range []struct {
		name, labelled string
		deletes        bool
	}{
		{"somebody else's", "", false},
		{"an earlier run's", "namespace/mine", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			program, calls := filepath.Join(dir, "kubectl"), filepath.Join(dir, "calls")
			if err := os.WriteFile(program, []byte(kubectl), 0o755); err != nil {
				t.Fatal(err)
			}
			run := exec.CommandContext(t.Context(), "bash", "./run")
			run.Env = append(os.Environ(), "KUBECTL="+program, "HELM=false", "CALLS="+calls, "LABELLED="+test.labelled,
				"E2E_NAMESPACE=mine", "E2E_KEEP=", "TMPDIR="+dir)
			out, err := run.CombinedOutput()
			if err == nil {
				t.Fatalf("got no error\n%s", out)
			}
			made, err := os.ReadFile(calls)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			deletes := false
			for call := range strings.Lines(string(made)) {
				switch {
				case strings.HasPrefix(call, byLabel):
					deletes = true
				case strings.Contains(call, "delete"):
					t.Errorf("it ran kubectl %s", call)
				case !test.deletes && !strings.HasPrefix(call, "get "):
					t.Errorf("it went on: kubectl %s", call)
				}
			}
			if deletes != test.deletes {
				t.Errorf("it deleted the namespace: %v, want %v\n%s\n%s", deletes, test.deletes, made, out)
			}
			if !test.deletes && !strings.Contains(string(out), "left alone") {
				t.Errorf("it does not say why it stopped:\n%s", out)
			}
		})
	}
}

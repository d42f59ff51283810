package tests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// helm3 returns the helm of version 3: HELM3, or the one on the PATH if it is of
// that version.
func helm3(t *testing.T) string {
	t.Helper()
	program, given := os.LookupEnv("HELM3")
	if !given {
		program = "helm"
	}
	out, err := exec.CommandContext(t.Context(), program, "version", "--template", "{{.Version}}").Output()
	if err == nil && strings.HasPrefix(string(out), "v3.") {
		return program
	}
	if given {
		t.Fatalf("HELM3=%s is not Helm 3: it says %q, %v", program, out, err)
	}
	t.Skip(`needs Helm 3: GOBIN=/some/directory go install helm.sh/helm/v3/cmd/helm@v3.22.0, then HELM3=/some/directory/helm`)
	return ""
}

// TestHelm3MakesTheSame lints and renders the chart with the program of Helm 3,
// the defaults and every file of values in ci/, and compares with the objects that
// the library of Helm 4 makes.
func TestHelm3MakesTheSame(t *testing.T) {
	program := helm3(t)
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		var out, problems bytes.Buffer
		command := exec.CommandContext(t.Context(), program, append(args, "--namespace", "ns", "--kube-version", "v1.34.1")...)
		command.Stdout, command.Stderr = &out, &problems
		if err := command.Run(); err != nil {
			t.Fatalf("helm %s: %v\n%s%s", strings.Join(args, " "), err, &out, &problems)
		}
		return out.String()
	}
	all := ciValues(t)
	all["defaults"] = nil
	for name, v := range all {
		t.Run(name, func(t *testing.T) {
			var args []string
			if v != nil {
				args = []string{"--values", filepath.Join(chartDir, "ci", name+"-values.yaml")}
			}
			run(t, append([]string{"lint", "--strict", chartDir}, args...)...)
			theirs, err := split("pushover-connector/templates/all.yaml", run(t, append([]string{"template", "rel", chartDir}, args...)...))
			if err != nil {
				t.Fatal(err)
			}
			ours, _, err := tryRender(t, release{name: "rel", namespace: "ns"}, v)
			if err != nil {
				t.Fatal(err)
			}
			if len(theirs) != len(ours) {
				t.Errorf("got %d objects, want %d", len(theirs), len(ours))
			}
			want := map[string]string{}
			for _, o := range ours {
				want[o.kind()+" "+o.name()] = toJSON(t, o.fields)
			}
			for _, o := range theirs {
				id := fmt.Sprint(o.kind(), " ", o.name())
				if got := toJSON(t, o.fields); got != want[id] {
					t.Errorf("%s:\n got %s\nwant %s", id, got, want[id])
				}
			}
		})
	}
}

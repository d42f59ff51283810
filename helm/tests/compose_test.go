package tests

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestComposeFile checks what the compose file shares with the program and the
// chart: the variables exist, and the release is the same.
func TestComposeFile(t *testing.T) {
	content, err := os.ReadFile("../../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Image       string         `json:"image"`
			Environment map[string]any `json:"environment"`
			Profiles    []string       `json:"profiles"`
			ReadOnly    bool           `json:"read_only"`
			CapDrop     []string       `json:"cap_drop"`
			Grace       string         `json:"stop_grace_period"`
		} `json:"services"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	program := map[string]bool{}
	for _, name := range programVariables(t) {
		program[name] = true
	}
	release := ":" + load(t).Metadata.AppVersion
	ours := 0
	for name, s := range file.Services {
		if !strings.Contains(s.Image, "pushover-") {
			continue
		}
		if !strings.HasSuffix(strings.TrimSuffix(s.Image, "}"), release) {
			t.Errorf("%s: image %s is not of release %s", name, s.Image, release)
		}
		if !s.ReadOnly || len(s.CapDrop) != 1 {
			t.Errorf("%s may write to its root, or has capabilities", name)
		}
		if !strings.HasPrefix(name, "connector") {
			continue
		}
		ours++
		if s.Grace != "30s" {
			t.Errorf("%s: got grace period %q, want 30s", name, s.Grace)
		}
		for variable := range s.Environment {
			if !program[variable] {
				t.Errorf("%s sets %s, which the program does not know", name, variable)
			}
		}
	}
	if ours != 3 {
		t.Errorf("got %d connectors, want one for NATS, Kafka and the simulator each", ours)
	}
	for _, profile := range []string{"kafka", "simulator"} {
		if !regexp.MustCompile(`(?m)^ +profiles: \[` + profile + `\]$`).Match(content) {
			t.Errorf("there is no profile %s", profile)
		}
	}
}

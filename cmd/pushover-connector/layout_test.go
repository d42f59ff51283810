package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pushover-connector/pushover-connector/"

// Who may import whom. A package that is not listed may import none of ours.
var mayImport = map[string][]string{
	"pushover":                {},
	"pushover/pushovertest":   {},
	"connector":               {"pushover"},
	"sinks/nats":              {"connector"},
	"sinks/kafka":             {"connector"},
	"sinks/stdout":            {"connector"},
	"sinks/sinktest":          {"connector"},
	"sinks/kafka/kafkatest":   {},
	"cmd/pushover-sim":        {"pushover/pushovertest"},
	"cmd/internal/eventline":  {"connector"},
	"cmd/pushover-connector":  {"pushover", "connector", "sinks/nats", "sinks/kafka", "sinks/stdout", "cmd/internal/eventline"},
	"deploy/chaos":            {"pushover", "pushover/pushovertest", "sinks/kafka/kafkatest", "deploy/internal/process"},
	"deploy/bench":            {"pushover", "pushover/pushovertest", "sinks/kafka/kafkatest", "deploy/internal/process"},
	"deploy/internal/process": {},
	"cmd/pushover-demo":       {"pushover", "pushover/pushovertest", "connector", "sinks/nats", "cmd/internal/eventline"},
}

// Third parties that one package alone may touch.
var onlyIn = map[string][]string{
	"github.com/gorilla/websocket":         {"pushover", "pushover/pushovertest"},
	"github.com/kelseyhightower/envconfig": {"cmd/pushover-connector"},
	"github.com/lmittmann/tint":            {"cmd/pushover-connector"},
	"github.com/nats-io/nats.go":           {"sinks/nats", "cmd/pushover-demo"},
	"github.com/nats-io/nats-server/v2":    {"sinks/nats"},
	"github.com/segmentio/kafka-go":        {"sinks/kafka", "sinks/kafka/kafkatest"},
}

type goPackage struct {
	ImportPath string
	Doc        string
	GoFiles    []string // without tests
	Imports    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,GoFiles,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportLaw(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			if ours, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(mayImport[name], ours) {
				t.Errorf("%s imports %s; it may import %v", name, ours, mayImport[name])
			}
			if strings.HasPrefix(name, "deploy/") {
				continue // programs that stand for a user's own
			}
			for third, allowed := range onlyIn {
				if (imported == third || strings.HasPrefix(imported, third+"/")) && !slices.Contains(allowed, name) {
					t.Errorf("%s imports %s, which only %v may", name, imported, allowed)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("package %s has no documentation", p.ImportPath)
		}
	}
}

// The top level is fixed; a stray file there is a mistake.
func TestTopLevel(t *testing.T) {
	allowed := []string{
		"go.mod", "go.sum", "go.work", "go.work.sum", "cmd", "connector", "sinks", "pushover", "deploy", "helm",
		"Dockerfile", "README.md", "LICENSE",
	}
	root := filepath.Join("..", "..")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
}

package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A setting is one key of values.yaml with what its comments say.
//
// A mapping without a description is a section: its keys are settings, and no
// others are allowed. A mapping with a description is passed through to
// Kubernetes, and takes any key.
type setting struct {
	path        []string
	description string
	extra       map[string]any // from the comment @schema
	value       *yaml.Node
	children    []*setting // nil unless a section
}

func (s *setting) section() bool { return s.children != nil }
func (s *setting) name() string  { return strings.Join(s.path, ".") }

var (
	descriptionMark = regexp.MustCompile(`^#\s*--\s+(.*)$`)
	schemaMark      = regexp.MustCompile(`^#\s*@schema\s+(.*)$`)
)

// settings reads values.yaml.
func settings(t testing.TB) *setting {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	root := &setting{value: document.Content[0]}
	root.read(t)
	return root
}

func (s *setting) read(t testing.TB) {
	t.Helper()
	s.children = []*setting{}
	for i := 0; i < len(s.value.Content); i += 2 {
		key, value := s.value.Content[i], s.value.Content[i+1]
		child := &setting{path: append(append([]string(nil), s.path...), key.Value), value: value}
		for _, line := range strings.Split(key.HeadComment, "\n") {
			if m := descriptionMark.FindStringSubmatch(line); m != nil {
				child.description = m[1]
			}
			if m := schemaMark.FindStringSubmatch(line); m != nil {
				if err := json.Unmarshal([]byte(m[1]), &child.extra); err != nil {
					t.Fatalf("%s: @schema: %v", child.name(), err)
				}
			}
		}
		if value.Kind == yaml.MappingNode && child.description == "" {
			child.read(t)
		}
		s.children = append(s.children, child)
	}
}

// schema is the JSON Schema of the setting.
func (s *setting) schema(t testing.TB) map[string]any {
	t.Helper()
	out := map[string]any{}
	if s.description != "" {
		out["description"] = strings.ReplaceAll(s.description, "`", "")
	}
	switch {
	case s.section():
		properties := map[string]any{}
		for _, c := range s.children {
			properties[c.path[len(c.path)-1]] = c.schema(t)
		}
		out["type"], out["properties"], out["additionalProperties"] = "object", properties, false
	case s.value.Kind == yaml.MappingNode:
		out["type"] = "object"
		name := strings.ToLower(s.path[len(s.path)-1])
		if strings.HasSuffix(name, "labels") || strings.HasSuffix(name, "annotations") || name == "nodeselector" {
			out["additionalProperties"] = map[string]any{"type": "string"}
		}
	case s.value.Kind == yaml.SequenceNode:
		out["type"] = "array"
	default:
		switch s.value.Tag {
		case "!!bool":
			out["type"] = "boolean"
		case "!!int":
			out["type"] = "integer"
		case "!!str":
			out["type"] = "string"
		default:
			if s.extra["type"] == nil {
				t.Fatalf("%s: the type does not show; say it by @schema", s.name())
			}
		}
	}
	for k, v := range s.extra {
		out[k] = v
	}
	return out
}

// rows are the rows of the README's table.
func (s *setting) rows(t testing.TB, b *strings.Builder) {
	t.Helper()
	if s.section() {
		for _, c := range s.children {
			c.rows(t, b)
		}
		return
	}
	if s.description == "" {
		return
	}
	var v any
	if err := s.value.Decode(&v); err != nil {
		t.Fatal(err)
	}
	value, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", s.name(), value, strings.ReplaceAll(s.description, "|", "\\|"))
}

func TestEverySettingIsDescribed(t *testing.T) {
	var walk func(*setting)
	walk = func(s *setting) {
		open := s.extra["additionalProperties"] == true // keys of Kubernetes' own
		for _, c := range s.children {
			if !c.section() && c.description == "" && !open {
				t.Errorf("%s has no description", c.name())
			}
			if strings.HasSuffix(c.description, ".") {
				t.Errorf("%s: the description ends with a full stop, others do not", c.name())
			}
			walk(c)
		}
	}
	walk(settings(t))
}

func TestSchemaFollowsFromValues(t *testing.T) {
	schema := settings(t).schema(t)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "Values of the chart pushover-connector"
	properties := schema["properties"].(map[string]any)
	properties["enabled"] = map[string]any{
		"type": "boolean", "description": "Does nothing: an umbrella chart's condition, which Helm hands down",
	}
	disabled := at(schema, "properties.metrics.properties.prometheusRule.properties.disabled").(map[string]any)
	disabled["items"] = map[string]any{"enum": alertNames(t)}
	out, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, filepath.Join(chartDir, "values.schema.json"), string(out)+"\n")
}

// alertNames are the names of the alerts that the chart has.
func alertNames(t testing.TB) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartDir, "files", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Alert string }
		}
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			names = append(names, r.Alert)
		}
	}
	if len(names) == 0 {
		t.Fatal("there are no alerts")
	}
	return names
}

func TestReadmeFollowsFromValues(t *testing.T) {
	template, err := os.ReadFile(filepath.Join(chartDir, "README.md.gotmpl"))
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| key | default | what |\n|---|---|---|\n")
	settings(t).rows(t, &table)
	c := load(t)
	got := strings.NewReplacer(
		"{{values}}", strings.TrimSuffix(table.String(), "\n"),
		"{{description}}", c.Metadata.Description,
		"{{version}}", c.Metadata.Version,
		"{{kubeVersion}}", strings.TrimSuffix(c.Metadata.KubeVersion, "-0"),
	).Replace(string(template))
	if strings.Contains(got, "{{values") || strings.Contains(got, "{{version") {
		t.Error("a placeholder is left")
	}
	compare(t, filepath.Join(chartDir, "README.md"), got)
}

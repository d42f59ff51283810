package tests

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestManifestsAreRenderedFromTheChart keeps the manifests for those without
// Helm as the chart would make them from the values beside them.
func TestManifestsAreRenderedFromTheChart(t *testing.T) {
	const dir = "../../deploy/manifests"
	files, err := filepath.Glob(filepath.Join(dir, "*.values.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no values in %s: %v", dir, err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".values.yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			objects, _, err := tryRender(t, release{name: "pushover-connector", namespace: "pushover"}, values(t, string(text)))
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			b.WriteString("# Made from the Helm chart with " + filepath.Base(f) + "; do not edit.\n" +
				"# First: kubectl create namespace pushover, and the Secret of the credentials:\n" +
				"#   pushover-connector login -output kubernetes -name pushover-credentials -namespace pushover | kubectl apply -f -\n")
			for _, o := range objects {
				labels, _ := at(o.fields, "metadata.labels").(map[string]any)
				if !slices.Contains(slices.Collect(maps.Keys(labels)), "app.kubernetes.io/name") {
					t.Errorf("%s %s has no labels", o.kind(), o.name())
				}
				b.WriteString("---\n" + strings.NewReplacer("managed-by: Helm", "managed-by: kubectl").Replace(o.text))
			}
			compare(t, filepath.Join(dir, name+".yaml"), b.String())
		})
	}
}

package tests

import (
	"fmt"
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
			b.WriteString("# Generated from the Helm chart with " + filepath.Base(f) + "; do not edit.\n" +
				"# First create the namespace, and the Secrets that the pod needs and this file does not contain:\n" +
				"#   kubectl create namespace pushover\n")
			for _, s := range missingSecrets(t, objects) {
				b.WriteString("#   " + s.command("pushover") + "\n")
			}
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

// secret is a Secret that somebody has to make, and the keys wanted of it.
type secret struct {
	name string
	keys []string
}

// missingSecrets are the Secrets that the connector's pod refers to and that are
// not among the objects, by name.
func missingSecrets(t *testing.T, objects []object) []secret {
	t.Helper()
	keys := map[string][]string{}
	pod := spec(t, podSpec(t, objects))
	for _, v := range pod.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			for _, item := range sourceItems(s) {
				if s.Secret != nil {
					keys[s.Secret.Name] = append(keys[s.Secret.Name], item.Key)
				}
			}
		}
	}
	for _, e := range pod.Containers[0].Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			ref := e.ValueFrom.SecretKeyRef
			keys[ref.Name] = append(keys[ref.Name], ref.Key)
		}
	}
	for _, o := range objects {
		if o.kind() == "Secret" {
			delete(keys, o.name())
		}
	}
	var all []secret
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		all = append(all, secret{name, slices.Sorted(slices.Values(keys[name]))})
	}
	return all
}

// command is how to make the Secret.
func (s secret) command(namespace string) string {
	if slices.Equal(s.keys, []string{"credentials.json"}) {
		return fmt.Sprintf("pushover-connector login -output kubernetes -name %s -namespace %s | kubectl apply -f -", s.name, namespace)
	}
	b := fmt.Sprintf("kubectl -n %s create secret generic %s", namespace, s.name)
	for _, key := range s.keys {
		value := `"$(openssl rand -hex 24)"`
		if strings.HasPrefix(key, "user") {
			value = "connector"
		}
		b += fmt.Sprintf(" --from-literal=%s=%s", key, value)
	}
	return b
}

// TestManifestsSayWhichSecretsToMake: a pod whose Secret is missing waits for
// ever, and only the head of the file could say so.
func TestManifestsSayWhichSecretsToMake(t *testing.T) {
	text, err := os.ReadFile("../../deploy/manifests/embedded.yaml")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), "\n---\n")
	for _, want := range []string{"-name pushover-credentials ", "create secret generic nats-password ", "--from-literal=user=", "--from-literal=password="} {
		if !strings.Contains(head, want) {
			t.Errorf("the head lacks %q:\n%s", want, head)
		}
	}
}

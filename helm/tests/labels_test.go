package tests

import (
	"strings"
	"testing"
)

// TestLabelsOfTheChartsOwnKeys gives labels and annotations that the chart sets
// itself. Each key is there once, which render insists on; those by which pods
// are selected keep the chart's values, and others take the user's.
func TestLabelsOfTheChartsOwnKeys(t *testing.T) {
	const ours = "{app.kubernetes.io/name: x, app.kubernetes.io/instance: x, app.kubernetes.io/component: x, " +
		"app.kubernetes.io/version: mine, helm.sh/chart: mine}"
	objects := render(t, strings.ReplaceAll(`
commonLabels: OURS
podLabels: OURS
service: {labels: OURS}
metrics: {serviceMonitor: {enabled: true, labels: OURS}, dashboard: {enabled: true, labels: OURS}}
commonAnnotations: {kubectl.kubernetes.io/default-container: x, checksum/config: x, helm.sh/hook: x, helm.sh/hook-weight: x, helm.sh/hook-delete-policy: x}
podAnnotations: {kubectl.kubernetes.io/default-container: connector}
persistence: {enabled: true, annotations: {helm.sh/resource-policy: x}}
networkPolicy: {enabled: true}
`, "OURS", ours))
	checkObjects(t, objects)
	for _, o := range objects {
		labels := at(o.fields, "metadata.labels").(map[string]any)
		if labels["app.kubernetes.io/name"] != "pushover-connector" || labels["app.kubernetes.io/instance"] != "rel" {
			t.Errorf("%s %s: its selecting labels are replaced: %v", o.kind(), o.name(), labels)
		}
		if labels["app.kubernetes.io/version"] != "mine" {
			t.Errorf("%s %s: got version %v, want the user's", o.kind(), o.name(), labels["app.kubernetes.io/version"])
		}
		if o.kind() == "Pod" && (labels["app.kubernetes.io/component"] != "test" || !strings.Contains(o.text, "helm.sh/hook: test\n")) {
			t.Errorf("%s is not a test any more:\n%s", o.name(), o.text)
		}
	}
	pod := at(find(t, objects, "Deployment").fields, "spec.template.metadata").(map[string]any)
	if got := pod["labels"].(map[string]any)["app.kubernetes.io/component"]; got != "connector" {
		t.Errorf("got component %v of the pod", got)
	}
	annotations := pod["annotations"].(map[string]any)
	if annotations["kubectl.kubernetes.io/default-container"] != "connector" || annotations["checksum/config"] == "x" {
		t.Errorf("got annotations %v of the pod", annotations)
	}
}

// TestReleaseNamedByANumber: a label's value is text, whatever it looks like.
func TestReleaseNamedByANumber(t *testing.T) {
	objects, _, err := tryRender(t, release{name: "42", namespace: "ns"}, values(t, "fullnameOverride: answer"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"metadata.labels", "spec.selector.matchLabels", "spec.template.metadata.labels"} {
		labels := at(find(t, objects, "Deployment").fields, path).(map[string]any)
		if labels["app.kubernetes.io/instance"] != "42" {
			t.Errorf("%s: got %v", path, labels)
		}
	}
}

func TestLabelsThatAreNoYAMLAreRefused(t *testing.T) {
	_, _, err := tryRender(t, release{name: "rel", namespace: "ns"}, values(t, `commonLabels: {a: '{{ printf "%c" 39 }}'}`))
	if err == nil || !strings.Contains(err.Error(), "not valid YAML after rendering their templates") {
		t.Errorf("got %v", err)
	}
}

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

// leastCIValues is how many ways of using the chart ci/ must show.
const leastCIValues = 15

// ciValues reads the files of values in ci/, by name.
func ciValues(t testing.TB) map[string]map[string]any {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chartDir, "ci", "*-values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < leastCIValues {
		t.Fatalf("got %d files in ci/, want at least %d", len(files), leastCIValues)
	}
	all := map[string]map[string]any{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), "-values.yaml")] = values(t, string(text))
	}
	return all
}

func text(objects []object) string {
	var b strings.Builder
	for _, o := range objects {
		fmt.Fprintf(&b, "---\n# template: %s\n%s", o.template, o.text)
	}
	return b.String()
}

func TestDefaultIsAsInTheSnapshot(t *testing.T) {
	compare(t, "testdata/default.yaml", text(render(t, "")))
}

func TestNotesSayTheNextCommand(t *testing.T) {
	_, notes, err := tryRender(t, release{name: "rel", namespace: "ns"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "testdata/default-notes.txt", notes)
	for _, want := range []string{
		"WAITING FOR CREDENTIALS",
		"pushover-connector login -output kubernetes -name rel-pushover-connector-credentials -namespace ns",
		"kubectl apply -f -",
		"helm test rel --namespace ns",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
}

// TestCIValuesRender renders every file of values, for several versions of
// Kubernetes, into objects that decode strictly and agree with each other.
func TestCIValuesRender(t *testing.T) {
	all := ciValues(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, kube := range []string{"v1.27.0", "v1.31.0", "v1.34.1"} {
			t.Run(name+"/"+kube, func(t *testing.T) {
				objects, _, err := tryRender(t, release{name: "rel", namespace: "ns", kubeVersion: kube}, all[name])
				if err != nil {
					t.Fatal(err)
				}
				checkObjects(t, objects)
			})
		}
	}
}

// TestNotesClaimNoMoreThanIsKnown looks at single sentences of the notes.
func TestNotesClaimNoMoreThanIsKnown(t *testing.T) {
	const budget = "podDisruptionBudget: {enabled: true, "
	for _, test := range []struct {
		name, values, part string
		want               bool
	}{
		{"device of the chart's own Secret", "pushover: {deviceName: d1, credentials: {secret: s, deviceId: i}}", `device "d1"`, true},
		{"device of another Secret", "pushover: {deviceName: d1, existingSecret: s}", "d1", false},
		{"budget", budget + "maxUnavailable: 1}", "WARNING", false},
		{"budget of none", budget + "maxUnavailable: 0}", "podDisruptionBudget.maxUnavailable blocks", true},
		{"budget of no part", budget + "maxUnavailable: 0%}", "podDisruptionBudget.maxUnavailable blocks", true},
		{"budget of one left", budget + "minAvailable: 1}", "podDisruptionBudget.minAvailable blocks", true},
		{"budget of none left", budget + "minAvailable: 0, maxUnavailable: 0}", "WARNING", false},
		{"bus", "nats: {url: 'nats://n.x:4222'}", "subjects pushover.messages.>, of nats://n.x:4222.", true},
		{"bus of nobody's choice", "", "nats://nats:4222 (the chart's default", true},
		{"Kafka", "{sink: kafka, kafka: {brokers: ['k:9092']}}", "topic pushover.messages of k:9092.", true},
		{"server for itself", "{nats: {url: ''}, persistence: {enabled: true}}", "no other pod can reach", true},
		{"first event", "", "exec deploy/rel-pushover-connector -- /pushover-connector tail -f", true},
		{"first event on stdout", "sink: stdout", "tail -f", false},
		{"logs of the tests", "", "--logs", true},
		{"logs of tests in another namespace", "namespaceOverride: x", "--logs", false},
		{"how to get those", "namespaceOverride: x", "kubectl --namespace x logs --selector app.kubernetes.io/component=test,app.kubernetes.io/instance=rel,", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, notes, err := tryRender(t, release{name: "rel", namespace: "ns"}, values(t, test.values))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(notes, test.part) != test.want {
				t.Errorf("%s: want %q in the notes: %v, got\n%s", test.values, test.part, test.want, notes)
			}
		})
	}
}

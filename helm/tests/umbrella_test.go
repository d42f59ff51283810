package tests

import (
	"testing"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
)

// underUmbrella renders the chart as a dependency with a condition and a tag.
func underUmbrella(t *testing.T, text string) []object {
	t.Helper()
	sub := load(t)
	umbrella := &chart.Chart{
		Metadata: &chart.Metadata{
			APIVersion: chart.APIVersionV2, Name: "umbrella", Version: "1.0.0",
			Dependencies: []*chart.Dependency{{
				Name: sub.Name(), Version: sub.Metadata.Version,
				Condition: sub.Name() + ".enabled", Tags: []string{"alerting"},
			}},
		},
		Values: map[string]any{},
	}
	umbrella.AddDependency(sub)
	v := values(t, text)
	if err := chartutil.ProcessDependencies(umbrella, v); err != nil {
		t.Fatal(err)
	}
	objects, _, err := renderChart(t, umbrella, release{name: "rel", namespace: "ns"}, v)
	if err != nil {
		t.Fatalf("render with\n%s\n%v", text, err)
	}
	return objects
}

// TestUmbrellaSwitchesTheChart: the condition's key reaches the chart's values
// and its schema, and neither it nor its absence gets in the way of tags.
func TestUmbrellaSwitchesTheChart(t *testing.T) {
	for values, want := range map[string]bool{
		"pushover-connector: {enabled: true}":                            true,
		"pushover-connector: {enabled: false}":                           false,
		"pushover-connector: {}":                                         true,
		"tags: {alerting: false}":                                        false,
		"{tags: {alerting: false}, pushover-connector: {enabled: true}}": true,
	} {
		if got := has(underUmbrella(t, values), "Deployment"); got != want {
			t.Errorf("%s: got a Deployment: %v, want %v", values, got, want)
		}
	}
}

// TestUmbrellaNamesItsBusByRelease gives the chart the Service of another chart
// of the same release, and values that are for all charts.
func TestUmbrellaNamesItsBusByRelease(t *testing.T) {
	objects := underUmbrella(t, `
global: {imageRegistry: mirror, domain: example.org}
pushover-connector:
  enabled: true
  nats: {url: "nats://{{ .Release.Name }}-nats.{{ .Values.global.domain }}:4222"}
`)
	if got, want := env(t, objects)["NATS_URL"], "nats://rel-nats.example.org:4222"; got != want {
		t.Errorf("got NATS_URL %s, want %s", got, want)
	}
	if got, want := at(podSpec(t, objects), "containers.0.image"), "mirror/pushover-connector/pushover-connector:0.1.0"; got != want {
		t.Errorf("got image %v, want %s", got, want)
	}
}

// TestConditionDoesNothingByItself: without an umbrella the key changes nothing.
func TestConditionDoesNothingByItself(t *testing.T) {
	if on, off := text(render(t, "enabled: true")), text(render(t, "enabled: false")); on != off || on != text(render(t, "")) {
		t.Error("the key enabled changes what is rendered")
	}
}

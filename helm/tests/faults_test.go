package tests

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestAlertsLookAtTheirReleaseOnly: with two releases each alert would fire
// twice, and absent() would not see that one of them is gone.
func TestAlertsLookAtTheirReleaseOnly(t *testing.T) {
	rules := at(find(t, render(t, "metrics: {prometheusRule: {enabled: true}}"), "PrometheusRule").fields, "spec.groups.0.rules").([]any)
	const scope = `{namespace="ns",pod=~"rel-pushover-connector-[a-z0-9]+-[a-z0-9]+"`
	metric := regexp.MustCompile(`(pushover_connector|process)_[a-z_]+`)
	for _, r := range rules {
		expr := fmt.Sprint(at(r, "expr"))
		places := metric.FindAllStringIndex(expr, -1)
		if len(places) == 0 {
			t.Errorf("%v names no metric: %s", at(r, "alert"), expr)
		}
		for _, p := range places {
			rest, ok := strings.CutPrefix(expr[p[1]:], scope)
			if !ok || (rest[0] != ',' && rest[0] != '}') {
				t.Errorf("%v: %s is not of this release alone: %s", at(r, "alert"), expr[p[0]:p[1]], expr)
			}
		}
	}
}

// TestMemoryLimitOfGo: 90 % of the container's limit, in bytes.
func TestMemoryLimitOfGo(t *testing.T) {
	for values, want := range map[string]string{
		"":                                     "120795955",
		"resources: {limits: {memory: 1.5Gi}}": "1449551462",
		"resources: {limits: {memory: 100M}}":  "90000000",
		"resources: {limits: {memory: 1000}}":  "900",
		"resources: {limits: {memory: 1e8}}":   "90000000",
		"resources: {limits: {memory: null}}":  "",
		"resources: null":                      "",
		"verticalPodAutoscaler: {enabled: true, updateMode: Initial}": "",
		"extraEnv: [{name: GOMEMLIMIT, value: '5'}]":                  "5",
	} {
		if got := env(t, render(t, values))["GOMEMLIMIT"]; got != want {
			t.Errorf("%q: got %q, want %q", values, got, want)
		}
	}
}

// TestEmbeddedServerWithAMadeUpPassword: a type and no secret is enough for the
// server to be read from the cluster.
func TestEmbeddedServerWithAMadeUpPassword(t *testing.T) {
	const text = "{nats: {url: '', auth: {type: password}}, persistence: {enabled: true}}"
	objects := render(t, text)
	secret := find(t, objects, "Secret")
	password := func(o object) string {
		raw, err := base64.StdEncoding.DecodeString(fmt.Sprint(at(o.fields, "data.password")))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	if p := password(secret); len(p) < 20 || p == password(find(t, render(t, text), "Secret")) {
		t.Errorf("got the password %q, want a long one that no other installation has", p)
	}
	if got := at(podSpec(t, objects), "volumes.0.projected.sources.1.secret.name"); got != secret.name() {
		t.Errorf("the pod mounts %v, the password is in %s", got, secret.name())
	}
	if e := env(t, objects); e["NATS_USER"] != "reader" || e["NATS_LISTEN"] != ":4222" || e["NATS_PASSWORD_FILE"] == "" {
		t.Errorf("got %v", e)
	}
	if !strings.Contains(secret.text, "helm.sh/resource-policy: keep") {
		t.Error("an uninstalled release takes the password of its volume along")
	}
	_, notes, err := tryRender(t, release{name: "rel", namespace: "ns"}, values(t, text))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nats://rel-pushover-connector.ns:4222, user reader", `get secret rel-pushover-connector-nats --output go-template='{{ index .data "password" | base64decode }}'`} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
}

package tests

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// hooks are the pods of "helm test", by the end of their names.
func hooks(t *testing.T, text string) map[string]corev1.PodSpec {
	t.Helper()
	pods := map[string]corev1.PodSpec{}
	for _, o := range render(t, text) {
		if o.kind() == "Pod" {
			pods[strings.TrimPrefix(o.name(), "rel-pushover-connector-")] = spec(t, at(o.fields, "spec"))
		}
	}
	return pods
}

// TestEachHookPodHasOneContainer: Helm 3 asks for a pod's logs without naming a
// container, which the API server refuses if there are two. Helm also asks every
// test hook for logs, and so each has to be a pod.
func TestEachHookPodHasOneContainer(t *testing.T) {
	all := ciValues(t)
	all["defaults"] = nil
	for name, v := range all {
		objects, _, err := tryRender(t, release{name: "rel", namespace: "ns"}, v)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			annotations, _ := at(o.fields, "metadata.annotations").(map[string]any)
			if annotations["helm.sh/hook"] == nil {
				continue
			}
			if o.kind() != "Pod" {
				t.Errorf("%s: hook %s is a %s, of which there are no logs", name, o.name(), o.kind())
				continue
			}
			if s := spec(t, at(o.fields, "spec")); len(s.Containers)+len(s.InitContainers) != 1 {
				t.Errorf("%s: pod %s has %d containers, want 1", name, o.name(), len(s.Containers)+len(s.InitContainers))
			}
		}
	}
}

// TestHookPodsHaveWhatTheyNeed: the one that asks for readiness has nothing to
// read, the one that checks has the secrets, and the volume only for the
// credentials of a login.
func TestHookPodsHaveWhatTheyNeed(t *testing.T) {
	const login = "pushover: {login: {enabled: true, email: e, password: p}}, persistence: {enabled: true"
	for _, test := range []struct {
		name, values  string
		check         bool
		claim, beside bool // of the pod that checks
	}{
		{"external bus", "", true, false, false},
		{"login", "{" + login + "}}", true, true, true},
		{"login, paused", "{" + login + "}, replicaCount: 0}", true, true, false},
		{"login, volume for one pod", "{" + login + ", accessModes: [ReadWriteOncePod]}}", true, false, false},
		{"server inside for others", "{nats: {url: '', auth: {type: token, value: t}}, persistence: {enabled: true}}", true, false, false},
		{"server inside for itself", "{nats: {url: ''}, persistence: {enabled: true}}", false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			pods := hooks(t, test.values)
			ready, ok := pods["ready"]
			if !ok || len(ready.Volumes) > 0 || len(ready.Containers[0].VolumeMounts) > 0 || len(ready.Containers[0].Env) != 1 || ready.Affinity != nil {
				t.Errorf("the pod that asks for readiness has more than its address: %+v", ready)
			}
			check, ok := pods["check"]
			if ok != test.check {
				t.Fatalf("got a pod that checks: %v, want %v", ok, test.check)
			}
			if !ok {
				return
			}
			claim := slices.ContainsFunc(check.Volumes, func(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil })
			if claim != test.claim {
				t.Errorf("got the claim mounted: %v, want %v", claim, test.claim)
			}
			if beside := check.Affinity != nil; beside != test.beside {
				t.Errorf("got it beside the connector: %v, want %v", beside, test.beside)
			}
			if !slices.ContainsFunc(check.Volumes, func(v corev1.Volume) bool { return v.Projected != nil }) {
				t.Error("it has no secrets")
			}
		})
	}
}

// TestHookAsksTheServersOwnPort: from another pod the server inside the connector
// is at its Service.
func TestHookAsksTheServersOwnPort(t *testing.T) {
	check := hooks(t, "{nats: {url: '', auth: {type: token, value: t}}, persistence: {enabled: true}, service: {natsPort: 4333}}")["check"]
	if !slices.Contains(check.Containers[0].Env, corev1.EnvVar{Name: "NATS_URL", Value: "nats://rel-pushover-connector.ns:4333"}) {
		t.Errorf("got %v", check.Containers[0].Env)
	}
}

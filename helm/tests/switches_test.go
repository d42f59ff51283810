package tests

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestEachSwitch turns one thing on at a time and looks for what it must bring
// about.
func TestEachSwitch(t *testing.T) {
	pod := func(path string) func(*testing.T, []object) any {
		return func(t *testing.T, o []object) any { return at(podSpec(t, o), path) }
	}
	deployment := func(path string) func(*testing.T, []object) any {
		return func(t *testing.T, o []object) any { return at(find(t, o, "Deployment").fields, path) }
	}
	variable := func(name string) func(*testing.T, []object) any {
		return func(t *testing.T, o []object) any { return env(t, o)[name] }
	}
	of := func(kind, path string) func(*testing.T, []object) any {
		return func(t *testing.T, o []object) any { return at(find(t, o, kind).fields, path) }
	}
	const user = "{mechanism: PLAIN, username: u, password: p}"
	const oauth = "{mechanism: OAUTHBEARER, existingSecret: s, oauth: {tokenUrl: 'https://t:8443/token', clientId: c}}"
	for _, test := range []struct {
		name, values string
		get          func(*testing.T, []object) any
		want         any
	}{
		{"name", "nameOverride: x", of("Service", "metadata.name"), "rel-x"},
		{"full name", "fullnameOverride: x", of("Service", "metadata.name"), "x"},
		{"namespace", "namespaceOverride: x", of("Service", "metadata.namespace"), "x"},
		{"tag", "image: {tag: v9}", pod("containers.0.image"), "ghcr.io/pushover-connector/pushover-connector:v9"},
		{"digest", "image: {tag: v9, digest: 'sha256:" + strings.Repeat("0", 64) + "'}", pod("containers.0.image"), "ghcr.io/pushover-connector/pushover-connector@sha256:" + strings.Repeat("0", 64)},
		{"registry", "image: {registry: r}", pod("containers.0.image"), "r/pushover-connector/pushover-connector:0.1.0"},
		{"no registry", "image: {registry: ''}", pod("containers.0.image"), "pushover-connector/pushover-connector:0.1.0"},
		{"global registry", "global: {imageRegistry: g}", pod("containers.0.image"), "g/pushover-connector/pushover-connector:0.1.0"},
		{"pull policy", "image: {pullPolicy: Never}", pod("containers.0.imagePullPolicy"), "Never"},
		{"pull secrets", "{imagePullSecrets: [a, {name: b}], global: {imagePullSecrets: [c, {name: a}]}}", pod("imagePullSecrets"), []any{named("c"), named("a"), named("b")}},
		{"pause", "replicaCount: 0", deployment("spec.replicas"), 0},
		{"existing secret", "pushover: {existingSecret: s}", pod("volumes.0.projected.sources.0.secret.name"), "s"},
		{"key of it", "pushover: {existingSecret: s, existingSecretKey: k}", pod("volumes.0.projected.sources.0.secret.items.0.key"), "k"},
		{"path of it", "pushover: {existingSecret: s, existingSecretKey: k}", pod("volumes.0.projected.sources.0.secret.items.0.path"), "credentials.json"},
		{"default secret", "", pod("volumes.0.projected.sources.0.secret.name"), "rel-pushover-connector-credentials"},
		{"device", "pushover: {deviceName: d}", variable("PUSHOVER_DEVICE_NAME"), "d"},
		{"login file", "{pushover: {login: {enabled: true, email: e, password: p}}, persistence: {enabled: true}}", variable("PUSHOVER_CREDENTIALS_FILE"), "/data/credentials.json"},
		{"login e-mail", "{pushover: {login: {enabled: true, email: e, password: p}}, persistence: {enabled: true}}", variable("PUSHOVER_EMAIL"), "e"},
		{"login e-mail of a secret", "{pushover: {login: {enabled: true, existingSecret: s, emailKey: k}}, persistence: {enabled: true}}", variable("PUSHOVER_EMAIL"), "s/k"},
		{"login password", "{pushover: {login: {enabled: true, existingSecret: s, emailKey: k}}, persistence: {enabled: true}}", variable("PUSHOVER_PASSWORD_FILE"), "/etc/pushover-connector/login-password"},
		{"API", "pushover: {apiUrl: 'https://x'}", variable("PUSHOVER_API_URL"), "https://x"},
		{"stream", "pushover: {streamUrl: 'wss://x'}", variable("PUSHOVER_STREAM_URL"), "wss://x"},
		{"plain text", "pushover: {allowPlaintext: true}", variable("PUSHOVER_ALLOW_PLAINTEXT"), "true"},
		{"CA", "pushover: {ca: PEM}", of("ConfigMap", "data.pushover-ca\\.crt"), nil},
		{"e2ee", "pushover: {e2ee: {existingSecret: s}}", variable("PUSHOVER_E2EE_KEYS_FILE"), "/etc/pushover-connector/e2ee-keys"},
		{"sink", "sink: stdout", variable("SINK"), "stdout"},
		{"event mode", "eventMode: binary", variable("EVENT_MODE"), "binary"},
		{"clear delay", "clearDelay: 1h30m", variable("CLEAR_DELAY"), "1h30m"},
		{"NATS", "nats: {url: 'tls://n:1'}", variable("NATS_URL"), "tls://n:1"},
		{"NATS by template", "nats: {url: 'nats://{{ .Release.Name }}-nats:4222'}", variable("NATS_URL"), "nats://rel-nats:4222"},
		{"NATS by template of all", "nats: {url: '{{ printf \"ws://%s/path\" .Release.Name }}'}", variable("NATS_URL"), "ws://rel/path"},
		{"NATS embedded by template", "{nats: {url: '{{ .Values.global.none }}'}, persistence: {enabled: true}}", variable("DATA_DIR"), "/data"},
		{"NATS credentials", "nats: {auth: {type: creds, existingSecret: s}}", variable("NATS_CREDS_FILE"), "/etc/pushover-connector/nats-auth"},
		{"NATS nkey", "nats: {auth: {type: nkey, existingSecret: s}}", variable("NATS_NKEY_FILE"), "/etc/pushover-connector/nats-auth"},
		{"NATS token", "nats: {auth: {type: token, existingSecret: s}}", variable("NATS_TOKEN_FILE"), "/etc/pushover-connector/nats-auth"},
		{"NATS user", "nats: {auth: {type: password, existingSecret: s, userKey: k}}", variable("NATS_USER"), "s/k"},
		{"embedded NATS", "{nats: {url: ''}, persistence: {enabled: true}}", variable("DATA_DIR"), "/data"},
		{"embedded NATS without a password", "{nats: {url: ''}, persistence: {enabled: true}}", variable("NATS_LISTEN"), ""},
		{"embedded NATS with a password", "{nats: {url: '', auth: {type: token, value: t}}, persistence: {enabled: true}}", variable("NATS_LISTEN"), ":4222"},
		{"its port", "{nats: {url: '', auth: {type: token, value: t}}, persistence: {enabled: true}, service: {natsPort: 5}}", of("Service", "spec.ports.1.port"), 5},
		{"Kafka", "{sink: kafka, kafka: {brokers: ['a:1', 'b:2']}}", variable("KAFKA_BROKERS"), "a:1,b:2"},
		{"Kafka by template", "{sink: kafka, kafka: {brokers: ['{{ .Release.Name }}-kafka:9092', '{{ \"b:2\" }}']}}", variable("KAFKA_BROKERS"), "rel-kafka:9092,b:2"},
		{"Kafka password", "{sink: kafka, kafka: {brokers: ['a:1'], sasl: " + user + "}}", variable("KAFKA_PASSWORD_FILE"), "/etc/pushover-connector/kafka-password"},
		{"Kafka sets nothing of NATS", "{sink: kafka, kafka: {brokers: ['a:1']}}", variable("NATS_URL"), ""},
		{"Kafka TLS", "{sink: kafka, kafka: {brokers: ['a:1'], tls: {enabled: true}}}", variable("KAFKA_TLS"), "true"},
		{"log level", "log: {level: debug}", variable("LOG_LEVEL"), "debug"},
		{"log format", "log: {format: text}", variable("LOG_FORMAT"), "text"},
		{"claim", "persistence: {enabled: true, existingClaim: c}", pod("volumes.1.persistentVolumeClaim.claimName"), "c"},
		{"storage class", "persistence: {enabled: true, storageClass: c}", of("PersistentVolumeClaim", "spec.storageClassName"), "c"},
		{"no storage class", "persistence: {enabled: true, storageClass: '-'}", of("PersistentVolumeClaim", "spec.storageClassName"), ""},
		{"size", "persistence: {enabled: true, size: 5Gi}", of("PersistentVolumeClaim", "spec.resources.requests.storage"), "5Gi"},
		{"claim is kept", "persistence: {enabled: true}", of("PersistentVolumeClaim", "metadata.annotations"), map[string]any{"helm.sh/resource-policy": "keep"}},
		{"claim is not kept", "persistence: {enabled: true, retain: false}", of("PersistentVolumeClaim", "metadata.annotations"), nil},
		{"service type", "service: {type: NodePort}", of("Service", "spec.type"), "NodePort"},
		{"service of a pod that is not ready", "", of("Service", "spec.publishNotReadyAddresses"), true},
		{"service port", "service: {port: 81}", of("Service", "spec.ports.0.port"), 81},
		{"container port", "containerPort: 9000", variable("HTTP_ADDR"), ":9000"},
		{"no service account", "serviceAccount: {create: false}", pod("serviceAccountName"), "default"},
		{"service account", "serviceAccount: {name: x}", pod("serviceAccountName"), "x"},
		{"grace period", "terminationGracePeriodSeconds: 21", pod("terminationGracePeriodSeconds"), 21},
		{"history", "revisionHistoryLimit: 9", deployment("spec.revisionHistoryLimit"), 9},
		{"min ready", "minReadySeconds: 9", deployment("spec.minReadySeconds"), 9},
		{"strategy", "", deployment("spec.strategy.type"), "Recreate"},
		{"no startup probe", "startupProbe: {enabled: false}", pod("containers.0.startupProbe"), nil},
		{"no liveness probe", "livenessProbe: {enabled: false}", pod("containers.0.livenessProbe"), nil},
		{"no readiness probe", "readinessProbe: {enabled: false}", pod("containers.0.readinessProbe"), nil},
		{"liveness", "", pod("containers.0.livenessProbe.httpGet.path"), "/livez"},
		{"readiness", "", pod("containers.0.readinessProbe.httpGet.path"), "/readyz"},
		{"startup probe of nothing", "startupProbe: null", pod("containers.0.startupProbe"), nil},
		{"liveness probe of nothing", "livenessProbe: null", pod("containers.0.livenessProbe"), nil},
		{"readiness probe of nothing", "readinessProbe: null", pod("containers.0.readinessProbe"), nil},
		{"probe of another kind", "livenessProbe: {tcpSocket: {port: http}}", pod("containers.0.livenessProbe.httpGet"), nil},
		{"resources", "resources: {requests: {cpu: 1}}", pod("containers.0.resources.requests.cpu"), 1},
		{"node", "nodeSelector: {a: b}", pod("nodeSelector.a"), "b"},
		{"priority class", "priorityClassName: x", pod("priorityClassName"), "x"},
		{"runtime class", "runtimeClassName: x", pod("runtimeClassName"), "x"},
		{"scheduler", "schedulerName: x", pod("schedulerName"), "x"},
		{"DNS policy", "dnsPolicy: Default", pod("dnsPolicy"), "Default"},
		{"host users", "hostUsers: false", pod("hostUsers"), false},
		{"host users unset", "", pod("hostUsers"), nil},
		{"variables", "extraEnv: [{name: X, value: '{{ .Release.Name }}'}]", variable("X"), "rel"},
		{"sidecar", "sidecars: [{name: '{{ .Release.Name }}', image: i}]", pod("containers.1.name"), "rel"},
		{"init container", "initContainers: [{name: x, image: i}]", pod("initContainers.0.name"), "x"},
		{"pod annotation", "podAnnotations: {a: '{{ .Release.Name }}'}", deployment("spec.template.metadata.annotations.a"), "rel"},
		{"pod label", "podLabels: {a: b}", deployment("spec.template.metadata.labels.a"), "b"},
		{"common label", "commonLabels: {a: b}", of("Service", "metadata.labels.a"), "b"},
		{"common annotation", "commonAnnotations: {a: b}", of("Service", "metadata.annotations.a"), "b"},
		{"deployment annotation", "deploymentAnnotations: {a: b}", deployment("metadata.annotations.a"), "b"},
		{"monitor's labels", "metrics: {serviceMonitor: {enabled: true, labels: {a: b}}}", of("ServiceMonitor", "metadata.labels.a"), "b"},
		{"monitor's namespace", "metrics: {podMonitor: {enabled: true, namespace: m}}", of("PodMonitor", "metadata.namespace"), "m"},
		{"dashboard's label", "metrics: {dashboard: {enabled: true}}", of("ConfigMap", "metadata.labels.grafana_dashboard"), "1"},
		{"last words", "", pod("containers.0.terminationMessagePolicy"), "FallbackToLogsOnError"},
		{"no minimum of seconds", "", deployment("spec.minReadySeconds"), nil},
		{"minimum of seconds", "minReadySeconds: 3", deployment("spec.minReadySeconds"), 3},
		{"mode of secrets", "", pod("volumes.0.projected.defaultMode"), 0o440},
		{"created credentials stay", "pushover: {credentials: {secret: s, deviceId: d}}", func(t *testing.T, o []object) any {
			return at(find(t, o, "Secret").fields, "metadata.annotations").(map[string]any)["helm.sh/resource-policy"]
		}, "keep"},
		{"pod's field", "podSpec: {shareProcessNamespace: true}", pod("shareProcessNamespace"), true},
		{"pod's field replaced", "podSpec: {enableServiceLinks: true}", pod("enableServiceLinks"), true},
		{"container's field", "container: {tty: true}", pod("containers.0.tty"), true},
		{"container's other fields", "container: {tty: true}", pod("containers.0.args"), []any{"run"}},
		{"lost node", "", pod("tolerations.1.tolerationSeconds"), 15},
		{"lost node beside another taint", "tolerations: [{key: a}]", pod("tolerations.2.key"), "a"},
		{"lost node left to the cluster", "nodeLossSeconds: null", pod("tolerations"), nil},
		{"node port", "service: {type: NodePort, nodePort: 30080}", of("Service", "spec.ports.0.nodePort"), 30080},
		{"field of the Service", "service: {spec: {ipFamilyPolicy: SingleStack}}", of("Service", "spec.ipFamilyPolicy"), "SingleStack"},
		{"field of the claim", "persistence: {enabled: true, spec: {volumeName: v}}", of("PersistentVolumeClaim", "spec.volumeName"), "v"},
		{"label of the claim", "persistence: {enabled: true, labels: {a: b}}", of("PersistentVolumeClaim", "metadata.labels.a"), "b"},
		{"directory of the volume", "persistence: {enabled: true, subPath: p}", pod("containers.0.volumeMounts.1.subPath"), "p"},
		{"field of an endpoint", "metrics: {serviceMonitor: {enabled: true, endpoint: {honorLabels: true}}}", of("ServiceMonitor", "spec.endpoints.0.honorLabels"), true},
		{"field of a monitor", "metrics: {podMonitor: {enabled: true, spec: {sampleLimit: 5}}}", of("PodMonitor", "spec.sampleLimit"), 5},
		{"DNS of OpenShift", "networkPolicy: {enabled: true}", of("NetworkPolicy", "spec.egress.0.ports.2"), map[string]any{"port": 5353, "protocol": "UDP"}},
		{"budget for pods that are not ready", "podDisruptionBudget: {enabled: true}", of("PodDisruptionBudget", "spec.unhealthyPodEvictionPolicy"), "AlwaysAllow"},
		{"budget", "podDisruptionBudget: {enabled: true}", of("PodDisruptionBudget", "spec.maxUnavailable"), 1},
		{"budget of available ones", "podDisruptionBudget: {enabled: true, minAvailable: 0}", of("PodDisruptionBudget", "spec"), nil},
		{"budget without the other number", "podDisruptionBudget: {enabled: true, minAvailable: 1, maxUnavailable: null}", of("PodDisruptionBudget", "spec.minAvailable"), 1},
		{"budget with a number of nothing", "podDisruptionBudget: {enabled: true, minAvailable: null}", of("PodDisruptionBudget", "spec.maxUnavailable"), 1},
		{"autoscaler", "verticalPodAutoscaler: {enabled: true, updateMode: Initial}", of("VerticalPodAutoscaler", "spec.updatePolicy.updateMode"), "Initial"},
		{"Pushover's port", "networkPolicy: {enabled: true}", of("NetworkPolicy", "spec.egress.1.ports"), []any{port(443)}},
		{"Pushover's port by a proxy", "{networkPolicy: {enabled: true}, pushover: {apiUrl: 'https://p:8443/x:1', streamUrl: 'wss://p:8444'}}", of("NetworkPolicy", "spec.egress.1.ports"), []any{port(8443), port(8444)}},
		{"Pushover's port by half a proxy", "{networkPolicy: {enabled: true}, pushover: {apiUrl: 'https://[fd00::1]:8443'}}", of("NetworkPolicy", "spec.egress.1.ports"), []any{port(8443), port(443)}},
		{"broker's port", "{networkPolicy: {enabled: true}, nats: {url: 'nats://a:4333,wss://b'}}", of("NetworkPolicy", "spec.egress.2.ports"), []any{port(4333), port(443)}},
		{"broker's port by template", "{networkPolicy: {enabled: true}, nats: {url: 'nats://a:{{ 4333 }}, tls://[fd00::1]'}}", of("NetworkPolicy", "spec.egress.2.ports"), []any{port(4333), port(4222)}},
		{"Kafka's port by template", "{networkPolicy: {enabled: true}, sink: kafka, kafka: {brokers: ['a:{{ 9094 }}']}}", of("NetworkPolicy", "spec.egress.2.ports"), []any{port(9094)}},
		{"token endpoint's port", "{networkPolicy: {enabled: true}, sink: kafka, kafka: {brokers: ['a:9092'], sasl: " + oauth + "}}", of("NetworkPolicy", "spec.egress.3.ports"), []any{port(8443)}},
		{"token endpoint's place", "{networkPolicy: {enabled: true, tokenTo: [{podSelector: {}}]}, sink: kafka, kafka: {brokers: ['a:9092'], sasl: " + oauth + "}}", of("NetworkPolicy", "spec.egress.3.to"), []any{map[string]any{"podSelector": map[string]any{}}}},
		{"no token endpoint", "{networkPolicy: {enabled: true}, sink: kafka, kafka: {brokers: ['a:9092']}}", of("NetworkPolicy", "spec.egress.3"), nil},
		{"Kafka's port", "{networkPolicy: {enabled: true}, sink: kafka, kafka: {brokers: ['a:9092', 'b:9092']}}", of("NetworkPolicy", "spec.egress.2.ports"), []any{port(9092)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			objects := render(t, test.values)
			got := test.get(t, objects)
			switch test.name {
			case "CA": // the key has a dot, which a path cannot say
				got, test.want = at(find(t, objects, "ConfigMap").fields, "data").(map[string]any)["pushover-ca.crt"], "PEM"
			case "budget of available ones":
				s := got.(map[string]any)
				got, test.want = fmt.Sprint(s["minAvailable"], s["maxUnavailable"]), "0 <nil>"
			}
			if g, w := toJSON(t, got), toJSON(t, test.want); g != w {
				t.Errorf("%s: got %s, want %s", test.values, g, w)
			}
		})
	}
}

func named(name string) any { return map[string]any{"name": name} }
func port(n int) any        { return map[string]any{"port": n, "protocol": "TCP"} }

func toJSON(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestOptionalObjectsAreOffByDefault also names each object's switch.
func TestOptionalObjectsAreOffByDefault(t *testing.T) {
	none := render(t, "")
	for kind, values := range map[string]string{
		"ServiceMonitor":        "metrics: {serviceMonitor: {enabled: true}}",
		"PodMonitor":            "metrics: {podMonitor: {enabled: true}}",
		"PrometheusRule":        "metrics: {prometheusRule: {enabled: true}}",
		"ConfigMap":             "metrics: {dashboard: {enabled: true}}",
		"NetworkPolicy":         "networkPolicy: {enabled: true}",
		"PodDisruptionBudget":   "podDisruptionBudget: {enabled: true}",
		"VerticalPodAutoscaler": "verticalPodAutoscaler: {enabled: true}",
		"PersistentVolumeClaim": "persistence: {enabled: true}",
		"Secret":                "pushover: {credentials: {secret: s, deviceId: d}}",
	} {
		if has(none, kind) {
			t.Errorf("%s is there by default", kind)
		}
		if !has(render(t, values), kind) {
			t.Errorf("%s: no %s", values, kind)
		}
	}
	for kind, values := range map[string]string{
		"ServiceAccount": "serviceAccount: {create: false}",
		"Pod":            "tests: {enabled: false}",
	} {
		if !has(none, kind) || has(render(t, values), kind) {
			t.Errorf("%s does not switch %s off", values, kind)
		}
	}
}

// TestCreatedCredentialsAreTheProgramsFile decodes the created Secret as the
// program would.
func TestCreatedCredentialsAreTheProgramsFile(t *testing.T) {
	objects := render(t, `pushover: {deviceName: d1, credentials: {secret: 'a"b', deviceId: id}}`)
	data, _ := at(find(t, objects, "Secret").fields, "data").(map[string]any)
	raw, err := base64.StdEncoding.DecodeString(fmt.Sprint(data["credentials.json"]))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"secret": `a"b`, "device_id": "id", "device_name": "d1"}; toJSON(t, got) != toJSON(t, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestUpgradeFromExistingToCreatedSecret changes only what must change: the
// selector of a Deployment cannot.
func TestUpgradeFromExistingToCreatedSecret(t *testing.T) {
	before := render(t, "pushover: {existingSecret: s}")
	after, _, err := tryRender(t, release{name: "rel", namespace: "ns", upgrade: true},
		values(t, "pushover: {credentials: {secret: a, deviceId: b}}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"metadata.name", "spec.selector", "spec.template.metadata.labels"} {
		b, a := at(find(t, before, "Deployment").fields, path), at(find(t, after, "Deployment").fields, path)
		if toJSON(t, b) != toJSON(t, a) {
			t.Errorf("%s changed from %v to %v", path, b, a)
		}
	}
	source := at(podSpec(t, after), "volumes.0.projected.sources.0.secret.name")
	if want := find(t, after, "Secret").name(); source != want {
		t.Errorf("the pod mounts Secret %v, the chart creates %s", source, want)
	}
}

// TestChangedValuesRestartThePod: what is read at start only must change the
// pod's template, or a change would have no effect; what is read again must not.
func TestChangedValuesRestartThePod(t *testing.T) {
	template := func(values string) string {
		return toJSON(t, at(find(t, render(t, values), "Deployment").fields, "spec.template"))
	}
	kafka := "{sink: kafka, kafka: {brokers: ['k:1'], sasl: {mechanism: PLAIN, username: u, password: %s}}}"
	for name, pair := range map[string][2]string{
		"Kafka password": {fmt.Sprintf(kafka, "one"), fmt.Sprintf(kafka, "two")},
		"authority":      {"pushover: {ca: one}", "pushover: {ca: two}"},
		"e2ee key": {"pushover: {e2ee: {keys: ['" + strings.Repeat("0", 64) + "']}}",
			"pushover: {e2ee: {keys: ['" + strings.Repeat("1", 64) + "']}}"},
	} {
		if template(pair[0]) == template(pair[1]) {
			t.Errorf("a changed %s does not restart the pod", name)
		}
	}
	one, two := "pushover: {credentials: {secret: one, deviceId: d}}", "pushover: {credentials: {secret: two, deviceId: d}}"
	if template(one) != template(two) {
		t.Error("changed credentials restart the pod, though the program reads them again")
	}
}

// TestNoSecretInTheOpen looks for secret values outside Secrets.
func TestNoSecretInTheOpen(t *testing.T) {
	const secret = "in-no-place-but-a-secret"
	for _, v := range []string{
		"pushover: {credentials: {secret: %s, deviceId: %s}}",
		"{pushover: {login: {enabled: true, email: e, password: %s}}, persistence: {enabled: true}}",
		"nats: {auth: {type: token, value: %s}}",
		"nats: {tls: {cert: c, key: %s}}",
		"{sink: kafka, kafka: {brokers: ['k:1'], tls: {enabled: true, cert: c, key: %s}}}",
		"{sink: kafka, kafka: {brokers: ['k:1'], sasl: {mechanism: PLAIN, username: u, password: %s}}}",
		"{sink: kafka, kafka: {brokers: ['k:1'], sasl: {mechanism: OAUTHBEARER, oauth: {tokenUrl: 'https://t', clientId: c, clientSecret: %s}}}}",
	} {
		v = strings.ReplaceAll(v, "%s", secret)
		objects, notes, err := tryRender(t, release{name: "rel", namespace: "ns"}, values(t, v))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(notes, secret) {
			t.Errorf("%s: the notes show it", v)
		}
		kept := false
		for _, o := range objects {
			if o.kind() == "Secret" {
				kept = kept || strings.Contains(o.text, base64.StdEncoding.EncodeToString([]byte(secret))) ||
					slices.ContainsFunc(strings.Fields(o.text), func(f string) bool {
						raw, err := base64.StdEncoding.DecodeString(f)
						return err == nil && strings.Contains(string(raw), secret)
					})
			}
			if strings.Contains(o.text, secret) {
				t.Errorf("%s: %s %s shows it", v, o.kind(), o.name())
			}
		}
		if !kept {
			t.Errorf("%s: no Secret has it", v)
		}
	}
}

// TestDisabledAlertsAndLabels checks what the chart makes of the rules, and that
// there is no PrometheusRule without any, since the operator refuses it.
func TestDisabledAlertsAndLabels(t *testing.T) {
	rule := func(values string) map[string]any {
		return find(t, render(t, "metrics: {prometheusRule: {enabled: true, "+values+"}}"), "PrometheusRule").fields
	}
	const extra = `extraRules: [{alert: Mine, expr: "1"}]`
	some := rule("disabled: [PushoverConnectorFenced], additionalRuleLabels: {team: home, severity: page}, " + extra)
	rules := at(some, "spec.groups.0.rules").([]any)
	names := alertNames(t)
	if len(rules) != len(names)-1 {
		t.Errorf("got %d rules, want %d", len(rules), len(names)-1)
	}
	for _, r := range rules {
		if at(r, "alert") == "PushoverConnectorFenced" {
			t.Error("the disabled alert is there")
		}
		if at(r, "labels.team") != "home" || at(r, "labels.severity") != "page" {
			t.Errorf("%v: got labels %v", at(r, "alert"), at(r, "labels"))
		}
	}
	if at(some, "spec.groups.1.rules.0.alert") != "Mine" {
		t.Error("the extra rule is missing")
	}
	none := "disabled: [" + strings.Join(names, ", ") + "]"
	if has(render(t, "metrics: {prometheusRule: {enabled: true, "+none+"}}"), "PrometheusRule") {
		t.Error("without alerts there is a PrometheusRule")
	}
	if got := at(rule(none+", "+extra), "spec.groups").([]any); len(got) != 1 || at(got, "0.rules.0.alert") != "Mine" {
		t.Errorf("with the extra rule only, got groups %v", got)
	}
}

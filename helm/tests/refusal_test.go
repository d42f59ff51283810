package tests

import (
	"strings"
	"testing"
)

// TestSchemaNamesTheTypo takes values as people mistype them. Each is refused
// with a message that names the key.
func TestSchemaNamesTheTypo(t *testing.T) {
	for _, test := range []struct{ name, values, want string }{
		{"unknown key", "pushovr: {}", "pushovr"},
		{"misspelt secret", "pushover: {existingSecrt: x}", "existingSecrt"},
		{"misspelt in depth", "nats: {auth: {exitingSecret: x}}", "exitingSecret"},
		{"misspelt switch", "metrics: {servicemonitor: {enabled: true}}", "servicemonitor"},
		{"number for a tag", "image: {tag: 1.10}", "/image/tag"},
		{"digest without algorithm", "image: {digest: abc}", "/image/digest"},
		{"pull policy", "image: {pullPolicy: always}", "/image/pullPolicy"},
		{"two replicas", "replicaCount: 2", "/replicaCount"},
		{"text for a switch", "persistence: {enabled: 'yes'}", "/persistence/enabled"},
		{"unknown sink", "sink: rabbitmq", "/sink"},
		{"wrong URL scheme", "nats: {url: 'http://nats:4222'}", "/nats/url"},
		{"password in the URL", "nats: {url: 'nats://user:pass@nats:4222'}", "/nats/url"},
		{"brokers as text", "kafka: {brokers: 'a:9092,b:9092'}", "/kafka/brokers"},
		{"broker without port", "kafka: {brokers: [kafka]}", "/kafka/brokers/0"},
		{"SASL mechanism", "kafka: {sasl: {mechanism: SCRAM}}", "/kafka/sasl/mechanism"},
		{"short key", "pushover: {e2ee: {keys: [abc]}}", "/pushover/e2ee/keys/0"},
		{"device name", "pushover: {deviceName: 'my device'}", "/pushover/deviceName"},
		{"annotation that is no text", "podAnnotations: {linkerd: true}", "/podAnnotations/linkerd"},
		{"list for a map", "extraEnv: {A: b}", "/extraEnv"},
		{"duration without unit", "clearDelay: '30'", "/clearDelay"},
		{"log level", "log: {level: verbose}", "/log/level"},
		{"privileged port", "containerPort: 80", "/containerPort"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := tryRender(t, release{name: "rel", namespace: "ns"}, values(t, test.values))
			if err == nil {
				t.Fatalf("%s: got no error", test.values)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "schema") {
				t.Errorf("%s: got %q, want the schema's complaint about %s", test.values, err, test.want)
			}
		})
	}
}

// TestTemplateExplainsContradictions takes settings that need or exclude each
// other.
func TestTemplateExplainsContradictions(t *testing.T) {
	for _, test := range []struct{ name, values, want string }{
		{"two sources of credentials", "pushover: {existingSecret: a, credentials: {secret: s, deviceId: d}}", "pushover.existingSecret, pushover.credentials exclude each other"},
		{"half of the credentials", "pushover: {credentials: {secret: s}}", "pushover.credentials.deviceId"},
		{"login without a volume", "pushover: {login: {enabled: true, email: a@b.c, password: p}}", "needs persistence.enabled"},
		{"login without password", "{pushover: {login: {enabled: true, email: a@b.c}}, persistence: {enabled: true}}", "pushover.login.password"},
		{"login without e-mail", "{pushover: {login: {enabled: true, password: p}}, persistence: {enabled: true}}", "pushover.login.email"},
		{"embedded server without a volume", "nats: {url: ''}", "needs persistence.enabled"},
		{"nkey for the embedded server", "{nats: {url: '', auth: {type: nkey, value: SU}}, persistence: {enabled: true}}", "nats.auth.type nkey"},
		{"NATS without the secret", "nats: {auth: {type: token}}", "nats.auth.existingSecret"},
		{"NATS secret without a type", "nats: {auth: {existingSecret: s}}", "nats.auth.type"},
		{"NATS password without a user", "nats: {auth: {type: password, value: p}}", "nats.auth.user"},
		{"NATS certificate without key", "nats: {tls: {existingSecret: s, certKey: tls.crt}}", "nats.tls.keyKey"},
		{"NATS TLS secret without keys", "nats: {tls: {existingSecret: s}}", "nats.tls.caKey"},
		{"Kafka without brokers", "sink: kafka", "kafka.brokers"},
		{"Kafka certificates without TLS", "{sink: kafka, kafka: {brokers: ['k:9092'], tls: {ca: PEM}}}", "kafka.tls.enabled"},
		{"Kafka mechanism without password", "{sink: kafka, kafka: {brokers: ['k:9092'], sasl: {mechanism: PLAIN, username: u}}}", "kafka.sasl.password"},
		{"Kafka user without mechanism", "{sink: kafka, kafka: {brokers: ['k:9092'], sasl: {username: u}}}", "kafka.sasl.mechanism"},
		{"Kafka token from nowhere", "{sink: kafka, kafka: {brokers: ['k:9092'], sasl: {mechanism: OAUTHBEARER}}}", "kafka.sasl.oauth.tokenUrl"},
		{"short grace period", "terminationGracePeriodSeconds: 20", "terminationGracePeriodSeconds must exceed 20"},
		{"scraped twice", "metrics: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}", "metrics.podMonitor.enabled"},
		{"plain text to Pushover", "pushover: {apiUrl: 'http://sim:8800'}", "pushover.allowPlaintext"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := tryRender(t, release{name: "rel", namespace: "ns"}, values(t, test.values))
			if err == nil {
				t.Fatalf("%s: got no error", test.values)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: got %q, want it to say %q", test.values, err, test.want)
			}
		})
	}
}

func TestAllContradictionsAreToldAtOnce(t *testing.T) {
	_, _, err := tryRender(t, release{name: "rel", namespace: "ns"},
		values(t, "{sink: kafka, terminationGracePeriodSeconds: 5, pushover: {credentials: {secret: s}}}"))
	for _, want := range []string{"kafka.brokers", "terminationGracePeriodSeconds", "pushover.credentials.deviceId"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
}

// TestPassThroughTakesAnyField gives Kubernetes objects fields that no schema of
// ours could know.
func TestPassThroughTakesAnyField(t *testing.T) {
	render(t, `
global: {storageClass: of-another-chart}
securityContext: {appArmorProfile: {type: RuntimeDefault}}
podSecurityContext: {supplementalGroupsPolicy: Strict}
resources: {claims: [{name: x}]}
readinessProbe: {successThreshold: 1}
affinity: {nodeAffinity: {}}
podDisruptionBudget: {enabled: true, maxUnavailable: "50%"}
`)
}

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
		{"annotation that is not a string", "podAnnotations: {linkerd: true}", "/podAnnotations/linkerd"},
		{"list for a map", "extraEnv: {A: b}", "/extraEnv"},
		{"duration without unit", "clearDelay: '30'", "/clearDelay"},
		{"log level", "log: {level: verbose}", "/log/level"},
		{"topic with a space", "kafka: {topic: 'my topic'}", "/kafka/topic"},
		{"name with an underscore", "fullnameOverride: my_connector", "/fullnameOverride"},
		{"name that begins with a digit", "fullnameOverride: 1st", "/fullnameOverride"},
		{"namespace in capitals", "namespaceOverride: Alerting", "/namespaceOverride"},
		{"unknown alert", "metrics: {prometheusRule: {disabled: [PushoverConectorFenced]}}", "/metrics/prometheusRule/disabled/0"},
		{"arguments, of which run takes none", "extraArgs: [-v]", "extraArgs"},
		{"text for the condition", "enabled: 'no'", "/enabled"},
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
		{"short grace period", "terminationGracePeriodSeconds: 20", "terminationGracePeriodSeconds must be more than 20"},
		{"scraped twice", "metrics: {serviceMonitor: {enabled: true}, podMonitor: {enabled: true}}", "metrics.podMonitor.enabled"},
		{"login e-mail key without its secret", "{pushover: {login: {enabled: true, email: a@b.c, password: p, emailKey: k}}, persistence: {enabled: true}}", "pushover.login.emailKey needs pushover.login.existingSecret"},
		{"login password beside its secret", "{pushover: {login: {enabled: true, email: a@b.c, password: p, existingSecret: s}}, persistence: {enabled: true}}", "pushover.login.password and pushover.login.existingSecret exclude each other"},
		{"login e-mail beside its key", "{pushover: {login: {enabled: true, email: a@b.c, existingSecret: s, emailKey: k}}, persistence: {enabled: true}}", "pushover.login.email and pushover.login.emailKey exclude each other"},
		{"login that is off", "pushover: {login: {email: a@b.c, password: p}}", "need pushover.login.enabled"},
		{"login secret that is off", "pushover: {login: {existingSecret: s}}", "need pushover.login.enabled"},
		{"NATS user key without its secret", "nats: {auth: {type: password, value: p, userKey: k}}", "nats.auth.userKey needs nats.auth.existingSecret"},
		{"NATS user beside its key", "nats: {auth: {type: password, existingSecret: s, user: u, userKey: k}}", "nats.auth.user and nats.auth.userKey exclude each other"},
		{"NATS secret twice", "nats: {auth: {type: token, value: v, existingSecret: s}}", "nats.auth.value and nats.auth.existingSecret exclude each other"},
		{"NATS user without a password", "nats: {auth: {type: token, value: v, user: u}}", "need nats.auth.type password"},
		{"TLS for the embedded server", "{nats: {url: '', tls: {existingSecret: s, caKey: ca.crt}}, persistence: {enabled: true}}", "nats.tls is for an external server"},
		{"authority for the embedded server", "{nats: {url: '', tls: {ca: PEM}}, persistence: {enabled: true}}", "nats.tls is for an external server"},
		{"HTTP on the embedded server's port", "{nats: {url: ''}, containerPort: 4222, persistence: {enabled: true}}", "containerPort 4222"},
		{"two ports of one number", "{nats: {url: '', auth: {type: token, value: t}}, service: {port: 4222}, persistence: {enabled: true}}", "service.port and service.natsPort"},
		{"NATS URL by template with a password", "nats: {url: 'nats://{{ .Release.Name }}:p@nats:4222'}", "nats.url is not a list of server URLs"},
		{"NATS URL by template without scheme", "nats: {url: '{{ .Release.Name }}:4222'}", "nats.url is not a list of server URLs"},
		{"half of the NATS URLs without scheme", "nats: {url: 'nats://a:4222,b:4222'}", "nats.url is not a list of server URLs"},
		{"one stream for two purposes", "nats: {stream: S, controlStream: S}", "nats.controlStream and nats.stream are both S"},
		{"delay that stdout cannot keep", "{sink: stdout, clearDelay: 0h3m}", "clearDelay: the stdout sink cannot read back"},
		{"Kafka broker by template without port", "{sink: kafka, kafka: {brokers: ['{{ .Release.Name }}']}}", `kafka.brokers: "rel" is not host:port`},
		{"one topic for two purposes", "{sink: kafka, kafka: {brokers: ['k:9092'], resultTopic: pushover.messages}}", `kafka.resultTopic: "pushover.messages" is already kafka.topic`},
		{"one topic for two other purposes", "{sink: kafka, kafka: {brokers: ['k:9092'], controlTopic: t, deadletterTopic: t}}", `kafka.deadletterTopic: "t" is already kafka.controlTopic`},
		{"Kafka user key without its secret", "{sink: kafka, kafka: {brokers: ['k:9092'], sasl: {mechanism: PLAIN, password: p, usernameKey: k}}}", "kafka.sasl.usernameKey needs kafka.sasl.existingSecret"},
		{"Kafka user beside its key", "{sink: kafka, kafka: {brokers: ['k:9092'], sasl: {mechanism: PLAIN, existingSecret: s, username: u, usernameKey: k}}}", "kafka.sasl.username and kafka.sasl.usernameKey exclude each other"},
		{"Kafka password beside its secret", "{sink: kafka, kafka: {brokers: ['k:9092'], sasl: {mechanism: PLAIN, username: u, password: p, existingSecret: s}}}", "exclude kafka.sasl.existingSecret"},
		{"Kafka client secret beside its secret", "{sink: kafka, kafka: {brokers: ['k:9092'], sasl: {mechanism: OAUTHBEARER, existingSecret: s, oauth: {tokenUrl: 'https://t', clientId: c, clientSecret: x}}}}", "exclude kafka.sasl.existingSecret"},
		{"OAuth for another mechanism", "{sink: kafka, kafka: {brokers: ['k:9092'], sasl: {mechanism: PLAIN, username: u, password: p, oauth: {scope: s}}}}", "need kafka.sasl.mechanism OAUTHBEARER"},
		{"user for OAuth", "{sink: kafka, kafka: {brokers: ['k:9092'], sasl: {mechanism: OAUTHBEARER, existingSecret: s, username: u}}}", "are not for kafka.sasl.mechanism OAUTHBEARER"},
		{"OAuth client without an endpoint", "{sink: kafka, kafka: {brokers: ['k:9092'], sasl: {mechanism: OAUTHBEARER, existingSecret: s, oauth: {clientId: c}}}}", "need kafka.sasl.oauth.tokenUrl"},
		{"client secret in plain text", "{sink: kafka, kafka: {brokers: ['k:9092'], sasl: {mechanism: OAUTHBEARER, existingSecret: s, oauth: {tokenUrl: 'http://login.127.0.0.1.example', clientId: c}}}}", "kafka.sasl.oauth.tokenUrl must be https"},
		{"budget of nothing", "podDisruptionBudget: {enabled: true, maxUnavailable: null}", "podDisruptionBudget.enabled needs podDisruptionBudget.maxUnavailable"},
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

// TestReleaseNameThatNoServiceMayHave: Helm takes names with dots and digits in
// front, of which no Service can be made.
func TestReleaseNameThatNoServiceMayHave(t *testing.T) {
	for _, name := range []string{"1st", "alerts.example.org"} {
		v := values(t, "nameOverride: x")
		if _, _, err := tryRender(t, release{name: name, namespace: "ns"}, v); err == nil || !strings.Contains(err.Error(), "fullnameOverride") {
			t.Errorf("%s: got %v, want it to name fullnameOverride", name, err)
		}
		v["fullnameOverride"] = "alerts"
		if _, _, err := tryRender(t, release{name: name, namespace: "ns"}, v); err != nil {
			t.Errorf("%s with fullnameOverride: %v", name, err)
		}
	}
}

// TestZeroDelayAndLoopbackAreNoContradictions: what is refused nearby is fine so.
func TestZeroDelayAndLoopbackAreNoContradictions(t *testing.T) {
	render(t, "{sink: stdout, clearDelay: 0h0m}")
	render(t, "{sink: kafka, kafka: {brokers: ['k:9092'], sasl: {mechanism: OAUTHBEARER, existingSecret: s, oauth: {tokenUrl: 'http://localhost:8080/token', clientId: c}}}}")
	render(t, "{nats: {url: 'nats://a:4222, tls://b:4222/'}, service: {natsPort: 8080}}")
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

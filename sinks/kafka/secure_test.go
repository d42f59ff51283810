package kafka_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

const secretWord = "correct-horse-7431"

// startSecured starts a broker with a listener for each way to authenticate,
// and access control. Whoever comes without a name may do anything, alice and
// the holder of the client certificate too, bob nothing.
func startSecured(t *testing.T, keys pki) *kafkatest.Cluster {
	login := func(listener, mechanism, config string) (string, string) {
		return fmt.Sprintf("listener.name.%s.%s.sasl.jaas.config", listener, mechanism), config
	}
	p := map[string]string{
		"ssl.keystore.type": "PEM", "ssl.keystore.location": keys.serverKeystore,
		"ssl.truststore.type": "PEM", "ssl.truststore.location": keys.ca,
		"listener.name.mutual.ssl.client.auth": "required",
		"sasl.enabled.mechanisms":              "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
		"authorizer.class.name":                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                          "User:ANONYMOUS;User:alice;User:CN=client",
	}
	for _, l := range []string{"sasl", "saslssl"} {
		k, v := login(l, "plain", fmt.Sprintf(`org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="%s" user_bob="%s";`, secretWord, secretWord))
		p[k] = v
		for _, m := range []string{"scram-sha-256", "scram-sha-512"} {
			k, v = login(l, m, `org.apache.kafka.common.security.scram.ScramLoginModule required;`)
			p[k] = v
		}
		k, v = login(l, "oauthbearer", `org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`)
		p[k] = v
	}
	p["listener.name.saslssl.scram-sha-256.connections.max.reauth.ms"] = "1000"
	return kafkatest.Start(t, kafkatest.Options{
		Listeners: []kafkatest.Listener{
			{Name: "TLS", Protocol: "SSL"}, {Name: "MUTUAL", Protocol: "SSL"},
			{Name: "SASL", Protocol: "SASL_PLAINTEXT"}, {Name: "SASLSSL", Protocol: "SASL_SSL"},
		},
		Properties: p,
		ScramUsers: map[string]string{"alice": secretWord},
	})
}

func TestSecuredBroker(t *testing.T) {
	t.Parallel()
	keys := newPKI(t)
	cluster := startSecured(t, keys)
	t.Run("every way to authenticate works or says why not", func(t *testing.T) { testAuthentication(t, cluster, keys) })
	t.Run("refused credentials are not tried again and again", func(t *testing.T) { testRefusal(t, cluster) })
	t.Run("a session that ends is no outage", func(t *testing.T) { testSessionLifetime(t, cluster, keys) })
	t.Run("missing permissions are named with their remedy", func(t *testing.T) { testPermissions(t, cluster) })
}

// The broker hangs up on whoever has not shown credentials for a second.
func testSessionLifetime(t *testing.T, cluster *kafkatest.Cluster, keys pki) {
	c := configFor([]string{cluster.Addr("SASLSSL")})
	c.TLS, c.CAFile = true, keys.ca
	c.SASLMechanism, c.Username, c.Password = "SCRAM-SHA-256", "alice", secretWord
	o := optionsFor(t, c)
	health := watch(&o)
	b := open(t, c, o)
	w := newWorker(b, o.Source)
	serve(t, b, w.handle)
	plain := c
	plain.Brokers = cluster.Brokers()
	l := startLoad(t, b, o.Source)
	for i := range 4 {
		l.await(t, 1500, 0) // a pause of 10 ms after at most 17: most of a second
		sendCommands(t, plain, receipt(i))
		w.await(t, 1)
	}
	l.finish(t, c, cluster.Brokers())
	for _, part := range []connector.Part{connector.PartBus, connector.PartCommands} {
		if failed := health.log.reasons(string(part) + " failed, retrying"); len(failed) > 0 {
			t.Errorf("%s failed with %v, want no failure", part, failed)
		}
	}
}

func testAuthentication(t *testing.T, cluster *kafkatest.Cluster, keys pki) {
	foreign := newPKI(t)
	tokens := httptest.NewServer(http.HandlerFunc(issueToken))
	t.Cleanup(tokens.Close)

	at := func(listener string, change func(*kafka.Config)) kafka.Config {
		c := configFor([]string{cluster.Addr(listener)})
		change(&c)
		return c
	}
	sasl := func(mechanism, user, password string) func(*kafka.Config) {
		return func(c *kafka.Config) {
			c.SASLMechanism, c.Username, c.Password = mechanism, user, connector.Secret(password)
		}
	}
	tls := func(more func(*kafka.Config)) func(*kafka.Config) {
		return func(c *kafka.Config) {
			c.TLS, c.CAFile = true, keys.ca
			if more != nil {
				more(c)
			}
		}
	}
	client := func(p pki) func(*kafka.Config) {
		return tls(func(c *kafka.Config) { c.CertFile, c.KeyFile = p.clientCert, p.clientKey })
	}
	oauth := func(secret string) func(*kafka.Config) {
		return func(c *kafka.Config) {
			c.SASLMechanism, c.OauthTokenURL = "OAUTHBEARER", tokens.URL
			c.OauthClientID, c.OauthClientSecret = "alice", connector.Secret(secret)
		}
	}
	tokenFile := func(token string) func(*kafka.Config) {
		file := write(t, t.TempDir(), "token", []byte(token+"\n"))
		return func(c *kafka.Config) { c.SASLMechanism, c.OauthTokenFile = "OAUTHBEARER", file }
	}

	for _, tt := range []struct {
		name   string
		config kafka.Config
		want   string // in the error; empty = works
	}{
		{"TLS", at("TLS", tls(nil)), ""},
		{"mutual TLS", at("MUTUAL", client(keys)), ""},
		{"PLAIN", at("SASL", sasl("PLAIN", "alice", secretWord)), ""},
		{"SCRAM-SHA-256", at("SASL", sasl("SCRAM-SHA-256", "alice", secretWord)), ""},
		{"SCRAM-SHA-512", at("SASL", sasl("SCRAM-SHA-512", "alice", secretWord)), ""},
		{"SCRAM-SHA-512 over TLS", at("SASLSSL", tls(sasl("SCRAM-SHA-512", "alice", secretWord))), ""},
		{"OAUTHBEARER with a token file", at("SASL", tokenFile(unsecuredToken("alice"))), ""},
		{"OAUTHBEARER with client credentials", at("SASL", oauth(secretWord)), ""},

		{"wrong authority", at("TLS", func(c *kafka.Config) { c.TLS, c.CAFile = true, foreign.ca }), "KAFKA_CA_FILE"},
		{"no client certificate", at("MUTUAL", tls(nil)), "KAFKA_CERT_FILE"},
		{"client certificate of a foreign authority", at("MUTUAL", client(pki{clientCert: foreign.clientCert, clientKey: foreign.clientKey})), "KAFKA_CERT_FILE"},
		{"plain where TLS is spoken", at("TLS", func(*kafka.Config) {}), "KAFKA_TLS=true"},
		{"TLS where plain is spoken", at("PLAINTEXT", tls(nil)), "does not speak TLS"},
		{"no SASL where it is wanted", at("SASL", func(*kafka.Config) {}), "KAFKA_SASL_MECHANISM"},
		{"PLAIN, wrong password", at("SASL", sasl("PLAIN", "alice", "wrong-"+secretWord)), "authentication refused"},
		{"SCRAM-SHA-256, wrong password", at("SASL", sasl("SCRAM-SHA-256", "alice", "wrong-"+secretWord)), "authentication refused"},
		{"SCRAM-SHA-512, wrong user", at("SASL", sasl("SCRAM-SHA-512", "nobody", secretWord)), "authentication refused"},
		{"OAUTHBEARER, expired token", at("SASL", tokenFile(unsecuredTokenAt("alice", time.Now().Add(-2*time.Hour)))), "authentication refused"},
		{"OAUTHBEARER, wrong client secret", at("SASL", oauth("wrong-"+secretWord)), "authentication refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := optionsFor(t, tt.config)
			b, err := kafka.Open(waitContext(t), tt.config, o)
			if err == nil {
				t.Cleanup(func() { closeBus(t, b) })
			}
			if tt.want == "" {
				if err != nil {
					t.Fatalf("Open: %v", err)
				}
				events := messages(o.Source, 1, 10)
				mustPublish(t, b, events)
				w := newWorker(b, o.Source)
				serve(t, b, w.handle)
				plain := tt.config
				plain.Brokers = cluster.Brokers()
				sendCommands(t, plain, receipt(1))
				w.await(t, 1)
				wantIDs(t, cluster.Brokers(), tt.config.Topic, true, idsOf(events))
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Open: got %v, want an error with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), secretWord) {
				t.Errorf("the error shows the password: %v", err)
			}
			t.Logf("%v", err)
		})
	}
}

func testRefusal(t *testing.T, cluster *kafkatest.Cluster) {
	var connections atomic.Int64
	c := configFor([]string{forward(t, cluster.Addr("SASL"), &connections)})
	c.SASLMechanism, c.Username, c.Password = "SCRAM-SHA-256", "alice", "wrong"
	o := optionsFor(t, c)
	o.ReadOnly = true
	b := open(t, c, o)
	for range 50 {
		if checks := b.Checks(waitContext(t)); checks[0].Err == nil || !strings.Contains(checks[0].Err.Error(), "authentication refused") {
			t.Fatalf("Checks: got %+v, want refused authentication", checks)
		}
	}
	if got := connections.Load(); got > 2 {
		t.Errorf("50 requests with refused credentials made %d connections", got)
	}
}

// forward passes connections on to an address and counts them.
func forward(t *testing.T, to string, count *atomic.Int64) string {
	t.Helper()
	return serveEach(t, func(c net.Conn) {
		count.Add(1)
		u, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(u, c); _ = u.Close() }()
		_, _ = io.Copy(c, u)
	})
}

func testPermissions(t *testing.T, cluster *kafkatest.Cluster) {
	admin := configFor(cluster.Brokers())
	o := optionsFor(t, admin)
	closeBus(t, open(t, admin, o)) // makes the topics

	bob := admin
	bob.Brokers, bob.CreateTopics = []string{cluster.Addr("SASL")}, false
	bob.SASLMechanism, bob.Username, bob.Password = "PLAIN", "bob", secretWord

	topics := []string{bob.Topic, bob.ControlTopic, bob.ResultTopic, bob.DeadletterTopic}
	grant := func(b *kadm.ACLBuilder) {
		cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers()...))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		res, err := kadm.NewClient(cl).CreateACLs(waitContext(t), b.Allow("User:bob").ResourcePatternType(kadm.ACLPatternLiteral))
		if err != nil || len(res) == 0 {
			t.Fatalf("create ACLs: %v", err)
		}
		for _, r := range res {
			if r.Err != nil {
				t.Fatalf("create ACL: %v", r.Err)
			}
		}
	}
	try := func(want string) {
		t.Helper()
		for ctx := waitContext(t); ; { // a new ACL takes a moment
			b, err := kafka.Open(ctx, bob, o)
			if err == nil {
				events := messages(o.Source, 1, 2)
				_, err = b.Publish(ctx, events)
				closeBus(t, b)
			}
			if want == "" && err == nil || want != "" && err != nil && strings.Contains(err.Error(), want) {
				t.Logf("%v", err)
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("got %v, want %q", err, want)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	side := o
	side.ReadOnly = true
	checkFails := func(name, want string) {
		t.Helper()
		b := open(t, bob, side)
		for _, c := range b.Checks(waitContext(t)) {
			if c.Name == name && c.Err != nil && strings.Contains(c.Err.Error(), want) {
				t.Logf("%s: %v", c.Name, c.Err)
				return
			}
		}
		t.Errorf("Checks: %s does not fail with %q: %v", name, want, b.Checks(waitContext(t)))
	}

	try("topic " + bob.Topic + ": no permission")
	checkFails("kafka topic "+bob.Topic, "kafka-acls.sh")
	grant(kadm.NewACLs().Topics(topics...).Operations(kadm.OpDescribe, kadm.OpRead))
	try("--transactional-id")
	checkFails("kafka topic "+bob.Topic, "no permission to write")
	checkFails("kafka group "+bob.Group, "--group")
	checkFails("kafka exactly-once", "--transactional-id")
	grant(kadm.NewACLs().TransactionalIDs("pushover-connector:"+o.Source).Operations(kadm.OpWrite, kadm.OpDescribe))
	try("no permission")
	grant(kadm.NewACLs().Topics(topics...).Operations(kadm.OpWrite))
	try("")
	grant(kadm.NewACLs().Groups(bob.Group).Operations(kadm.OpRead))
	grant(kadm.NewACLs().Topics(bob.Topic).Operations(kadm.OpDescribeConfigs))
	try("")
	for _, c := range open(t, bob, side).Checks(waitContext(t)) {
		if c.Err != nil {
			t.Errorf("with all permissions, %s: %v", c.Name, c.Err)
		}
	}
}

// issueToken is a token endpoint for the client credentials grant.
func issueToken(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if !ok || id != "alice" || secret != secretWord || r.FormValue("grant_type") != "client_credentials" {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": unsecuredToken("alice"), "token_type": "Bearer", "expires_in": 3600})
}

// unsecuredToken is a token that Kafka's default validator takes: a JWT without
// a signature.
func unsecuredToken(sub string) string { return unsecuredTokenAt(sub, time.Now()) }

func unsecuredTokenAt(sub string, issued time.Time) string {
	part := func(v any) string {
		b, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return part(map[string]string{"alg": "none"}) + "." + part(map[string]any{
		"sub": sub, "iat": issued.Unix(), "exp": issued.Add(time.Hour).Unix(),
	}) + "."
}

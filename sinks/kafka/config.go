package kafka

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Config is how a Kafka cluster is reached and which topics are used. The
// variables are named after the fields, split at words, with the prefix KAFKA:
// KAFKA_BROKERS, KAFKA_CA_FILE and so on. List items are trimmed.
type Config struct {
	Brokers []string `desc:"comma-separated host:port of one or more brokers to start from"`

	Topic           string `default:"pushover.messages" desc:"topic of message events"`
	ControlTopic    string `split_words:"true" default:"pushover.control" desc:"topic of acknowledge commands"`
	ResultTopic     string `split_words:"true" default:"pushover.results" desc:"topic of the commands' results"`
	DeadletterTopic string `split_words:"true" default:"pushover.deadletter" desc:"topic of messages the message topic refuses"`
	Group           string `default:"pushover-connector" desc:"consumer group under which the control topic's offset is kept"`
	CreateTopics    bool   `split_words:"true" default:"true" desc:"create missing topics: one partition, the broker's default replication"`

	TLS      bool   `desc:"speak TLS"`
	CAFile   string `split_words:"true" desc:"PEM file of the authorities to trust instead of the system's"`
	CertFile string `split_words:"true" desc:"PEM file of the client certificate"`
	KeyFile  string `split_words:"true" desc:"PEM file of the client certificate's key"`

	AddressMap []string `split_words:"true" desc:"where brokers are reached that advertise another address, as advertised=reached pairs, such as kafka-0.kafka:9092=127.0.0.1:19092; certificates are still checked for the advertised name"`

	SASLMechanism string           `split_words:"true" desc:"PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"`
	Username      string           `desc:"SASL user"`
	Password      connector.Secret `desc:"SASL password"`
	PasswordFile  string           `split_words:"true" desc:"file to read KAFKA_PASSWORD from, again for each connection"`

	OauthTokenFile        string           `split_words:"true" desc:"OAUTHBEARER: file with the token, read again for each connection"`
	OauthTokenURL         string           `split_words:"true" desc:"OAUTHBEARER: token endpoint for client credentials"`
	OauthClientID         string           `split_words:"true" desc:"OAUTHBEARER: client id"`
	OauthClientSecret     connector.Secret `split_words:"true" desc:"OAUTHBEARER: client secret"`
	OauthClientSecretFile string           `split_words:"true" desc:"OAUTHBEARER: file to read KAFKA_OAUTH_CLIENT_SECRET from, again for each token"`
	OauthScope            string           `split_words:"true" desc:"OAUTHBEARER: scope to ask for"`
	OauthAudience         string           `split_words:"true" desc:"OAUTHBEARER: audience to ask for"`
	OauthExtensions       []string         `split_words:"true" desc:"OAUTHBEARER: SASL extensions as name=value pairs, such as logicalCluster=lkc-1,identityPoolId=pool-2 for Confluent Cloud"`
}

const defaultTopic = "pushover.messages"

// The SASL mechanisms this package speaks.
const (
	mechanismPlain  = "PLAIN"
	mechanismSHA256 = "SCRAM-SHA-256"
	mechanismSHA512 = "SCRAM-SHA-512"
	mechanismOAuth  = "OAUTHBEARER"
)

// topicName is what Kafka accepts as a topic's name, which is at most 249 long.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// oauthExtension is a key/value pair of a client's first message (RFC 7628, 3.1).
var oauthExtension = regexp.MustCompile(`^[A-Za-z]+=[\x20-\x7e\t\r\n]+$`)

// Validate reports everything that is wrong with c, under the names of the
// variables. It opens the files of secrets, and nothing else.
func (c Config) Validate() error {
	var errs []error
	bad := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("KAFKA_"+name+": "+format, args...))
	}

	brokers := c.brokers()
	if len(brokers) == 0 {
		bad("BROKERS", "at least one host:port is needed")
	}
	for _, b := range brokers {
		if !hostPort(b) {
			bad("BROKERS", "%q is not host:port", b)
		}
	}

	seen := map[string]string{}
	for _, pair := range c.AddressMap {
		if from, to, ok := strings.Cut(pair, "="); !ok || !hostPort(from) || !hostPort(to) {
			bad("ADDRESS_MAP", "%q is not advertised=reached, two host:port pairs", pair)
		}
	}

	for _, t := range []struct{ variable, topic string }{
		{"TOPIC", c.Topic}, {"CONTROL_TOPIC", c.ControlTopic},
		{"RESULT_TOPIC", c.ResultTopic}, {"DEADLETTER_TOPIC", c.DeadletterTopic},
	} {
		switch {
		case !topicName.MatchString(t.topic) || t.topic == "." || t.topic == "..":
			bad(t.variable, "%q is not a topic name: 1 to 249 of a-z, A-Z, 0-9, dot, underscore and dash", t.topic)
		case seen[t.topic] != "":
			bad(t.variable, "%q is already KAFKA_%s; each kind of event needs a topic of its own", t.topic, seen[t.topic])
		default:
			seen[t.topic] = t.variable
		}
	}
	if c.Group == "" {
		bad("GROUP", "must not be empty")
	}

	if !c.TLS {
		for _, f := range []struct{ variable, value string }{
			{"CA_FILE", c.CAFile}, {"CERT_FILE", c.CertFile}, {"KEY_FILE", c.KeyFile},
		} {
			if f.value != "" {
				bad(f.variable, "has no effect without KAFKA_TLS=true")
			}
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		bad("CERT_FILE", "and KAFKA_KEY_FILE must be set together")
	}
	c.validateSASL(bad)
	return errors.Join(errs...)
}

func hostPort(addr string) bool {
	host, port, err := net.SplitHostPort(strings.TrimSpace(addr))
	n, notNumber := strconv.Atoi(port)
	return err == nil && host != "" && notNumber == nil && n >= 1 && n <= 65535
}

// reach is where a broker that advertises addr is connected to.
func (c Config) reach(addr string) string {
	for _, pair := range c.AddressMap {
		if from, to, _ := strings.Cut(pair, "="); strings.TrimSpace(from) == addr {
			return strings.TrimSpace(to)
		}
	}
	return addr
}

func (c Config) hasPassword() bool { return c.Password != "" || c.PasswordFile != "" }

// password is that of now: its file may have been replaced.
func (c Config) password() (string, error) {
	return secretOf("KAFKA_PASSWORD_FILE", c.Password, c.PasswordFile)
}

func (c Config) clientSecret() (string, error) {
	return secretOf("KAFKA_OAUTH_CLIENT_SECRET_FILE", c.OauthClientSecret, c.OauthClientSecretFile)
}

// secrets are all of now, to tell whether any was replaced.
func (c Config) secrets() string {
	password, _ := c.password()
	secret, _ := c.clientSecret()
	token, _ := os.ReadFile(c.OauthTokenFile)
	return password + "\x00" + secret + "\x00" + string(token)
}

func secretOf(variable string, value connector.Secret, file string) (string, error) {
	if file == "" {
		return value.Reveal(), nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", variable, err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

func (c Config) validateSASL(bad func(name, format string, args ...any)) {
	oauth := []struct{ variable, value string }{
		{"OAUTH_TOKEN_FILE", c.OauthTokenFile}, {"OAUTH_TOKEN_URL", c.OauthTokenURL},
		{"OAUTH_CLIENT_ID", c.OauthClientID}, {"OAUTH_CLIENT_SECRET", c.OauthClientSecret.Reveal()},
		{"OAUTH_CLIENT_SECRET_FILE", c.OauthClientSecretFile}, {"OAUTH_SCOPE", c.OauthScope},
		{"OAUTH_AUDIENCE", c.OauthAudience}, {"OAUTH_EXTENSIONS", strings.Join(c.OauthExtensions, ",")},
	}
	for _, f := range []struct {
		variable, file string
		value          connector.Secret
	}{{"PASSWORD", c.PasswordFile, c.Password}, {"OAUTH_CLIENT_SECRET", c.OauthClientSecretFile, c.OauthClientSecret}} {
		if f.file == "" {
			continue
		}
		if f.value != "" {
			bad(f.variable, "and KAFKA_%s_FILE are both set; keep one", f.variable)
		}
		if _, err := os.ReadFile(f.file); err != nil {
			bad(f.variable+"_FILE", "%w; give a file that this user may read", err)
		}
	}
	if c.SASLMechanism != mechanismOAuth {
		for _, o := range oauth {
			if o.value != "" {
				bad(o.variable, "has no effect without KAFKA_SASL_MECHANISM=%s", mechanismOAuth)
			}
		}
	}
	switch c.SASLMechanism {
	case "":
		if c.Username != "" || c.hasPassword() {
			bad("SASL_MECHANISM", "is needed with KAFKA_USERNAME and KAFKA_PASSWORD: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
		}
	case mechanismPlain, mechanismSHA256, mechanismSHA512:
		if c.Username == "" {
			bad("USERNAME", "is needed for %s", c.SASLMechanism)
		}
		if !c.hasPassword() {
			bad("PASSWORD", "is needed for %s", c.SASLMechanism)
		}
	case mechanismOAuth:
		c.validateOAuth(bad)
	default:
		bad("SASL_MECHANISM", "%q is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER", c.SASLMechanism)
	}
}

func (c Config) validateOAuth(bad func(name, format string, args ...any)) {
	for _, pair := range c.OauthExtensions {
		if !oauthExtension.MatchString(strings.TrimSpace(pair)) {
			bad("OAUTH_EXTENSIONS", "%q is not name=value, with a name of letters", pair)
		}
	}
	switch {
	case c.OauthTokenFile != "" && c.OauthTokenURL != "":
		bad("OAUTH_TOKEN_FILE", "and KAFKA_OAUTH_TOKEN_URL cannot both be set")
	case c.OauthTokenFile == "" && c.OauthTokenURL == "":
		bad("OAUTH_TOKEN_FILE", "or KAFKA_OAUTH_TOKEN_URL is needed for %s", mechanismOAuth)
	case c.OauthTokenURL != "":
		u, err := url.Parse(c.OauthTokenURL)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			bad("OAUTH_TOKEN_URL", "is not an http or https URL")
		} else if u.Scheme == "http" && !loopback(u.Hostname()) {
			bad("OAUTH_TOKEN_URL", "must be https: the client secret is sent there")
		}
		if c.OauthClientID == "" || c.OauthClientSecret == "" && c.OauthClientSecretFile == "" {
			bad("OAUTH_CLIENT_ID", "and KAFKA_OAUTH_CLIENT_SECRET are needed with KAFKA_OAUTH_TOKEN_URL")
		}
	}
}

// exposure says which secret is sent unencrypted, if any. SCRAM sends no password.
func (c Config) exposure() string {
	if c.TLS || c.SASLMechanism != mechanismPlain && c.SASLMechanism != mechanismOAuth {
		return ""
	}
	for _, b := range c.brokers() {
		if host, _, _ := net.SplitHostPort(b); !loopback(host) {
			return fmt.Sprintf("%s without TLS sends the password or token unencrypted to %s; set KAFKA_TLS=true, or use SCRAM-SHA-512", c.SASLMechanism, b)
		}
	}
	return ""
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// brokers returns the configured brokers, trimmed and without empty items.
func (c Config) brokers() []string {
	var out []string
	for _, b := range c.Brokers {
		if b = strings.TrimSpace(b); b != "" {
			out = append(out, b)
		}
	}
	return out
}

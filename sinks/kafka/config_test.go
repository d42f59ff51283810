package kafka_test

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kelseyhightower/envconfig"

	"github.com/pushover-connector/pushover-connector/sinks/kafka"
)

// variables are the documented names and what reading them must give.
var variables = map[string]string{
	"KAFKA_BROKERS": "a:1, b:2 ", "KAFKA_TOPIC": "t", "KAFKA_CONTROL_TOPIC": "c", "KAFKA_RESULT_TOPIC": "r",
	"KAFKA_DEADLETTER_TOPIC": "d", "KAFKA_GROUP": "g", "KAFKA_CREATE_TOPICS": "false",
	"KAFKA_TLS": "true", "KAFKA_CA_FILE": "ca", "KAFKA_CERT_FILE": "cert", "KAFKA_KEY_FILE": "key",
	"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_USERNAME": "u", "KAFKA_PASSWORD": "p",
	"KAFKA_OAUTH_TOKEN_FILE": "tf", "KAFKA_OAUTH_TOKEN_URL": "tu", "KAFKA_OAUTH_CLIENT_ID": "ci",
	"KAFKA_OAUTH_CLIENT_SECRET": "cs", "KAFKA_OAUTH_CLIENT_SECRET_FILE": "sf", "KAFKA_OAUTH_SCOPE": "s",
	"KAFKA_OAUTH_AUDIENCE": "a", "KAFKA_OAUTH_EXTENSIONS": "x=1,y=2", "KAFKA_PASSWORD_FILE": "pf",
	"KAFKA_ADDRESS_MAP": "a:1=b:2",
}

func TestConfigIsReadFromTheDocumentedVariables(t *testing.T) {
	for name, value := range variables {
		t.Setenv(name, value)
	}
	var got kafka.Config
	if err := envconfig.Process("KAFKA", &got); err != nil {
		t.Fatal(err)
	}
	want := kafka.Config{
		Brokers: []string{"a:1", " b:2 "}, Topic: "t", ControlTopic: "c", ResultTopic: "r", DeadletterTopic: "d", Group: "g",
		TLS: true, CAFile: "ca", CertFile: "cert", KeyFile: "key", SASLMechanism: "PLAIN", Username: "u", Password: "p",
		OauthTokenFile: "tf", OauthTokenURL: "tu", OauthClientID: "ci", OauthClientSecret: "cs", OauthClientSecretFile: "sf", OauthScope: "s",
		OauthAudience: "a", OauthExtensions: []string{"x=1", "y=2"}, PasswordFile: "pf", AddressMap: []string{"a:1=b:2"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if n := reflect.TypeFor[kafka.Config]().NumField(); n != len(variables) {
		t.Errorf("Config has %d fields, %d variables are documented", n, len(variables))
	}
	for i := range reflect.TypeFor[kafka.Config]().NumField() {
		if f := reflect.TypeFor[kafka.Config]().Field(i); f.Tag.Get("desc") == "" {
			t.Errorf("field %s has no description", f.Name)
		}
	}
}

func TestConfigIgnoresVariablesWithoutThePrefix(t *testing.T) {
	for name := range variables {
		if os.Getenv(name) != "" {
			t.Skipf("%s is set", name)
		}
		t.Setenv(strings.TrimPrefix(name, "KAFKA_"), "stray")
	}
	var got kafka.Config
	if err := envconfig.Process("KAFKA", &got); err != nil {
		t.Fatal(err)
	}
	want := kafka.Config{
		Topic: "pushover.messages", ControlTopic: "pushover.control", ResultTopic: "pushover.results",
		DeadletterTopic: "pushover.deadletter", Group: "pushover-connector", CreateTopics: true,
	}
	if diff := cmp.Diff(fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want)); diff != "" {
		t.Errorf("defaults (-got +want):\n%s", diff)
	}
}

func validConfig() kafka.Config {
	return kafka.Config{Brokers: []string{" a:9092 ", "", "[::1]:9093"}, Topic: "m", ControlTopic: "c", ResultTopic: "r", DeadletterTopic: "d", Group: "g"}
}

func TestValidateNamesTheVariableOfEveryProblem(t *testing.T) {
	if err := validConfig().Validate(); err != nil {
		t.Errorf("valid configuration: %v", err)
	}
	for _, tt := range []struct {
		change func(*kafka.Config)
		want   []string // variables; empty = valid
	}{
		{func(c *kafka.Config) { c.Brokers = nil }, []string{"BROKERS"}},
		{func(c *kafka.Config) { c.Brokers = []string{" "} }, []string{"BROKERS"}},
		{func(c *kafka.Config) { c.Brokers = []string{"host"} }, []string{"BROKERS"}},
		{func(c *kafka.Config) { c.Brokers = []string{"host:0", "h:70000", ":9"} }, []string{"BROKERS", "BROKERS", "BROKERS"}},
		{func(c *kafka.Config) { c.Topic, c.Group = "", "" }, []string{"TOPIC", "GROUP"}},
		{func(c *kafka.Config) { c.Topic = "a/b" }, []string{"TOPIC"}},
		{func(c *kafka.Config) { c.ResultTopic = ".." }, []string{"RESULT_TOPIC"}},
		{func(c *kafka.Config) { c.DeadletterTopic = c.Topic }, []string{"DEADLETTER_TOPIC"}},
		{func(c *kafka.Config) { c.CAFile, c.KeyFile = "x", "y" }, []string{"CA_FILE", "KEY_FILE", "CERT_FILE"}},
		{func(c *kafka.Config) { c.TLS, c.CertFile = true, "x" }, []string{"CERT_FILE"}},
		{func(c *kafka.Config) { c.TLS = true }, nil},
		{func(c *kafka.Config) { c.Username = "u" }, []string{"SASL_MECHANISM"}},
		{func(c *kafka.Config) { c.SASLMechanism = "GSSAPI" }, []string{"SASL_MECHANISM"}},
		{func(c *kafka.Config) { c.SASLMechanism = "PLAIN" }, []string{"USERNAME", "PASSWORD"}},
		{func(c *kafka.Config) { c.SASLMechanism, c.Username, c.Password = "SCRAM-SHA-512", "u", "p" }, nil},
		{func(c *kafka.Config) { c.SASLMechanism = "OAUTHBEARER" }, []string{"OAUTH_TOKEN_FILE"}},
		{func(c *kafka.Config) { c.SASLMechanism, c.OauthTokenFile = "OAUTHBEARER", "f" }, nil},
		{func(c *kafka.Config) {
			c.SASLMechanism, c.OauthTokenFile, c.OauthTokenURL = "OAUTHBEARER", "f", "https://x"
		}, []string{"OAUTH_TOKEN_FILE"}},
		{func(c *kafka.Config) { c.SASLMechanism, c.OauthTokenURL = "OAUTHBEARER", "https://x/t" }, []string{"OAUTH_CLIENT_ID"}},
		{func(c *kafka.Config) {
			c.SASLMechanism, c.OauthTokenURL, c.OauthClientID, c.OauthClientSecret = "OAUTHBEARER", "http://x/t", "i", "s"
		}, []string{"OAUTH_TOKEN_URL"}},
		{func(c *kafka.Config) {
			c.SASLMechanism, c.OauthTokenURL, c.OauthClientID, c.OauthClientSecret = "OAUTHBEARER", "http://127.0.0.1:1/t", "i", "s"
		}, nil},
		{func(c *kafka.Config) { c.OauthScope = "s" }, []string{"OAUTH_SCOPE"}},
	} {
		c := validConfig()
		tt.change(&c)
		var got []string
		if err := c.Validate(); err != nil {
			for line := range strings.Lines(err.Error()) {
				name, _, _ := strings.Cut(line, ":")
				got = append(got, strings.TrimPrefix(name, "KAFKA_"))
			}
		}
		if diff := cmp.Diff(got, tt.want); diff != "" {
			t.Errorf("%+v: variables (-got +want):\n%s", c, diff)
		}
	}
}

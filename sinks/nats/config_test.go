package nats_test

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kelseyhightower/envconfig"

	"github.com/pushover-connector/pushover-connector/sinks/nats"
)

func TestVariablesHaveTheirNamesAndDefaults(t *testing.T) {
	names := map[string]string{
		"URL": "NATS_URL", "CredsFile": "NATS_CREDS_FILE", "NkeyFile": "NATS_NKEY_FILE",
		"Token": "NATS_TOKEN", "TokenFile": "NATS_TOKEN_FILE",
		"User": "NATS_USER", "Password": "NATS_PASSWORD", "PasswordFile": "NATS_PASSWORD_FILE",
		"CAFile": "NATS_CA_FILE", "CertFile": "NATS_CERT_FILE", "KeyFile": "NATS_KEY_FILE",
		"Listen": "NATS_LISTEN", "Stream": "NATS_STREAM", "ControlStream": "NATS_CONTROL_STREAM",
		"SubjectPrefix": "NATS_SUBJECT_PREFIX", "InboxPrefix": "NATS_INBOX_PREFIX",
		"JSDomain": "NATS_JS_DOMAIN", "JsAPIPrefix": "NATS_JS_API_PREFIX",
		"PlacementCluster": "NATS_PLACEMENT_CLUSTER", "PlacementTags": "NATS_PLACEMENT_TAGS",
	}
	others := map[string]struct {
		name, value string
		want        any
	}{
		"TLSFirst": {"NATS_TLS_FIRST", "true", true},
		"MaxBytes": {"NATS_MAX_BYTES", "1048576", int64(1 << 20)},
		"MaxAge":   {"NATS_MAX_AGE", "720h", 720 * time.Hour},
		"Replicas": {"NATS_REPLICAS", "3", 3},
	}
	for _, name := range names { // bare names must not be read
		t.Setenv(strings.TrimPrefix(name, "NATS_"), "stray")
	}
	var got nats.Config
	if err := envconfig.Process("NATS", &got); err != nil {
		t.Fatal(err)
	}
	want := nats.Config{
		Listen: "127.0.0.1:4222", Stream: "PUSHOVER", ControlStream: "PUSHOVER_CONTROL", SubjectPrefix: "pushover",
		InboxPrefix: "_INBOX", Replicas: 1,
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("without variables (-got +want):\n%s", diff)
	}
	if n := reflect.TypeOf(got).NumField(); n != len(names)+len(others) {
		t.Errorf("Config has %d fields, this test knows %d", n, len(names)+len(others))
	}
	for _, name := range names {
		t.Setenv(name, "value of "+name)
	}
	for _, o := range others {
		t.Setenv(o.name, o.value)
	}
	if err := envconfig.Process("NATS", &got); err != nil {
		t.Fatal(err)
	}
	value := reflect.ValueOf(got)
	for field, o := range others {
		if v := value.FieldByName(field).Interface(); v != o.want {
			t.Errorf("%s is not set by %s: got %v, want %v", field, o.name, v, o.want)
		}
	}
	for field, name := range names {
		if v := value.FieldByName(field).String(); v != "value of "+name {
			t.Errorf("%s is not set by %s: got %q", field, name, v)
		}
		tag, _ := reflect.TypeOf(got).FieldByName(field)
		if !strings.HasSuffix(tag.Tag.Get("desc"), ".") {
			t.Errorf("%s has no description of a sentence", field)
		}
	}
}

func TestSecretsOfTheConfigurationAreNotPrinted(t *testing.T) {
	c := nats.Config{Token: "hidden-token", Password: "hidden-password"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(format, c); strings.Contains(s, "hidden") {
			t.Errorf("%s shows %s", format, s)
		}
	}
}

func TestEachBadSettingNamesItsVariable(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	external := nats.Config{URL: "nats://127.0.0.1:4222"}
	with := func(c nats.Config, change func(*nats.Config)) nats.Config {
		change(&c)
		return c
	}
	for _, c := range []struct {
		name   string
		config nats.Config
		want   []string // none: the configuration is good
	}{
		{"nothing set", nats.Config{}, nil},
		{"external", external, nil},
		{"several servers", nats.Config{URL: "nats://a:4222, tls://b:4222"}, nil},
		{"no URL at all", nats.Config{URL: "not a url"}, []string{"NATS_URL"}},
		{"no scheme", nats.Config{URL: "broker:4222"}, []string{"NATS_URL"}},
		{"foreign scheme", nats.Config{URL: "http://broker:4222"}, []string{"NATS_URL"}},
		{"password in the URL", nats.Config{URL: "nats://me:secret@broker:4222"}, []string{"NATS_URL", "NATS_PASSWORD"}},
		{"no address", nats.Config{Listen: "4222"}, []string{"NATS_LISTEN"}},
		{"no port", nats.Config{Listen: "127.0.0.1:nats"}, []string{"NATS_LISTEN"}},
		{"port out of range", nats.Config{Listen: "127.0.0.1:70000"}, []string{"NATS_LISTEN"}},
		{"open to all", nats.Config{Listen: ":4222"}, []string{"NATS_LISTEN", "NATS_PASSWORD"}},
		{"open to the network", nats.Config{Listen: "192.168.1.5:4222"}, []string{"NATS_LISTEN"}},
		{"open with password", nats.Config{Listen: ":4222", User: "u", Password: "p"}, nil},
		{"open with token", nats.Config{Listen: "0.0.0.0:4222", Token: "t"}, nil},
		{"IPv6 loopback", nats.Config{Listen: "[::1]:4222"}, nil},
		{"user alone", with(external, func(c *nats.Config) { c.User = "u" }), []string{"NATS_PASSWORD"}},
		{"password alone", with(external, func(c *nats.Config) { c.Password = "p" }), []string{"NATS_USER"}},
		{"password twice", with(external, func(c *nats.Config) { c.User, c.Password, c.PasswordFile = "u", "p", missing }), []string{"NATS_PASSWORD_FILE"}},
		{"token and user", with(external, func(c *nats.Config) { c.Token, c.User, c.Password = "t", "u", "p" }), []string{"NATS_TOKEN", "NATS_USER"}},
		{"certificate alone", with(external, func(c *nats.Config) { c.CertFile = missing }), []string{"NATS_KEY_FILE"}},
		{"files missing", with(external, func(c *nats.Config) { c.CAFile, c.CredsFile = missing, missing }), []string{"NATS_CA_FILE", "NATS_CREDS_FILE"}},
		{"files for the embedded server", nats.Config{CAFile: missing, NkeyFile: missing}, []string{"NATS_CA_FILE: is for an external", "NATS_NKEY_FILE: is for"}},
		{"stream name", with(external, func(c *nats.Config) { c.Stream = "a.b" }), []string{"NATS_STREAM"}},
		{"one stream for both", with(external, func(c *nats.Config) { c.ControlStream = "PUSHOVER" }), []string{"NATS_CONTROL_STREAM"}},
		{"prefix with wildcard", with(external, func(c *nats.Config) { c.SubjectPrefix = "a.*" }), []string{"NATS_SUBJECT_PREFIX"}},
		{"prefix of the system", with(external, func(c *nats.Config) { c.SubjectPrefix = "$JS" }), []string{"NATS_SUBJECT_PREFIX"}},
		{"prefix with space", with(external, func(c *nats.Config) { c.SubjectPrefix = "a b" }), []string{"NATS_SUBJECT_PREFIX"}},
		{"prefix of two tokens", with(external, func(c *nats.Config) { c.SubjectPrefix = "home.pushover" }), nil},
		{"domain and prefix", with(external, func(c *nats.Config) { c.JSDomain, c.JsAPIPrefix = "hub", "$JS.hub.API" }), []string{"NATS_JS_DOMAIN, NATS_JS_API_PREFIX"}},
		{"domain of two words", with(external, func(c *nats.Config) { c.JSDomain = "a.b" }), []string{"NATS_JS_DOMAIN"}},
		{"prefix of the API", with(external, func(c *nats.Config) { c.JsAPIPrefix = "$JS.>" }), []string{"NATS_JS_API_PREFIX"}},
		{"prefix of inboxes", with(external, func(c *nats.Config) { c.InboxPrefix = "_INBOX." }), []string{"NATS_INBOX_PREFIX"}},
		{"small size", nats.Config{MaxBytes: 1000}, []string{"NATS_MAX_BYTES"}},
		{"negative size", nats.Config{MaxBytes: -1}, []string{"NATS_MAX_BYTES"}},
		{"short age", nats.Config{MaxAge: time.Minute}, []string{"NATS_MAX_AGE"}},
		{"limits", nats.Config{MaxBytes: 1 << 30, MaxAge: 720 * time.Hour}, nil},
		{"many replicas", with(external, func(c *nats.Config) { c.Replicas = 7 }), []string{"NATS_REPLICAS"}},
		{"cluster settings for the embedded server", nats.Config{Replicas: 3, JSDomain: "hub", PlacementTags: "ssd", TLSFirst: true},
			[]string{"NATS_REPLICAS", "NATS_JS_DOMAIN", "NATS_PLACEMENT_TAGS", "NATS_TLS_FIRST"}},
		{"all at once", nats.Config{URL: "x", User: "u", Stream: ">", SubjectPrefix: "."},
			[]string{"NATS_URL", "NATS_PASSWORD", "NATS_STREAM", "NATS_SUBJECT_PREFIX"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.config.Validate()
			if (err == nil) != (len(c.want) == 0) {
				t.Fatalf("got %v, want problems with %v", err, c.want)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to name %s", err, want)
				}
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("a secret leaks: %v", err)
			}
		})
	}
}

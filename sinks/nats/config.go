package nats

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Config is the part of the environment that concerns NATS, each field a
// variable with the prefix NATS_. An empty string means the default.
type Config struct {
	URL          string           `split_words:"true" desc:"Servers, comma-separated, such as nats://broker:4222 or tls://broker:4222. Empty runs an embedded server with JetStream, stored under DATA_DIR."`
	CredsFile    string           `split_words:"true" desc:"File with a user JWT and its seed (.creds). Read again at every connect."`
	NkeyFile     string           `split_words:"true" desc:"File with an nkey user seed. Read again at every connect."`
	Token        connector.Secret `split_words:"true" desc:"Authentication token. The embedded server, too, asks its clients for it."`
	TokenFile    string           `split_words:"true" desc:"File to read NATS_TOKEN from, again at every connect."`
	User         string           `split_words:"true" desc:"User name. The embedded server, too, asks its clients for it."`
	Password     connector.Secret `split_words:"true" desc:"Password of NATS_USER."`
	PasswordFile string           `split_words:"true" desc:"File to read NATS_PASSWORD from, again at every connect."`
	CAFile       string           `split_words:"true" desc:"PEM file with the authorities that may sign the server's certificate. Empty means the system's."`
	CertFile     string           `split_words:"true" desc:"PEM file with the client certificate for mutual TLS."`
	KeyFile      string           `split_words:"true" desc:"PEM file with the private key of NATS_CERT_FILE."`
	TLSFirst     bool             `split_words:"true" default:"false" desc:"Start TLS before the server says anything, as its handshake_first asks for."`

	InboxPrefix string `split_words:"true" default:"_INBOX" desc:"First tokens of the subjects that answers come to, for a user who may subscribe to no others."`
	JSDomain    string `split_words:"true" desc:"JetStream domain to use, such as that of a hub behind a leaf node."`
	JsAPIPrefix string `split_words:"true" desc:"Subject prefix of the JetStream API, if an account imports it under one other than $JS.API."`

	Listen string `split_words:"true" default:"127.0.0.1:4222" desc:"Address of the embedded server. Beyond loopback only with NATS_USER and NATS_PASSWORD, or NATS_TOKEN."`

	Stream        string `split_words:"true" default:"PUSHOVER" desc:"Stream for messages, results and dead letters. Created if missing, never altered."`
	ControlStream string `split_words:"true" default:"PUSHOVER_CONTROL" desc:"Stream for commands. Created if missing, never altered."`
	SubjectPrefix string `split_words:"true" default:"pushover" desc:"First token or tokens of every subject."`

	MaxBytes         int64         `split_words:"true" default:"0" desc:"Size limit of NATS_STREAM, if it is created here; when it is reached, messages wait with Pushover. 0 means none."`
	MaxAge           time.Duration `split_words:"true" default:"0s" desc:"How long NATS_STREAM keeps an event, if it is created here, such as 720h. 0 means for ever."`
	Replicas         int           `split_words:"true" default:"1" desc:"Replicas of the streams that are created here: 1, 3 or 5."`
	PlacementCluster string        `split_words:"true" desc:"Cluster to create the streams in."`
	PlacementTags    string        `split_words:"true" desc:"Server tags, comma-separated, that all replicas of the streams created here must have."`
}

const (
	defaultListen  = "127.0.0.1:4222"
	defaultStream  = "PUSHOVER"
	defaultControl = "PUSHOVER_CONTROL"
	defaultPrefix  = "pushover"
	defaultAPI     = "$JS.API"

	minBytes = 1 << 20
	minAge   = time.Hour
)

func (c Config) withDefaults() Config {
	for _, f := range []struct {
		field *string
		value string
	}{
		{&c.Listen, defaultListen},
		{&c.Stream, defaultStream},
		{&c.ControlStream, defaultControl},
		{&c.SubjectPrefix, defaultPrefix},
		{&c.InboxPrefix, nats.InboxPrefix[:len(nats.InboxPrefix)-1]},
	} {
		if *f.field == "" {
			*f.field = f.value
		}
	}
	c.Replicas = max(c.Replicas, 1)
	return c
}

// Validate returns every problem of the configuration, each under the name of
// its variable and with a remedy. It opens the files named, and nothing else.
func (c Config) Validate() error {
	c = c.withDefaults()
	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf(format, args...))
	}
	if c.URL == "" {
		c.validateEmbedded(problem)
	} else {
		c.validateURL(problem)
	}
	c.validateAuth(problem)
	for _, f := range c.files() {
		if err := readable(f.path); err != nil {
			problem("%s: %w", f.variable, err)
		}
	}
	c.validateJetStream(problem)
	if c.Stream == c.ControlStream {
		problem("NATS_CONTROL_STREAM: is %s, as NATS_STREAM is; use a separate stream for commands", c.Stream)
	}
	for _, s := range []struct{ variable, value string }{{"NATS_STREAM", c.Stream}, {"NATS_CONTROL_STREAM", c.ControlStream}} {
		if !validStreamName(s.value) {
			problem("%s: %q is not a stream name; leave out spaces and . * > / \\", s.variable, s.value)
		}
	}
	if !validPrefix(c.SubjectPrefix) {
		problem("NATS_SUBJECT_PREFIX: %q is not a subject; write tokens without spaces, * and >, joined by dots, not starting with $", c.SubjectPrefix)
	}
	return errors.Join(problems...)
}

func (c Config) validateURL(problem func(string, ...any)) {
	for _, raw := range strings.Split(c.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(raw))
		switch {
		case err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
			// The value is not shown: it may carry a password.
			problem("NATS_URL: is not a list of server URLs; write each as nats://host:4222 or tls://host:4222")
			return
		case u.User != nil:
			problem("NATS_URL: carries a user or password, which would be logged; set NATS_USER and NATS_PASSWORD, or NATS_TOKEN, instead")
			return
		}
	}
}

func (c Config) validateEmbedded(problem func(string, ...any)) {
	for _, f := range []struct{ variable, value string }{
		{"NATS_CREDS_FILE", c.CredsFile},
		{"NATS_NKEY_FILE", c.NkeyFile},
		{"NATS_CA_FILE", c.CAFile},
		{"NATS_CERT_FILE", c.CertFile},
		{"NATS_KEY_FILE", c.KeyFile},
		{"NATS_JS_DOMAIN", c.JSDomain},
		{"NATS_JS_API_PREFIX", c.JsAPIPrefix},
		{"NATS_PLACEMENT_CLUSTER", c.PlacementCluster},
		{"NATS_PLACEMENT_TAGS", c.PlacementTags},
	} {
		if f.value != "" {
			problem("%s: is for an external server; set NATS_URL as well, or leave it out", f.variable)
		}
	}
	if c.TLSFirst {
		problem("NATS_TLS_FIRST: is for an external server; set NATS_URL as well, or leave it out")
	}
	if c.Replicas > 1 {
		problem("NATS_REPLICAS: is for a cluster; set NATS_URL as well, or leave it out")
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		problem("NATS_LISTEN: %q is not an address; write host:port, such as %s", c.Listen, defaultListen)
		return
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		problem("NATS_LISTEN: %q is not a port; write a number from 0, which means any free one, to 65535", port)
	}
	if !loopback(host) && !c.hasPassword() && !c.hasToken() {
		problem("NATS_LISTEN: %s can be reached from other machines; set NATS_USER and NATS_PASSWORD, or NATS_TOKEN, or listen on 127.0.0.1", c.Listen)
	}
}

func (c Config) validateAuth(problem func(string, ...any)) {
	var ways []string
	for _, w := range []struct {
		set  bool
		name string
	}{
		{c.CredsFile != "", "NATS_CREDS_FILE"},
		{c.NkeyFile != "", "NATS_NKEY_FILE"},
		{c.hasToken(), "NATS_TOKEN"},
		{c.User != "", "NATS_USER"},
	} {
		if w.set {
			ways = append(ways, w.name)
		}
	}
	if len(ways) > 1 {
		problem("%s: are ways to log in that exclude each other; keep one", strings.Join(ways, ", "))
	}
	if c.Token != "" && c.TokenFile != "" {
		problem("NATS_TOKEN, NATS_TOKEN_FILE: are both set; keep one")
	}
	if c.Password != "" && c.PasswordFile != "" {
		problem("NATS_PASSWORD, NATS_PASSWORD_FILE: are both set; keep one")
	}
	if (c.User != "") != c.hasPassword() {
		problem("NATS_USER, NATS_PASSWORD: go together; set both or neither")
	}
	if (c.CertFile != "") != (c.KeyFile != "") {
		problem("NATS_CERT_FILE, NATS_KEY_FILE: go together; set both or neither")
	}
}

func (c Config) validateJetStream(problem func(string, ...any)) {
	if c.JSDomain != "" && c.JsAPIPrefix != "" {
		problem("NATS_JS_DOMAIN, NATS_JS_API_PREFIX: are both set; keep one, as a domain is a prefix of the API")
	}
	if c.JSDomain != "" && !validToken(c.JSDomain) {
		problem("NATS_JS_DOMAIN: %q is not a domain; write one word without dots, * and >", c.JSDomain)
	}
	if c.JsAPIPrefix != "" && !validSubject(c.JsAPIPrefix) {
		problem("NATS_JS_API_PREFIX: %q is not a subject; write tokens joined by dots, such as $JS.hub.API", c.JsAPIPrefix)
	}
	if !validSubject(c.InboxPrefix) {
		problem("NATS_INBOX_PREFIX: %q is not a subject; write tokens without spaces, * and >, joined by dots, such as _INBOX_connector", c.InboxPrefix)
	}
	if c.MaxBytes != 0 && c.MaxBytes < minBytes {
		problem("NATS_MAX_BYTES: %d is too small; write %d or more, or 0 for no limit", c.MaxBytes, minBytes)
	}
	if c.MaxAge != 0 && c.MaxAge < minAge {
		problem("NATS_MAX_AGE: %v is too short; write %v or more, or 0 to keep events for ever", c.MaxAge, minAge)
	}
	if c.Replicas > 5 {
		problem("NATS_REPLICAS: %d is not possible; write 1, 3 or 5", c.Replicas)
	}
}

func (c Config) hasToken() bool    { return c.Token != "" || c.TokenFile != "" }
func (c Config) hasPassword() bool { return c.Password != "" || c.PasswordFile != "" }

type namedFile struct{ variable, path string }

// files lists the files the connection is made with.
func (c Config) files() []namedFile {
	all := []namedFile{
		{"NATS_CREDS_FILE", c.CredsFile},
		{"NATS_NKEY_FILE", c.NkeyFile},
		{"NATS_TOKEN_FILE", c.TokenFile},
		{"NATS_PASSWORD_FILE", c.PasswordFile},
		{"NATS_CA_FILE", c.CAFile},
		{"NATS_CERT_FILE", c.CertFile},
		{"NATS_KEY_FILE", c.KeyFile},
	}
	return slices.DeleteFunc(all, func(f namedFile) bool { return f.path == "" })
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%w; give a file that this user may read", err)
	}
	return f.Close()
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func validStreamName(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsAny(s, " \t\r\n\f.*>/\\\x00")
}

func validPrefix(s string) bool {
	return !strings.HasPrefix(s, "$") && validSubject(s)
}

func validSubject(s string) bool {
	for _, token := range strings.Split(s, ".") {
		if !validToken(token) {
			return false
		}
	}
	return true
}

func validToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == 0x7f || r == '.' || r == '*' || r == '>'
	})
}

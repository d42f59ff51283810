package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
)

// settings are all the program's variables, a struct for each part that has
// some. Only the chosen sink's struct is validated, all are listed.
type settings struct {
	pushover accountSettings
	general  generalSettings
	nats     nats.Config
	kafka    kafka.Config
}

// accountSettings says which device to be and how to reach the service.
type accountSettings struct {
	CredentialsFile string           `envconfig:"PUSHOVER_CREDENTIALS_FILE" desc:"JSON file with secret, device_id and device_name; read again when it changes. Default: pushover-connector/credentials.json in the user's configuration directory"`
	Secret          connector.Secret `envconfig:"PUSHOVER_SECRET" desc:"session secret, instead of the file"`
	DeviceID        connector.Secret `envconfig:"PUSHOVER_DEVICE_ID" desc:"device id, instead of the file"`
	Email           string           `envconfig:"PUSHOVER_EMAIL" desc:"log in once with this address when there are no credentials, then write the file"`
	Password        connector.Secret `envconfig:"PUSHOVER_PASSWORD" desc:"password for that login"`
	TwoFA           connector.Secret `envconfig:"PUSHOVER_TWOFA" desc:"current two-factor code for that login, if the account asks for one"`
	DeviceName      string           `envconfig:"PUSHOVER_DEVICE_NAME" default:"connector" desc:"name to register the device under, 1 to 25 letters, digits, _ or -; part of the source of every event"`
	E2EEKeys        connector.Secret `envconfig:"PUSHOVER_E2EE_KEYS" desc:"keys for end-to-end encrypted messages, 64 hexadecimal digits each, separated by commas or line ends"`
	APIURL          string           `envconfig:"PUSHOVER_API_URL" default:"https://api.pushover.net" desc:"API of the service, without /1; change it for a simulator or a proxy"`
	StreamURL       string           `envconfig:"PUSHOVER_STREAM_URL" default:"wss://client.pushover.net/push" desc:"push stream of the service"`
	CAFile          string           `envconfig:"PUSHOVER_CA_FILE" desc:"PEM file with the certificate authorities to trust for the service instead of the system's"`
	AllowPlaintext  bool             `envconfig:"PUSHOVER_ALLOW_PLAINTEXT" default:"false" desc:"accept http and ws URLs beyond loopback; for tests in a cluster only, since the secret is then sent unencrypted"`
}

// generalSettings are about the program as a whole.
type generalSettings struct {
	Sink       string         `envconfig:"SINK" default:"nats" desc:"where events go: nats, kafka or stdout"`
	DataDir    string         `envconfig:"DATA_DIR" desc:"directory of the embedded NATS server's store. Default: pushover-connector in the user's data directory"`
	EventMode  connector.Mode `envconfig:"EVENT_MODE" default:"structured" desc:"CloudEvents content mode: structured (one JSON document) or binary (attributes in headers)"`
	ClearDelay time.Duration  `envconfig:"CLEAR_DELAY" default:"0s" desc:"how long to wait after the bus's confirmation before a message is deleted on Pushover; its event is then read back from the log first. For buses that can lose a confirmed write"`
	HTTPAddr   string         `envconfig:"HTTP_ADDR" default:"127.0.0.1:8080" desc:"address of /livez, /readyz, /metrics, /status.json and the status page; an empty value disables it"`
	LogLevel   slog.Level     `envconfig:"LOG_LEVEL" default:"info" desc:"log level: debug, info, warn or error"`
	LogFormat  string         `envconfig:"LOG_FORMAT" desc:"log format: json or text. Default: text on a terminal, else json"`
}

// loadSettings reads the environment. The error holds every problem found,
// under the names of the variables.
func loadSettings() (*settings, error) {
	s := &settings{}
	problems := s.read()
	problems = append(problems, s.pushover.validate()...)
	problems = append(problems, s.general.validate()...)
	switch s.general.Sink {
	case "nats":
		problems = append(problems, s.nats.Validate())
	case "kafka":
		problems = append(problems, s.kafka.Validate())
	}
	return s, errors.Join(problems...)
}

func (a *accountSettings) validate() []error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if (a.Secret == "") != (a.DeviceID == "") {
		bad("PUSHOVER_SECRET and PUSHOVER_DEVICE_ID go together; set both or neither")
	}
	if (a.Email == "") != (a.Password == "") {
		bad("PUSHOVER_EMAIL and PUSHOVER_PASSWORD go together; set both or neither")
	}
	if !deviceName.MatchString(a.DeviceName) {
		bad("PUSHOVER_DEVICE_NAME: %q is not a device name; want 1 to 25 letters, digits, _ or -", a.DeviceName)
	}
	if _, err := a.keys(); err != nil {
		bad("PUSHOVER_E2EE_KEYS: %w", err)
	}
	if a.CredentialsFile == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			if a.Secret == "" {
				bad("PUSHOVER_CREDENTIALS_FILE: not set, and there is no default because neither XDG_CONFIG_HOME nor HOME is set")
			}
			return problems
		}
		a.CredentialsFile = filepath.Join(dir, "pushover-connector", "credentials.json")
	}
	return problems
}

// deviceName is the service's rule (pushover.net/api).
var deviceName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,25}$`)

// keys returns the end-to-end keys, which commas or line ends separate.
func (a *accountSettings) keys() ([]pushover.E2EEKey, error) {
	var keys []pushover.E2EEKey
	separator := func(r rune) bool { return r == ',' || unicode.IsSpace(r) }
	for i, text := range strings.FieldsFunc(a.E2EEKeys.Reveal(), separator) {
		key, err := pushover.ParseE2EEKey(text)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (g *generalSettings) validate() []error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{"nats", "kafka", "stdout"}, g.Sink) {
		bad("SINK: %q is not a sink; want nats, kafka or stdout", g.Sink)
	}
	if g.ClearDelay < 0 {
		bad("CLEAR_DELAY: %v is negative", g.ClearDelay)
	}
	if g.ClearDelay > 0 && g.Sink == "stdout" {
		bad("CLEAR_DELAY: the stdout sink cannot read back what it has printed; use nats or kafka, or no delay")
	}
	if g.HTTPAddr != "" {
		if _, _, err := net.SplitHostPort(g.HTTPAddr); err != nil {
			bad("HTTP_ADDR: %q is not host:port, such as 127.0.0.1:8080 or :8080", g.HTTPAddr)
		}
	}
	if !slices.Contains([]string{"", "json", "text"}, g.LogFormat) {
		bad("LOG_FORMAT: %q is not a format; want json or text", g.LogFormat)
	}
	if g.DataDir == "" {
		dir, err := userDataDir()
		if err != nil {
			if g.Sink == "nats" && os.Getenv("NATS_URL") == "" {
				bad("DATA_DIR: %w", err)
			}
			return problems
		}
		g.DataDir = filepath.Join(dir, "pushover-connector")
	}
	return problems
}

// userDataDir is the user's data directory by the XDG rules.
func userDataDir() (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("not set, and there is no default because neither XDG_DATA_HOME nor HOME is set")
	}
	return filepath.Join(home, ".local", "share"), nil
}

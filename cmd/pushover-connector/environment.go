package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/kelseyhightower/envconfig"
)

// A variable is one environment variable the program reads.
type variable struct {
	Name, Type, Default, Meaning string
	Secret                       bool   // its value is never shown
	fileOf                       string // the secret that this one names a file for
}

// section is one settings struct and the prefix its variables' names have.
type section struct {
	title  string
	prefix string
	spec   any
}

func (s *settings) sections() []section {
	return []section{
		{"Pushover", "", &s.pushover},
		{"General", "", &s.general},
		{"NATS", "NATS", &s.nats},
		{"Kafka", "KAFKA", &s.kafka},
	}
}

// variables lists what a section reads, as envconfig sees it, followed for each
// secret by the variable that names a file to read it from.
func (s section) variables() []variable {
	var out bytes.Buffer
	const format = "{{range .}}{{usage_key .}}\t{{usage_type .}}\t{{usage_default .}}\t{{usage_description .}}\n{{end}}"
	if err := envconfig.Usagef(s.prefix, s.spec, &out, format); err != nil {
		panic(err) // a settings struct that cannot be described is a mistake in this program
	}
	var all []variable
	has := make(map[string]bool)
	for line := range strings.Lines(out.String()) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		v := variable{Name: f[0], Type: typeName(f[1]), Default: f[2], Meaning: f[3], Secret: f[1] == "Secret"}
		has[v.Name] = true
		all = append(all, v)
	}
	var withFiles []variable
	for _, v := range all {
		withFiles = append(withFiles, v)
		if v.Secret && !has[v.Name+"_FILE"] {
			withFiles = append(withFiles, variable{
				Name: v.Name + "_FILE", Type: "path", Meaning: "file to read " + v.Name + " from", fileOf: v.Name,
			})
		}
	}
	return withFiles
}

func typeName(envconfigType string) string {
	switch envconfigType {
	case "True or False":
		return "bool"
	case "Comma-separated list of String":
		return "list"
	default:
		return strings.ToLower(envconfigType)
	}
}

// emptyMeansOff are the variables for which set-but-empty is a value. All
// others count as unset when empty: that is how charts and compose files leave
// something out.
var emptyMeansOff = map[string]bool{"HTTP_ADDR": true}

// read fills the settings from the environment and returns every problem.
func (s *settings) read() []error {
	var problems []error
	for _, sec := range s.sections() {
		if sec.prefix != "" && !strings.EqualFold(sec.prefix, s.general.Sink) {
			continue // the variables of a sink that is not used are not validated
		}
		problems = append(problems, sec.read()...)
	}
	return problems
}

// read fills one section's settings. The process's environment is tidied on the
// way: what is empty is unset, and a secret from a file is set while envconfig
// looks, and no longer.
func (s section) read() []error {
	var problems []error
	for _, v := range s.variables() {
		if value, set := os.LookupEnv(v.Name); set && value == "" && !emptyMeansOff[v.Name] {
			os.Unsetenv(v.Name)
		}
		if v.fileOf != "" && os.Getenv(v.Name) != "" {
			if err := setFromFile(v.fileOf, v.Name); err != nil {
				problems = append(problems, err)
				continue
			}
			defer os.Unsetenv(v.fileOf)
		}
	}
	// envconfig stops at the first value it cannot parse. Each such variable is
	// noted and left out, until the rest can be read.
	for {
		err := envconfig.Process(s.prefix, s.spec)
		var parse *envconfig.ParseError
		if !errors.As(err, &parse) {
			if err != nil {
				problems = append(problems, err)
			}
			return problems
		}
		problems = append(problems, fmt.Errorf("%s: %q is not valid: %w", parse.KeyName, parse.Value, parseReason(parse)))
		os.Unsetenv(parse.KeyName)
	}
}

// parseReason says what was wanted, in the user's words.
func parseReason(e *envconfig.ParseError) error {
	switch e.TypeName {
	case "bool":
		return errors.New("want true or false")
	case "time.Duration":
		return errors.New("want a duration such as 30s, 5m or 1h30m")
	case "slog.Level":
		return errors.New("want debug, info, warn or error")
	default:
		return e.Err
	}
}

// maxSecretFile bounds what is read as a secret.
const maxSecretFile = 64 << 10

// setFromFile sets the variable to the content of the file that fileVariable
// names.
func setFromFile(variable, fileVariable string) error {
	if os.Getenv(variable) != "" {
		return fmt.Errorf("%s and %s are both set; set one", variable, fileVariable)
	}
	value, err := secretFromFile(fileVariable)
	if err != nil {
		return err
	}
	return os.Setenv(variable, value)
}

// secretFromFile reads the file that fileVariable names, less the line end that
// editors and "kubectl create secret" leave.
func secretFromFile(fileVariable string) (string, error) {
	f, err := os.Open(os.Getenv(fileVariable))
	if err != nil {
		return "", fmt.Errorf("%s: %w", fileVariable, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", fileVariable, err)
	case len(content) > maxSecretFile:
		return "", fmt.Errorf("%s: %s is larger than %d bytes, which is too large for a secret", fileVariable, f.Name(), maxSecretFile)
	}
	value := strings.TrimRight(string(content), "\r\n")
	if value == "" || strings.ContainsRune(value, 0) {
		return "", fmt.Errorf("%s: %s is empty or not text", fileVariable, f.Name())
	}
	return value, nil
}

package tests

import (
	"os/exec"
	"regexp"
	"slices"
	"testing"
)

// notInChart are the variables that the chart leaves to extraEnv, and why.
var notInChart = map[string]string{
	"PUSHOVER_SECRET":           "credentials come as a file",
	"PUSHOVER_SECRET_FILE":      "credentials come as a file",
	"PUSHOVER_DEVICE_ID":        "credentials come as a file",
	"PUSHOVER_DEVICE_ID_FILE":   "credentials come as a file",
	"PUSHOVER_PASSWORD":         "secrets come as files",
	"PUSHOVER_TWOFA":            "a code lives for half a minute",
	"PUSHOVER_TWOFA_FILE":       "a code lives for half a minute",
	"PUSHOVER_E2EE_KEYS":        "secrets come as files",
	"NATS_TOKEN":                "secrets come as files",
	"NATS_PASSWORD":             "secrets come as files",
	"KAFKA_PASSWORD":            "secrets come as files",
	"KAFKA_OAUTH_CLIENT_SECRET": "secrets come as files",
}

// programVariables asks the program for its variables.
func programVariables(t *testing.T) []string {
	t.Helper()
	command := exec.Command("go", "run", "./cmd/pushover-connector", "config")
	command.Dir = "../.."
	out, err := command.Output()
	if err != nil {
		t.Fatalf("ask the program for its variables: %v", err)
	}
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^  ([A-Z0-9_]+) \(`).FindAllStringSubmatch(string(out), -1) {
		all = append(all, m[1])
	}
	if len(all) < 20 {
		t.Fatalf("got %d variables of the program, want them all", len(all))
	}
	return all
}

// TestChartAndProgramAgreeOnVariables: the chart sets no variable that the
// program has not, and lacks none without a reason.
func TestChartAndProgramAgreeOnVariables(t *testing.T) {
	program := programVariables(t)
	chart := map[string]bool{}
	for _, v := range ciValues(t) {
		objects, _, err := tryRender(t, release{name: "rel", namespace: "ns"}, v)
		if err != nil {
			t.Fatal(err)
		}
		for name := range env(t, objects) {
			chart[name] = true
		}
	}
	for name := range chart {
		if !slices.Contains(program, name) && !regexp.MustCompile(`^(EXTRA_|TZ$|GOMEMLIMIT$)`).MatchString(name) {
			t.Errorf("the chart sets %s, which the program does not know", name)
		}
	}
	for _, name := range program {
		if !chart[name] && notInChart[name] == "" {
			t.Errorf("no file in ci/ sets %s: give the chart a value for it, or a reason in notInChart", name)
		}
	}
	for name := range notInChart {
		if !slices.Contains(program, name) {
			t.Errorf("notInChart has %s, which the program does not know", name)
		}
	}
}

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pushover-connector/pushover-connector/connector"
)

// The names of all variables are a contract.
func TestVariables(t *testing.T) {
	var names []string
	for _, sec := range new(settings).sections() {
		for _, v := range sec.variables() {
			names = append(names, v.Name)
			if v.Meaning == "" {
				t.Errorf("%s has no meaning", v.Name)
			}
		}
	}
	slices.Sort(names)
	golden(t, "variables.golden", names)
}

const (
	tableBegin = "<!-- begin: pushover-connector config -markdown -->\n"
	tableEnd   = "<!-- end -->\n"
)

// The README's table of variables is generated.
func TestReadmeListsAllVariables(t *testing.T) {
	path := filepath.Join("..", "..", "README.md")
	readme, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(readme), tableBegin)
	if !ok {
		t.Fatalf("the README has no line %q", strings.TrimSpace(tableBegin))
	}
	table, after, ok := strings.Cut(rest, tableEnd)
	if !ok {
		t.Fatalf("the README has no line %q", strings.TrimSpace(tableEnd))
	}
	var want bytes.Buffer
	printMarkdown(&want)
	if table == want.String() {
		return
	}
	if !*update {
		t.Fatal("the README's table of variables is out of date; run 'go test ./cmd/pushover-connector -update'")
	}
	if err := os.WriteFile(path, []byte(before+tableBegin+want.String()+tableEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestUnknownVariablesAreNoticed(t *testing.T) {
	got := unknownVariables([]string{
		"PUSHOVER_DEVICENAME=x", "NATS_URL=x", "KAFKA_BROKER=x", "PATH=x", "PUSHOVER_SECRET_FILE=x",
		"KAFKA_SERVICE_HOST=10.0.0.1", "NATS_PORT=tcp://10.0.0.1:4222", "NATS_PORT_4222_TCP_ADDR=10.0.0.1",
		"NATS_URLS=x", "LOG_LEEVL=debug", "HTTP_PROXY=x", "XDG_DATA_DIRS=x", "PUSHOVER_WHATEVER=x", "LINK=x", "NATS_URL_=",
	})
	want := []unknownVariable{
		{"KAFKA_BROKER", "KAFKA_BROKERS"}, {"LOG_LEEVL", "LOG_LEVEL"}, {"NATS_URLS", "NATS_URL"},
		{"PUSHOVER_DEVICENAME", "PUSHOVER_DEVICE_NAME"}, {"PUSHOVER_WHATEVER", ""},
	}
	if !slices.Equal(got, want) {
		t.Errorf("unknown are %v, want %v", got, want)
	}
}

// Every command offers help that fits a terminal.
func TestHelpFitsATerminal(t *testing.T) {
	for _, args := range append([][]string{{"help"}, {"config"}}, helpLines()...) {
		var out bytes.Buffer
		if code := execute(t.Context(), args, streams{os.Stdin, &out, &out}); code != 0 {
			t.Errorf("%v: exit code %d: %s", args, code, out.String())
		}
		for line := range strings.Lines(out.String()) {
			if len(line) > 81 {
				t.Errorf("%v: a line of %d columns: %s", args, len(line), line)
			}
		}
	}
}

func helpLines() [][]string {
	var all [][]string
	for _, c := range commands() {
		all = append(all, []string{"help", c.name})
	}
	return all
}

// Keys come separated by commas, or one a line as other programs keep them.
func TestKeysAreSeparatedByCommasOrLines(t *testing.T) {
	one, two := strings.Repeat("0f", 32), strings.Repeat("A1", 32)
	for text, want := range map[string]int{
		"": 0, one: 1, one + "," + two: 2, one + "\n" + two + "\n": 2, "\r\n" + one + "\r\n\r\n" + two: 2, " " + one + " ,\n" + two + ",": 2,
	} {
		a := accountSettings{E2EEKeys: connector.Secret(text)}
		keys, err := a.keys()
		if err != nil || len(keys) != want {
			t.Errorf("%q: got %d keys, %v; want %d", text, len(keys), err, want)
		}
	}
	a := accountSettings{E2EEKeys: connector.Secret(one + "\n" + two[1:])}
	if _, err := a.keys(); err == nil || !strings.Contains(err.Error(), "key 2: ") || strings.Contains(err.Error(), two[1:9]) {
		t.Errorf("got %v, want an error that names the second key and repeats nothing of it", err)
	}
}

package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the golden files and the generated part of the README")

// TestMain lets scripts run the program itself: the test binary, started under
// its name, is the program. Under another name it is a NATS server, for tests
// that need one in a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pushover-connector": main,
		"test-nats-server":   natsServer,
	})
}

// The scripts in testdata are the documentation of the command line that
// cannot go stale.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setUpScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sim":     simCommand,
			"stream":  streamCommand,
			"await":   awaitCommand,
			"publish": publishCommand,
			"kafka":   kafkaCommand,
			"exits":   exitsCommand,
		},
		UpdateScripts:      *update,
		RequireUniqueNames: true,
	})
}

// golden compares lines with those of a file in testdata, or rewrites that with
// -update.
func golden(t *testing.T, name string, lines []string) {
	t.Helper()
	path, got := filepath.Join("testdata", name), strings.Join(lines, "\n")+"\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

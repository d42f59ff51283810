package main

import (
	"flag"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the golden files and the generated part of the README")

// TestMain lets scripts run the program itself: the test binary, started under
// its name, is the program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pushover-connector": main,
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
		},
		UpdateScripts:      *update,
		RequireUniqueNames: true,
	})
}

package main

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
)

// The same line, as a person on a terminal, a person elsewhere and a machine
// read it. A list's items can be told apart, and what is empty is not there.
func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	for name, c := range map[string]struct {
		log  *slog.Logger
		want string
	}{
		"terminal": {terminalLogger(&out, slog.LevelInfo, true),
			`^[\d :\x1b\[m-]+INF\S* sink open \S*facts=\S*"replicas 1; storage file, synced at once"`},
		"no colour": {terminalLogger(&out, slog.LevelInfo, false),
			`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INF sink open facts="replicas 1; storage file, synced at once" error="?no\\+x1b\[2Jway"?\n$`},
		"text": {newLogger(generalSettings{LogFormat: "text"}, &out),
			`^time=\S+ level=INFO msg="sink open" facts="replicas 1; storage file, synced at once" error=\S+\n$`},
		"json": {newLogger(generalSettings{}, &out),
			`"facts":\["replicas 1","storage file, synced at once"\],"reason":"","error":`},
	} {
		out.Reset()
		c.log.Info("sink open", slog.Any("facts", []string{"replicas 1", "storage file, synced at once"}),
			slog.String("reason", ""), slog.Any("error", errors.New("no\x1b[2Jway")))
		got := out.String()
		if !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%s: got %q, want it to match %s", name, got, c.want)
		}
		if strings.Contains(got, "\x1b[2J") {
			t.Errorf("%s: a logged text steers the terminal: %q", name, got)
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// promptWatch is a terminal's output. It runs an action once a text has appeared.
type promptWatch struct {
	mu     sync.Mutex
	text   bytes.Buffer
	await  string
	action func()
	once   sync.Once
}

func (w *promptWatch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	if strings.Contains(w.text.String(), w.await) {
		w.once.Do(w.action)
	}
	return len(p), nil
}

func TestInterruptedLoginSaysWhatHasChanged(t *testing.T) {
	for _, test := range []struct {
		name, at string
		settings bool // e-mail and password come from the environment
		want     string
	}{
		{"before the login", "e-mail address:", false, "interrupted; nothing was changed"},
		{"after it", "Name for this device", true,
			"interrupted; the login was accepted, but no device was registered and no credentials were stored"},
	} {
		t.Run(test.name, func(t *testing.T) {
			sim := startSim(t)
			dir := t.TempDir()
			in, never, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer never.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := &promptWatch{await: test.at, action: cancel}
			l := login{
				output: "file", account: accountOf(sim, filepath.Join(dir, "new", "credentials.json")),
				streams: streams{in: in, out: out, err: out}, input: bufio.NewReader(in), terminal: true,
			}
			if !test.settings {
				l.account.Email, l.account.Password = "", ""
			}
			if err := l.run(ctx); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

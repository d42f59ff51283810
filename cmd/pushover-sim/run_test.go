package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A program is run in this process until stop.
type program struct {
	start map[string]string
	line  string
	stop  func() int
}

func launch(t *testing.T, args ...string) program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, args, in, &stderr)
		_ = in.Close()
	}()
	reader := bufio.NewReader(out)
	line, err := reader.ReadString('\n')
	if err != nil {
		cancel()
		t.Fatalf("no start line: %v, exit code %d, stderr:\n%s", err, <-code, &stderr)
	}
	p := program{line: line}
	if err := json.Unmarshal([]byte(line), &p.start); err != nil {
		t.Fatalf("start line %q: %v", line, err)
	}
	p.stop = sync.OnceValue(func() int {
		cancel()
		rest, _ := io.ReadAll(reader) // ends when run does
		if len(rest) > 0 {
			t.Errorf("more on stdout: %q", rest)
		}
		return <-code
	})
	t.Cleanup(func() { p.stop() })
	return p
}

func post(t *testing.T, url string, form url.Values) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestStartLineIsAllOneNeeds(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	p := launch(t, "-listen", "127.0.0.1:0", "-tls-listen", "127.0.0.1:0", "-ca-file", ca, "-email", "e@x", "-password", "p", "-log-level", "error")
	for _, key := range []string{"api_url", "stream_url", "tls_addr", "user_key", "app_token"} {
		if p.start[key] == "" {
			t.Errorf("%s is empty in %s", key, p.line)
		}
	}
	if p.start["email"] != "e@x" || p.start["password"] != "p" || p.start["ca_file"] != ca || p.start["totp_secret"] != "" || len(p.start) != 9 {
		t.Errorf("got %s", p.line)
	}
	code, body := post(t, p.start["api_url"]+"/1/users/login.json", url.Values{"email": {"e@x"}, "password": {"p"}})
	if code != 200 {
		t.Errorf("login: got %d %s", code, body)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("the CA file holds no certificate: %q", pem)
	}
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "client.pushover.net", MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(t.Context(), "tcp", p.start["tls_addr"])
	if err != nil {
		t.Errorf("TLS: %v", err)
	} else {
		_ = conn.Close()
	}
	if code := p.stop(); code != 0 {
		t.Errorf("stopped with %d, want 0", code)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(ca), "*")); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSecondFactorAndNoTLS(t *testing.T) {
	p := launch(t, "-listen", "127.0.0.1:0", "-tls-listen", "", "-twofa", "-log-level", "error")
	if p.start["totp_secret"] == "" || p.start["tls_addr"] != "" || p.start["ca_file"] != "" {
		t.Errorf("got %s", p.line)
	}
	code, _ := post(t, p.start["api_url"]+"/1/users/login.json", url.Values{"email": {p.start["email"]}, "password": {p.start["password"]}})
	if code != 412 {
		t.Errorf("login without code: got %d, want 412", code)
	}
}

func TestAnUnlicensedAccountWithoutTrialMayNotReceive(t *testing.T) {
	for trial, want := range map[string]int{"0s": 403, "-1s": 403, "1h": 200} {
		p := launch(t, "-listen", "127.0.0.1:0", "-tls-listen", "", "-unlicensed", "-trial", trial, "-log-level", "error")
		api := p.start["api_url"] + "/1/"
		var login, device struct{ Secret, ID string }
		_, body := post(t, api+"users/login.json", url.Values{"email": {p.start["email"]}, "password": {p.start["password"]}})
		if err := json.Unmarshal([]byte(body), &login); err != nil || login.Secret == "" {
			t.Fatalf("login: %v in %s", err, body)
		}
		_, body = post(t, api+"devices.json", url.Values{"secret": {login.Secret}, "name": {"n"}, "os": {"O"}})
		if err := json.Unmarshal([]byte(body), &device); err != nil || device.ID == "" {
			t.Fatalf("register: %v in %s", err, body)
		}
		code, body := post(t, api+"devices/"+device.ID+"/update_highest_message.json", url.Values{"secret": {login.Secret}, "message": {"0"}})
		if code != want {
			t.Errorf("-trial %s: got %d %s, want %d", trial, code, body, want)
		}
		p.stop()
	}
}

func TestStartLineNamesAnAddressToConnectTo(t *testing.T) {
	p := launch(t, "-listen", "0.0.0.0:0", "-tls-listen", "0.0.0.0:0", "-log-level", "error")
	for key, want := range map[string]string{"api_url": "http://127.0.0.1:", "stream_url": "ws://127.0.0.1:", "tls_addr": "127.0.0.1:"} {
		if !strings.HasPrefix(p.start[key], want) {
			t.Errorf("%s: got %s, want %s", key, p.start[key], want)
		}
	}
}

func TestTemporaryCAFileIsRemoved(t *testing.T) {
	p := launch(t, "-listen", "127.0.0.1:0", "-tls-listen", "127.0.0.1:0", "-log-level", "error")
	ca := p.start["ca_file"]
	if _, err := os.Stat(ca); err != nil {
		t.Fatal(err)
	}
	p.stop()
	if _, err := os.Stat(filepath.Dir(ca)); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
}

func TestBadArgumentsAreAllReported(t *testing.T) {
	rows := []struct {
		args []string
		want []string
	}{
		{[]string{"-page-size", "0", "-keepalive", "0s", "-retention", "-1s", "-log-level", "loud", "extra"}, []string{"-page-size", "-keepalive", "-retention", "-log-level", `"extra"`}},
		{[]string{"-listen", "", "-tls-listen", ""}, []string{"-listen and -tls-listen"}},
		{[]string{"-monthly-limit", "0", "-user-key", "x", "-app-token", "x"}, []string{"-monthly-limit", "-user-key", "-app-token"}},
		{[]string{"-unknown"}, []string{"-unknown"}},
		{[]string{"-page-size", "many"}, []string{"-page-size", `"many"`}},
	}
	for _, row := range rows {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), row.args, &stdout, &stderr); code != 2 || stdout.Len() != 0 {
			t.Errorf("%q: got exit code %d and %q on stdout, want 2 and nothing", row.args, code, &stdout)
		}
		for _, want := range append(row.want, "-help") {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%q: stderr does not name %s:\n%s", row.args, want, &stderr)
			}
		}
	}
}

func TestWhatKeepsItFromServingIsExitCode1(t *testing.T) {
	var config net.ListenConfig
	busy, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	missing := filepath.Join(t.TempDir(), "missing", "ca.pem")
	for want, args := range map[string][]string{
		"address already in use": {"-listen", busy.Addr().String(), "-tls-listen", ""},
		"-ca-file":               {"-listen", "127.0.0.1:0", "-tls-listen", "127.0.0.1:0", "-ca-file", missing},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), want) || stdout.Len() != 0 {
			t.Errorf("%q: got exit code %d, stdout %q, stderr %q; want 1 and %q", args, code, &stdout, &stderr, want)
		}
	}
}

func TestHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-help"}, &stdout, &stderr); code != 0 || stderr.Len() != 0 {
		t.Errorf("got exit code %d and stderr %q", code, &stderr)
	}
	for _, want := range []string{"-tls-listen", "curl", "/sim/faults", "/sim/violations", "update_highest_message", "totp_secret"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the help does not speak of %s", want)
		}
	}
	if lines := strings.Split(stdout.String(), "\n"); len(lines) > 0 {
		for _, line := range lines {
			if len([]rune(line)) > 110 {
				t.Errorf("too wide: %q", line)
			}
		}
	}
}

func TestCAFileIsReplacedWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.pem")
	for _, content := range []string{"a long first content", "short"} {
		if err := writeFile(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if diff := cmp.Diff(content, string(got)); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("got mode %v, %v; want 0644", info.Mode(), err)
	}
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A stdout takes what the demonstration prints. When that holds a text, it
// calls do, once, before the demonstration goes on. do may set the next ones.
type stdout struct {
	bytes.Buffer
	at string
	do func(printed string)
}

func (s *stdout) Write(b []byte) (int, error) {
	n, err := s.Buffer.Write(b)
	if s.do != nil && strings.Contains(s.String(), s.at) {
		do := s.do
		s.do = nil
		do(s.String())
	}
	return n, err
}

func TestTourShowsEveryStepAndLeavesNothingBehind(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	var out stdout
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"-once"}, &out, &stderr); code != 0 || stderr.Len() != 0 {
		t.Errorf("got exit code %d and stderr %q, want 0 and nothing", code, &stderr)
	}
	rest := out.String()
	for _, want := range []string{
		"✓ pushover", "✓ nats", "✓ connector", "✓ page",
		"→ low       Backup", "→ normal    Front door", "→ high      Disk", "→ emergency Cellar",
		"← low       Backup", "← normal    Front door", "← high      Disk", "← emergency Cellar",
		"✓ command", "✓ result", "✓ sender    sees it acknowledged by device \"demo\"",
		"✓ queue     empty", "✓ manners   no violations",
	} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("no %q, or not in its place, in:\n%s", want, &out)
		}
		rest = after
	}
	if strings.Contains(rest, "Your turn") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("got more than the tour, or colour without a terminal:\n%s", &out)
	}
	if left, _ := filepath.Glob(filepath.Join(temporary, "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// simulate makes a request of the simulator that the demonstration runs, as
// anybody on the machine could.
func simulate(t *testing.T, printed, method, path, body string) {
	t.Helper()
	ask(t, method, regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(printed)+path, body)
}

// ask makes a request and returns the answer.
func ask(t *testing.T, method, address, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("User-Agent", "") // none
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// After the tour it prints what is sent and acknowledged by hand, and its page
// shows a connector that works.
func TestItGoesOnShowingWhatArrives(t *testing.T) {
	ctx, interrupt := context.WithTimeout(t.Context(), tourBudget)
	defer interrupt()
	var out stdout
	var page, status string
	out.at = "What arrives from now on"
	out.do = func(printed string) {
		simulate(t, printed, http.MethodPost, "/sim/messages", `{"priority":2,"title":"Roof","message":"It leaks"}`)
		out.at, out.do = "  Roof: It leaks  [", func(printed string) {
			address := regexp.MustCompile(`(http://\S+/)  \(the connector's status\)`).FindStringSubmatch(printed)[1]
			page, status = ask(t, http.MethodGet, address, ""), ask(t, http.MethodGet, address+"status.json", "")
			acknowledge(t, printed)
			out.at, out.do = "  result     acknowledged by device demo  [", func(string) { interrupt() }
		}
	}
	var stderr bytes.Buffer
	if code := run(ctx, nil, &out, &stderr); code != 0 || stderr.Len() != 0 {
		t.Errorf("got exit code %d and stderr %q, want 0 and nothing", code, &stderr)
	}
	if out.do != nil {
		t.Fatalf("no %q in:\n%s", out.at, &out)
	}
	_, arrived, _ := strings.Cut(out.String(), "What arrives from now on:\n")
	if lines := strings.Count(arrived, "\n20"); lines != 2 {
		t.Errorf("got %d lines of arrivals, want one for the message and one for the result:\n%s", lines, arrived)
	}
	if !strings.Contains(page, "pushover-connector ack ") {
		t.Errorf("the page does not show the emergency:\n%s", page)
	}
	for _, want := range []string{`"ready": true`, `"name": "nats"`, `"durability": "power"`, `"part": "commands"`, `"part": "store"`} {
		if !strings.Contains(status, want) {
			t.Errorf("no %s in the status:\n%s", want, status)
		}
	}
}

// acknowledge does what "pushover-connector ack" does with the first receipt that
// the lines of arrivals show.
func acknowledge(t *testing.T, printed string) {
	t.Helper()
	bus := regexp.MustCompile(`nats://\S+`).FindString(printed)
	receipt := regexp.MustCompile(`It leaks  \[(\w+)\]`).FindStringSubmatch(printed)[1]
	nc, err := natsgo.Connect(bus)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish("pushover.control.ack", []byte(receipt)); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestStepThatFailsIsNamedAndExitCode1(t *testing.T) {
	rows := map[string]struct {
		method, path, body string
		want, missing      string // on stderr, on stdout
	}{
		"sending": {
			"POST", "/sim/faults", `{"on":"POST messages","status":429,"skip":1}`,
			`send "Front door"`, "→ normal",
		},
		"acknowledging": {
			"POST", "/sim/faults", `{"on":"POST acknowledge","status":404}`,
			"the result on pushover.results", "✓ result",
		},
		"looking as the sender": {
			"POST", "/sim/faults", `{"on":"GET receipt","body":"{\"status\":1,\"acknowledged\":0}"}`,
			"the sender does not see", "✓ sender",
		},
		"manners": {
			"GET", "/1/messages.json", "",
			"violations of manners, the first: user-agent", "✓ manners",
		},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := stdout{at: "Sent through", do: func(printed string) {
				simulate(t, printed, row.method, row.path, row.body)
			}}
			var stderr bytes.Buffer
			if code := run(t.Context(), []string{"-once"}, &out, &stderr); code != 1 || !strings.Contains(stderr.String(), row.want) {
				t.Errorf("got exit code %d and stderr %q, want 1 and %q", code, &stderr, row.want)
			}
			if strings.Contains(out.String(), row.missing) {
				t.Errorf("shows %q all the same:\n%s", row.missing, &out)
			}
		})
	}
}

func TestStageThatCannotBeBuiltIsExitCode1(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	t.Setenv("TMPDIR", missing)
	var out, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-once"}, &out, &stderr); code != 1 || !strings.Contains(stderr.String(), missing) {
		t.Errorf("got exit code %d and stderr %q, want 1 and the directory's name", code, &stderr)
	}
}

// Ctrl-C and SIGTERM end the context. Who asked for the tour alone did not get
// it; for everybody else it is the ordinary way to leave.
func TestInterruptionIsAFailureOfTheTourAlone(t *testing.T) {
	rows := []struct {
		at   string
		args []string
		want int
	}{
		{"A simulated Pushover", []string{"-once"}, 1},
		{"Sent through", []string{"-once"}, 1},
		{"Received by", []string{"-once"}, 1},
		{"A simulated Pushover", nil, 0},
		{"Received by", nil, 0},
		{"Your turn", nil, 0},
	}
	for _, row := range rows {
		t.Run(fmt.Sprint(row.args, " at ", row.at), func(t *testing.T) {
			t.Parallel()
			ctx, interrupt := context.WithCancel(t.Context())
			out := stdout{at: row.at, do: func(string) { interrupt() }}
			var stderr bytes.Buffer
			if code := run(ctx, row.args, &out, &stderr); code != row.want || (row.want == 0) != (stderr.Len() == 0) {
				t.Errorf("got exit code %d and stderr %q, want %d", code, &stderr, row.want)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	for arg, want := range map[string]int{"-help": 0, "-unknown": 2, "extra": 2} {
		var out, stderr bytes.Buffer
		if code := run(t.Context(), []string{arg}, &out, &stderr); code != want || out.Len() != 0 || stderr.Len() == 0 {
			t.Errorf("%s: got exit code %d, stdout %q, stderr %q; want %d and words on stderr", arg, code, &out, &stderr, want)
		}
	}
}

func TestLogIsShownOnRequest(t *testing.T) {
	var out, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-once", "-verbose"}, &out, &stderr); code != 0 || !strings.Contains(stderr.String(), "level=INFO") {
		t.Errorf("got exit code %d and stderr %q, want 0 and a log", code, &stderr)
	}
}

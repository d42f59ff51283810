package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func startSim(t *testing.T) *pushovertest.Server {
	t.Helper()
	sim := pushovertest.New(pushovertest.Options{})
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	return sim
}

// accountOf are settings for a first login with the simulator's account.
func accountOf(sim *pushovertest.Server, file string) accountSettings {
	account := sim.Account()
	return accountSettings{
		CredentialsFile: file, DeviceName: "nas", APIURL: sim.APIURL(), StreamURL: sim.StreamURL(),
		Email: account.Email, Password: pushover.Secret(account.Password),
	}
}

// newFirstLogin is the first login of a daemon that has just started.
func newFirstLogin(t *testing.T, a *accountSettings) *firstLogin {
	t.Helper()
	client, err := newClient(*a, pushover.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &firstLogin{account: a, client: client, log: slog.New(slog.DiscardHandler), resume: "run 'pushover-connector resume' or restart"}
}

func mustBeRefused(t *testing.T, err error) *connector.Failure {
	t.Helper()
	var f *connector.Failure
	if !errors.As(err, &f) || f.Reason != connector.ReasonRefusedLogin || pushover.Retryable(err) {
		t.Fatalf("got %#v, want a refused login", err)
	}
	return f
}

func TestRefusedLoginIsRepeatedOnRequestOnly(t *testing.T) {
	sim := startSim(t)
	a := accountOf(sim, filepath.Join(t.TempDir(), "credentials.json"))
	a.DeviceName = sim.AddDevice("taken").Name

	f := mustBeRefused(t, attemptError(t, newFirstLogin(t, &a)))
	for _, want := range []string{
		"choose another PUSHOVER_DEVICE_NAME", "run 'pushover-connector resume'", "delete " + a.CredentialsFile + ".refused",
	} {
		if !strings.Contains(f.Remedy, want) {
			t.Errorf("remedy %q does not contain %q", f.Remedy, want)
		}
	}

	sim.RemoveDevice("taken")
	before := sim.Requests("POST login")
	restarted := newFirstLogin(t, &a)
	again := mustBeRefused(t, attemptError(t, restarted))
	if sim.Requests("POST login") != before {
		t.Error("a restart repeated the login")
	}
	if !strings.Contains(again.Detail, `device name "taken" is already taken`) || again.Remedy != f.Remedy {
		t.Errorf("got %q and %q after a restart", again.Detail, again.Remedy)
	}

	if _, err := restarted.attempt(t.Context()); err != nil { // as resume does
		t.Fatal(err)
	}
	if _, err := os.Stat(a.refusedFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v for the record of the refusal, want it removed", err)
	}
}

func TestUnansweredRegistrationIsRepeatedWithoutAnotherLogin(t *testing.T) {
	sim := startSim(t)
	a := accountOf(sim, filepath.Join(t.TempDir(), "credentials.json"))
	first := newFirstLogin(t, &a)
	sim.Fault(pushovertest.Fault{On: "POST devices", Drop: "after", Count: 1})
	if err := attemptError(t, first); !pushover.Retryable(err) {
		t.Fatalf("got %v, want an error that may be retried", err)
	}
	if _, err := os.Stat(a.refusedFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unanswered registration counts as refused: %v", err)
	}
	first.client = newFirstLogin(t, &a).client // which does not wait after the failure
	f := mustBeRefused(t, attemptError(t, first))
	if want := "perhaps by this connector itself"; !strings.Contains(f.Detail, want) {
		t.Errorf("got %q, want it to contain %q", f.Detail, want)
	}
	if got := sim.Requests("POST login"); got != 1 {
		t.Errorf("logged in %d times, want once", got)
	}
}

func TestUnreachableServiceIsNotARefusal(t *testing.T) {
	sim := startSim(t)
	a := accountOf(sim, filepath.Join(t.TempDir(), "credentials.json"))
	for _, trouble := range []pushovertest.Fault{
		{On: "POST login", Drop: "before", Count: 1},
		{On: "POST login", Status: http.StatusBadGateway, Body: "<html>proxy</html>", Count: 1},
	} {
		sim.Fault(trouble)
		if err := attemptError(t, newFirstLogin(t, &a)); !pushover.Retryable(err) {
			t.Errorf("got %v, want an error that may be retried", err)
		}
	}
	if _, err := os.Stat(a.refusedFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("recorded as refused: %v", err)
	}
}

func attemptError(t *testing.T, f *firstLogin) error {
	t.Helper()
	_, err := f.attempt(t.Context())
	if err == nil {
		t.Fatal("the login succeeded")
	}
	return err
}

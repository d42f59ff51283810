package connector_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// resultsFail makes the bus take everything but results.
func resultsFail(_ int, events []connector.Event) (stored, confirmed int, err error) {
	if events[0].Class == connector.ClassResult {
		return 0, 0, errBusDown
	}
	return len(events), len(events), nil
}

// An acknowledgement that was made is reported as such, with its attempts, however
// long its result could not be published, and that it waits is said meanwhile.
func TestAcknowledgementIsReportedHoweverLongItsResultWaits(t *testing.T) {
	for _, outage := range []time.Duration{time.Second, 4 * time.Hour, 30 * time.Hour} {
		whileLive(t, func(t *testing.T, r *rig, run *running) {
			receipt := r.emergency()
			r.sim.Fault(pushovertest.Fault{On: "POST acknowledge", Status: 503, Count: 1})
			cmd := connector.Command{ID: "S#1", Body: []byte(receipt), Time: time.Now()}
			if _, err := run.HandleCommand(t.Context(), cmd); err == nil {
				t.Fatal("a 503 did not fail the command")
			}
			time.Sleep(10 * time.Second)
			r.log.setScript(resultsFail)
			for began := time.Now(); time.Since(began) < outage; {
				_, err := run.HandleCommand(t.Context(), cmd)
				var again *connector.RetryError
				if !errors.As(err, &again) || !strings.Contains(err.Error(), "acknowledged, but the result is not published: bus is down") {
					t.Fatalf("got %v, want a retry that says what happened", err)
				}
				r.ready(run, "a result waits", 503, `"commands"`)
				time.Sleep(again.After)
			}
			r.log.setScript(nil)
			got, err := run.HandleCommand(t.Context(), cmd)
			if err != nil || got.Status != connector.StatusAcknowledged || got.Attempts != 2 {
				t.Errorf("after %s: got %s (%s) with %d attempts, %v; want acknowledged with 2", outage, got.Status, got.Reason, got.Attempts, err)
			}
			if n := r.sim.Requests("POST acknowledge"); n != 2 {
				t.Errorf("%d calls, want 2", n)
			}
			if n := len(r.log.ids(connector.ClassResult)); n != 1 {
				t.Errorf("%d results in the log, want 1", n)
			}
			r.ready(run, "all is published", 200)
			if !strings.Contains(r.output.String(), "the result is not published") {
				t.Errorf("the log says nothing of it:\n%s", r.output)
			}
		})
	}
}

// So are a rejection and a lever's result: what was decided is not decided again.
func TestWhatWasDecidedStaysDecided(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		unknown := connector.Command{ID: "S#1", Body: []byte("r12345678901234567890123456789"), Time: time.Now()}
		sync := connector.Command{ID: "S#2", Body: []byte(`{"command":"sync"}`), Time: time.Now()}
		r.log.setScript(resultsFail)
		for _, cmd := range []connector.Command{unknown, sync} {
			if _, err := run.HandleCommand(t.Context(), cmd); err == nil {
				t.Fatal("a result that cannot be published did not fail the command")
			}
		}
		time.Sleep(4 * time.Hour)
		r.log.setScript(nil)
		for cmd, want := range map[*connector.Command]connector.ResultStatus{&unknown: connector.StatusRejected, &sync: connector.StatusDone} {
			if got, err := run.HandleCommand(t.Context(), *cmd); err != nil || got.Status != want {
				t.Errorf("%s: got %s (%s), %v; want %s", cmd.ID, got.Status, got.Reason, err, want)
			}
		}
		if n := r.sim.Requests("POST acknowledge"); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// A request is answered with what happened, also when the log cannot have it yet,
// and the log gets it later.
func TestRequestIsAnsweredBeforeItsResultIsPublished(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		r.log.setScript(resultsFail)
		answer, err := run.Endpoints()[0].Handle(t.Context(), []byte(receipt))
		if err != nil || !strings.Contains(string(answer), `"status":"acknowledged"`) {
			t.Errorf("got %s, %v; want acknowledged", answer, err)
		}
		time.Sleep(5 * time.Hour)
		r.log.setScript(nil)
		time.Sleep(cured)
		synctest.Wait()
		if n := len(r.log.ids(connector.ClassResult)); n != 1 {
			t.Errorf("%d results in the log, want 1", n)
		}
		r.ready(run, "all is published", 200)
	})
}

// What ends with the process is named.
func TestResultOfARequestThatIsLostIsNamed(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		r.log.setScript(resultsFail)
		for range 100 {
			_, _ = run.Endpoints()[0].Handle(t.Context(), []byte("nothing"))
		}
		run.stop()
		if n := strings.Count(r.output.String(), "result of a request lost"); n != 100 {
			t.Errorf("%d of 100 lost results are in the log", n)
		}
	})
}

// A command for a session that is halted says why it waits.
func TestCommandOfAHaltedSessionSaysWhy(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		r.sim.RevokeSecret(r.device.Secret)
		r.awaitState(run, connector.StateLoginNeeded)
		if _, err := run.HandleCommand(t.Context(), connector.Command{ID: "S#1", Body: []byte(receipt), Time: time.Now()}); err == nil {
			t.Fatal("got no error")
		}
		if p := part(run.Status(), connector.PartCommands); p.OK || p.Reason != connector.ReasonRefusedSecret || p.Remedy == "" {
			t.Errorf("commands are %+v, want the session's reason and remedy", p)
		}
	})
}

// An alarm is sounding: what has failed is tried again after five seconds, and from
// then on every ten.
func TestCommandComesAgainSoon(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		cmd := connector.Command{ID: "S#1", Body: []byte(r.emergency()), Time: time.Now()}
		r.log.setScript(resultsFail)
		for i, want := range []time.Duration{5 * time.Second, 10 * time.Second, 10 * time.Second, 10 * time.Second} {
			_, err := run.HandleCommand(t.Context(), cmd)
			var again *connector.RetryError
			if !errors.As(err, &again) || again.After != want {
				t.Fatalf("delivery %d: got %v, want a retry after %s", i+1, err, want)
			}
			time.Sleep(again.After)
		}
	})
}

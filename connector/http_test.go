package connector_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func (r *rig) get(run *running, path string) (int, string) {
	r.t.Helper()
	w := httptest.NewRecorder()
	run.Handler(r.reg).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	body, err := io.ReadAll(w.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return w.Code, string(body)
}

// ready asserts what /readyz says, that /status.json agrees, and that liveness
// does not care.
func (r *rig) ready(run *running, step string, code int, words ...string) {
	r.t.Helper()
	synctest.Wait()
	got, body := r.get(run, "/readyz")
	if got != code || !json.Valid([]byte(body)) {
		r.t.Errorf("%s: /readyz is %d %s, want %d and JSON", step, got, body, code)
	}
	_, status := r.get(run, "/status.json")
	for _, word := range words {
		if !strings.Contains(body, word) || !strings.Contains(status, word) {
			r.t.Errorf("%s: /readyz and /status.json do not both say %q: %s", step, word, body)
		}
	}
	if got, body := r.get(run, "/livez"); got != 200 {
		r.t.Errorf("%s: /livez is %d %s, want 200", step, got, body)
	}
}

// Invariant: ready means that a message sent now would be an event within
// seconds. Readiness follows every part; liveness does not care.
func TestReadinessFollowsEveryPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{Retention: 3 * time.Hour / 2})
		run := r.start()
		want := func(step string, code int, words ...string) {
			t.Helper()
			r.ready(run, step, code, words...)
		}
		want("before anything was accepted", 503, "starting")
		r.awaitState(run, connector.StateLive)
		want("live", 200)
		r.bus.Failed(errBusDown, time.Now().Add(time.Second))
		want("bus gone", 503, "bus is down")
		r.bus.OK()
		r.log.setScript(func(int, []connector.Event) (int, int, error) { return 0, 0, errBusDown })
		r.send(1, pushovertest.Outgoing{})
		want("publish failing", 503, "bus is down", `"publish"`, "next_attempt")
		time.Sleep(time.Hour)
		want("publish failing for long", 503, "bus is down")
		r.log.setScript(nil)
		r.drained()
		want("recovered", 200)

		// Trouble that ends with its session does not outlive it.
		r.log.setScript(func(int, []connector.Event) (int, int, error) { return 0, 0, errBusDown })
		r.send(1, pushovertest.Outgoing{})
		want("failing again", 503, "bus is down")
		r.sim.Signal(r.device.Name, "E")
		r.awaitState(run, connector.StateLoginNeeded)
		r.log.setScript(nil)
		time.Sleep(2 * time.Hour) // the service drops the message
		if err := run.Resume(); err != nil {
			t.Fatal(err)
		}
		r.awaitState(run, connector.StateLive)
		want("a new session with nothing to publish", 200)
		r.sim.Signal(r.device.Name, "A")
		r.awaitState(run, connector.StateTakenOver)
		time.Sleep(time.Hour)
		want("taken over", 503, "another program logged in", "stop the other program")
	})
}

func TestStatusDocumentFollowsItsSchema(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		r.sim.Send(pushovertest.Outgoing{Message: "SECRET TEXT", Title: "SECRET TITLE", Priority: 2})
		r.drained()
		r.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 503})
		r.sim.Signal(r.device.Name, "!")
		synctest.Wait()
		_, status := r.get(run, "/status.json")
		validate(t, compileSchema(t, connector.SchemaStatus), []byte(status))
		for _, word := range []string{`"server_error"`, `"at_least": true`, `"memory#1"`, `"emergency"`, `"cleared": true`} {
			if !strings.Contains(status, word) {
				t.Errorf("the status does not contain %s:\n%s", word, status)
			}
		}
		if code, _ := r.get(run, "/nothing"); code != 404 {
			t.Errorf("an unknown path gives %d, want 404", code)
		}
	})
}

// The names of all metrics are a contract: dashboards and alerts use them.
func TestMetricNames(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	connector.NewMetrics(reg, "nats", "v1", "abc")
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	descriptions := make(chan *prometheus.Desc, 100)
	reg.Describe(descriptions)
	close(descriptions)
	var names []string
	for d := range descriptions {
		_, rest, _ := strings.Cut(d.String(), `fqName: "`)
		name, _, _ := strings.Cut(rest, `"`)
		names = append(names, name)
	}
	slices.Sort(names)
	golden(t, "metrics.golden", []byte(strings.Join(names, "\n")+"\n"))
}

// Invariant: no secret and no message text leaves except to where it belongs.
// Everything a connector says through a rough life is searched for them.
func TestNothingSecretIsSaid(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		for _, f := range []pushovertest.Fault{
			{On: "GET messages", Status: 500, Count: 1},
			{On: "GET messages", Drop: "half", Count: 1},
			{On: "POST delete", Drop: "after", Count: 1},
			{On: "POST acknowledge", Status: 400, Body: `{"status":0,"errors":["receipt not found"]}`, Count: 1},
			{On: "stream", Status: 503, Count: 2},
		} {
			r.sim.Fault(f)
		}
		r.log.script = func(call int, events []connector.Event) (int, int, error) {
			if call < 4 {
				return 0, 0, errBusDown
			}
			return len(events), len(events), nil
		}
		sent := r.sim.Send(pushovertest.Outgoing{Title: "TOP-TITLE", Message: "TOP-TEXT", URL: "https://top-url.example", Priority: 2})
		r.drained()
		if _, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: []byte(sent.Receipt)}); err != nil {
			t.Error(err)
		}
		r.sim.CloseStreams(r.device.Name, 1011, "bye")
		time.Sleep(time.Hour)
		r.sim.Signal(r.device.Name, "E")
		r.awaitState(run, connector.StateLoginNeeded)
		_, page := r.get(run, "/")
		_, metrics := r.get(run, "/metrics")
		_, ready := r.get(run, "/readyz")
		run.stop()
		for what, said := range map[string]string{"log": r.output.String(), "page": page, "metrics": metrics, "readyz": ready} {
			for _, secret := range []string{
				r.device.Secret, r.device.ID, r.sim.Account().Password, "TOP-TITLE", "TOP-TEXT", "top-url", "secret=",
			} {
				if strings.Contains(said, secret) {
					t.Errorf("the %s says %q:\n%s", what, secret, said)
				}
			}
		}
		if !strings.Contains(r.output.String(), "publish failed, retrying") {
			t.Errorf("the rough life left no trace in the log, so this test proves nothing:\n%s", r.output)
		}
	})
}

// A run of failures has a line at its start, every few minutes, and at its end.
func TestOutageIsLoggedAtItsStartNowAndThenAndAtItsEnd(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		r.log.setScript(func(int, []connector.Event) (int, int, error) { return 0, 0, errBusDown })
		r.send(1, pushovertest.Outgoing{})
		time.Sleep(time.Hour)
		synctest.Wait()
		r.log.setScript(nil)
		r.drained()
		run.stop()
		log := r.output.String()
		if n := strings.Count(log, `"publish failed, retrying"`); n < 2 || n > 13 {
			t.Errorf("an hour of outage has %d lines, want one at the start and reminders some minutes apart:\n%s", n, log)
		}
		if n := strings.Count(log, `"publish recovered"`); n != 1 {
			t.Errorf("the recovery has %d lines, want 1:\n%s", n, log)
		}
	})
}

// Liveness is not lost because the service asked for patience: a restart would
// forget that it did.
func TestServiceThatAsksForPatienceLeavesTheConnectorAlive(t *testing.T) {
	for _, on := range []pushovertest.Operation{"GET messages", "POST delete"} {
		t.Run(string(on), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, pushovertest.Options{})
				r.sim.Fault(pushovertest.Fault{On: on, Status: 503, RetryAfter: 2 * time.Hour, Count: 1})
				r.send(3, pushovertest.Outgoing{})
				run := r.start()
				for minute := range 119 {
					time.Sleep(time.Minute)
					synctest.Wait()
					if err := run.Alive(); err != nil {
						t.Fatalf("minute %d: %v", minute+1, err)
					}
				}
				r.drained()
				run.stop()
				r.wantManners()
			})
		})
	}
}

package connector_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// outstanding are the receipts that the status lists.
func outstanding(s connector.Status) []string {
	receipts := []string{}
	for _, e := range s.Emergencies.Outstanding {
		receipts = append(receipts, e.Receipt)
	}
	return receipts
}

// Invariant: outstanding emergencies are still outstanding after a restart,
// since the log knows them, and those that were acknowledged are not.
func TestEmergenciesAreKnownAfterARestart(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		left := r.emergency()
		acked := r.emergency()
		if _, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: []byte(acked)}); err != nil {
			t.Fatal(err)
		}
		run.stop()

		run = r.start()
		r.awaitState(run, connector.StateLive)
		s := run.Status()
		if diff := cmp.Diff(outstanding(s), []string{left}); diff != "" || !s.Emergencies.Known {
			t.Errorf("after a restart: known %v, outstanding (-got +want):\n%s", s.Emergencies.Known, diff)
		}
		if _, metrics := r.get(run, "/metrics"); !strings.Contains(metrics, "emergencies_outstanding 1") {
			t.Error("the metric does not count the emergency from before the restart")
		}
		time.Sleep(3 * time.Hour)
		if got := outstanding(run.Status()); len(got) != 0 {
			t.Errorf("outstanding after the longest life of an emergency: %v, want none", got)
		}
	})
}

// unreadableLog cannot be read for a while.
type unreadableLog struct {
	*memoryLog
	down atomic.Bool
}

func (l *unreadableLog) Read(ctx context.Context, q connector.Query, f func(connector.Stored) error) error {
	if l.down.Load() {
		return errors.New("the log cannot be read")
	}
	return l.memoryLog.Read(ctx, q, f)
}

// Nothing claims to be known that is not: while the log cannot be read, what is
// outstanding is unknown, and messages go on.
func TestEmergenciesAreUnknownUntilTheLogWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		log := &unreadableLog{memoryLog: r.log}
		log.down.Store(true)
		r.sink = log
		run := r.start()
		r.awaitState(run, connector.StateLive)
		want := r.send(1, pushovertest.Outgoing{})
		r.drained()
		if s := run.Status(); s.Emergencies.Known {
			t.Error("the emergencies are said to be known though the log cannot be read")
		}
		if _, metrics := r.get(run, "/metrics"); !strings.Contains(metrics, "emergencies_outstanding NaN") {
			t.Errorf("the metric is not %v while the number is unknown", math.NaN())
		}
		log.down.Store(false)
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		if s := run.Status(); !s.Emergencies.Known {
			t.Error("the emergencies are not known though the log can be read again")
		}
		run.stop()
		r.wantLog(want)
	})
}

type emergencyData struct {
	ID       string `json:"id"`
	RepeatOf string `json:"repeat_of"`
	Acked    bool   `json:"acked"`
	Stale    bool   `json:"stale"`
}

func (r *rig) emergencyEvents() (all []emergencyData, severities []any) {
	r.t.Helper()
	for _, e := range r.log.all() {
		var d emergencyData
		if err := json.Unmarshal(e.Data, &d); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, d)
		for _, x := range e.Extensions {
			if x.Name == "severitytext" {
				severities = append(severities, x.Value)
			}
		}
	}
	return all, severities
}

// Invariant: an alarm is one alarm. A message that the service queues again,
// because nobody acknowledged it, names the first one, also across a restart, and
// does not count twice.
func TestRepeatedEmergencyNamesTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.sim.SetRetryMode(pushovertest.RetryMessage)
		run := r.start()
		r.awaitState(run, connector.StateLive)
		r.sim.Send(pushovertest.Outgoing{Message: "pump", Priority: 2, Retry: 30 * time.Second, Expire: 3 * time.Minute})
		time.Sleep(40 * time.Second)
		run.stop()
		run = r.start()
		r.awaitState(run, connector.StateLive)
		time.Sleep(10 * time.Minute)
		events, _ := r.emergencyEvents()
		if len(events) < 4 {
			t.Fatalf("%d events of an emergency that was sent again every 30 s for 3 min", len(events))
		}
		for i, e := range events {
			want := events[0].ID
			if i == 0 {
				want = ""
			}
			if e.RepeatOf != want {
				t.Errorf("event %d, message %s: repeat_of is %q, want %q", i, e.ID, e.RepeatOf, want)
			}
		}
		if s := run.Status(); len(s.Emergencies.Outstanding) != 1 || s.Emergencies.Outstanding[0].MessageID != events[0].ID {
			t.Errorf("outstanding: %+v, want the first message alone", s.Emergencies.Outstanding)
		}
		run.stop()
		r.wantManners()
	})
}

// An emergency that is over does not look like one that burns: acknowledged
// elsewhere, or older than one can live.
func TestEmergencyThatIsOverDoesNotLookLikeOneThatBurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.sim.Send(pushovertest.Outgoing{Message: "acked", Priority: 2, Fields: map[string]any{"acked": 1}})
		r.sim.Send(pushovertest.Outgoing{Message: "old", Priority: 2})
		time.Sleep(3 * time.Hour)
		r.sim.Send(pushovertest.Outgoing{Message: "burning", Priority: 2})
		run := r.start()
		r.drained()
		run.stop()
		events, severities := r.emergencyEvents()
		for i := range events {
			events[i].ID = ""
		}
		if diff := cmp.Diff(events, []emergencyData{{Acked: true, Stale: true}, {Stale: true}, {}}); diff != "" {
			t.Errorf("events (-got +want):\n%s", diff)
		}
		if diff := cmp.Diff(severities, []any{"WARN", "WARN", "FATAL"}); diff != "" {
			t.Errorf("severities (-got +want):\n%s", diff)
		}
	})
}

// An emergency lives for three hours from its first message, however often the service
// sends it again.
func TestRepeatDoesNotRenewAnEmergency(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		sent := r.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})
		time.Sleep(2 * time.Hour)
		r.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2, Fields: map[string]any{"receipt": sent.Receipt}})
		time.Sleep(time.Hour - time.Minute)
		synctest.Wait()
		if got := outstanding(run.Status()); len(got) != 1 {
			t.Errorf("before three hours are over: outstanding %v, want one", got)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := outstanding(run.Status()); len(got) != 0 {
			t.Errorf("after three hours: outstanding %v, want none", got)
		}
	})
}

// An emergency whose acknowledgement was made before its event was confirmed is
// not outstanding when the event comes at last.
func TestAcknowledgedEmergencyStaysClosed(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		r.resumed = true
		r.log.setScript(func(_ int, e []connector.Event) (int, int, error) {
			if e[0].Class == connector.ClassMessage {
				return 0, 0, errBusDown
			}
			return len(e), len(e), nil
		})
		sent := r.sim.Send(pushovertest.Outgoing{Message: "m", Priority: 2})
		time.Sleep(10 * time.Second)
		if _, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: []byte(sent.Receipt)}); err != nil {
			t.Fatal(err)
		}
		r.sim.Signal(r.device.Name, "E")
		r.awaitState(run, connector.StateLoginNeeded)
		time.Sleep(time.Minute)
		if err := run.Resume(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := outstanding(run.Status()); len(got) != 0 {
			t.Errorf("outstanding: %v, want none", got)
		}
	})
}

// The levers work as commands too: one result each.
func TestLeverCommands(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		r.resumed = true
		schema := compileSchema(t, connector.SchemaResult)
		do := func(id, verb string, at time.Time) connector.Result {
			t.Helper()
			result, err := run.HandleCommand(t.Context(), connector.Command{
				ID: id, Body: []byte(`{"command":"` + verb + `","id":"mine"}`), Time: at,
			})
			if err != nil || result.CommandID != "mine" || result.Command != verb {
				t.Errorf("%s: result %+v, %v", verb, result, err)
			}
			return result
		}
		now := time.Now()
		if got := do("C#1", "status", now); got.Status != connector.StatusDone || got.Answer == nil || got.Answer.State != connector.StateLive {
			t.Errorf("status: %+v, want done, with the answer", got)
		}
		before := r.sim.Requests("GET messages")
		if got := do("C#2", "sync", now); got.Status != connector.StatusDone {
			t.Errorf("sync: %+v, want done", got)
		}
		synctest.Wait()
		if n := r.sim.Requests("GET messages") - before; n != 1 {
			t.Errorf("a sync command made %d downloads, want 1", n)
		}
		if got := do("C#3", "resume", now); got.Status != connector.StatusRejected || !strings.Contains(got.Reason, "live") {
			t.Errorf("resume of a live session: %+v, want rejected with the state", got)
		}
		r.sim.Signal(r.device.Name, "A")
		r.awaitState(run, connector.StateTakenOver)
		if got := do("C#4", "sync", time.Now()); got.Status != connector.StatusRejected || !strings.Contains(got.Reason, "taken_over") {
			t.Errorf("sync of a halted session: %+v, want rejected with the state", got)
		}
		if got := do("C#5", "resume", time.Now().Add(-time.Hour)); got.Status != connector.StatusExpired {
			t.Errorf("a resume that is an hour old: %+v, want expired", got)
		}
		if got := do("C#6", "resume", time.Now()); got.Status != connector.StatusDone {
			t.Errorf("resume: %+v, want done", got)
		}
		r.awaitState(run, connector.StateLive)
		results := 0
		for _, e := range r.log.all() {
			if e.Class == connector.ClassResult {
				results++
				validate(t, schema, e.Data)
				checkBothModes(t, e)
			}
		}
		if results != 6 {
			t.Errorf("%d results in the log, want 6", results)
		}
	})
}

// The service's re-sends do not make an emergency live longer than three hours.
func TestResendsDoNotProlongAnEmergency(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		r.sim.SetRetryMode(pushovertest.RetryMessage)
		r.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2, Retry: 4 * time.Minute, Expire: 3 * time.Hour})
		time.Sleep(179 * time.Minute)
		if n := len(run.Status().Emergencies.Outstanding); n != 1 {
			t.Errorf("%d outstanding after 179 minutes, want 1", n)
		}
		time.Sleep(2 * time.Minute)
		if n := len(run.Status().Emergencies.Outstanding); n != 0 {
			t.Errorf("%d outstanding after 181 minutes, want none", n)
		}
		if n := len(r.log.ids(connector.ClassMessage)); n < 40 {
			t.Errorf("the log has %d messages, want one for each re-send", n)
		}
	})
}

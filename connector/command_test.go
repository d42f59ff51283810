package connector_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func TestDecodeCommand(t *testing.T) {
	for _, test := range []struct{ name, body, id string }{
		{"bare", receipt, ""},
		{"bare with space", "  " + receipt + "\r\n", ""},
		{"JSON string", `"` + receipt + `"`, ""},
		{"object", `{"receipt":"` + receipt + `"}`, ""},
		{"object with id", `{"receipt":"` + receipt + `","id":"abc"}`, "abc"},
		{"object with numeric id", `{"receipt":"` + receipt + `","id":17}`, "17"},
		{"object with command", `{"command":"ack","receipt":"` + receipt + `"}`, ""},
		{"structured event", `{"specversion":"1.0","id":"5","data":{"receipt":"` + receipt + `","id":"5"}}`, "5"},
		{"data of a binary event", `{"id":"5","app":"x","receipt":"` + receipt + `"}`, "5"},
	} {
		verb, got, id, err := connector.DecodeCommand([]byte(test.body))
		if err != nil || verb != "ack" || got != receipt || id != test.id {
			t.Errorf("%s: got %q, id %q, error %v; want the receipt, id %q", test.name, got, id, err, test.id)
		}
	}
}

// malformed are bodies that must be rejected without a word to Pushover.
var malformed = map[string]string{
	"empty":           "",
	"blank":           " \n\t",
	"a megabyte":      strings.Repeat("x", 1<<20),
	"not UTF-8":       "\xff\xfe" + receipt,
	"29 characters":   receipt[1:],
	"31 characters":   receipt + "x",
	"slash":           receipt[:29] + "/",
	"traversal":       "../../../../1/messages.json?xx",
	"array":           `["` + receipt + `"]`,
	"number":          `12345`,
	"broken JSON":     `{"receipt":"` + receipt,
	"trailing text":   `{"receipt":"` + receipt + `"} and more`,
	"wrong type":      `{"receipt":17}`,
	"no receipt":      `{"id":"17"}`,
	"null receipt":    `{"receipt":null}`,
	"other command":   `{"command":"delete","receipt":"` + receipt + `"}`,
	"other event":     `{"specversion":"1.0","id":"5","data":{"message":"hello"}}`,
	"control letters": "\x00\x01\x02",
}

func TestMalformedCommandsAreRejectedWithoutARequest(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		for name, body := range malformed {
			result, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#" + name, Body: []byte(body)})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if strings.Contains(result.Reason, "fields.") {
				t.Errorf("the reason names what only this program knows: %s", result.Reason)
			}
			if result.Status != connector.StatusRejected || !result.Malformed || result.Reason == "" || result.Attempts != 0 {
				t.Errorf("%s: result is %+v, want rejected as malformed with a reason", name, result)
			}
			if len(result.Reason) > 200 {
				t.Errorf("%s: the reason has %d bytes; it must not repeat the command", name, len(result.Reason))
			}
		}
		if n := r.sim.Requests("POST acknowledge"); n != 0 {
			t.Errorf("malformed commands caused %d requests, want none", n)
		}
		if got := len(r.log.ids(connector.ClassResult)); got != len(malformed) {
			t.Errorf("%d results for %d commands", got, len(malformed))
		}
		schema := compileSchema(t, connector.SchemaResult)
		for _, e := range r.log.all() {
			validate(t, schema, e.Data)
			checkBothModes(t, e)
		}
	})
}

func FuzzDecodeCommand(f *testing.F) {
	for _, body := range malformed {
		if len(body) < 1000 {
			f.Add([]byte(body))
		}
	}
	f.Add([]byte(receipt))
	f.Add([]byte(`{"specversion":"1.0","id":"5","data":{"receipt":"` + receipt + `"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		verb, r, id, err := connector.DecodeCommand(body)
		if err != nil {
			return
		}
		if _, err := pushover.ParseReceipt(r); verb == "ack" && err != nil {
			t.Errorf("accepted %q as a receipt: %v", r, err)
		}
		if len(id) > 200 {
			t.Errorf("an id of %d bytes is echoed", len(id))
		}
	})
}

// emergency sends one and waits until it has been published.
func (r *rig) emergency() string {
	r.t.Helper()
	sent := r.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})
	r.drained()
	synctest.Wait()
	return sent.Receipt
}

func (r *rig) acknowledgedBy(receipt string) string {
	state, _ := r.sim.Receipt(receipt)
	if !state.Acknowledged {
		return ""
	}
	return state.AcknowledgedByDevice
}

func TestCommandAcknowledgesInTheDevicesName(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		if got := run.Status().Emergencies.Outstanding; len(got) != 1 || got[0].Receipt != receipt {
			t.Errorf("outstanding emergencies are %v, want the one sent", got)
		}
		if by := r.acknowledgedBy(receipt); by != "" {
			t.Fatalf("acknowledged by %s without a command", by)
		}
		body, _ := json.Marshal(map[string]string{"receipt": receipt, "id": "mine"})
		result, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: body})
		if err != nil || result.Status != connector.StatusAcknowledged || result.CommandID != "mine" || result.Attempts != 1 {
			t.Errorf("result is %+v, %v; want acknowledged at the first attempt", result, err)
		}
		if by := r.acknowledgedBy(receipt); by != r.device.Name {
			t.Errorf("the sender sees it acknowledged by %q, want %q", by, r.device.Name)
		}
		if got := run.Status().Emergencies.Outstanding; len(got) != 0 {
			t.Errorf("outstanding emergencies are %v, want none", got)
		}
		r.wantManners()
	})
}

// The same command again, and others for the same receipt, each get their
// result, and Pushover hears of it once.
func TestRepeatedCommandsGetResultsButOneCall(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				result, err := run.HandleCommand(t.Context(), connector.Command{ID: fmt.Sprintf("C#%d", i), Body: []byte(receipt)})
				if err != nil || result.Status != connector.StatusAcknowledged {
					t.Errorf("command %d: %+v, %v", i, result, err)
				}
			})
		}
		wg.Wait()
		if n := r.sim.Requests("POST acknowledge"); n != 1 {
			t.Errorf("eight commands for a receipt caused %d calls, want 1", n)
		}
		if got := len(r.log.ids(connector.ClassResult)); got != 8 {
			t.Errorf("%d results for eight commands", got)
		}
	})
}

// A redelivered command repeats the event id of its result, so that a crash
// between result and settling leaves one result in the log.
func TestRedeliveredCommandHasOneResultInTheLog(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		cmd := connector.Command{ID: "C#1", Body: []byte(r.emergency()), Time: time.Now()}
		for range 2 {
			if _, err := run.HandleCommand(t.Context(), cmd); err != nil {
				t.Fatal(err)
			}
			run.stop()
			run = r.start()
			r.awaitState(run, connector.StateLive)
		}
		if got := r.log.ids(connector.ClassResult); len(got) != 1 {
			t.Errorf("the log holds the results %v, want one", got)
		}
	})
}

func TestUnknownReceiptIsRejectedInPushoversWords(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		result, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: []byte(receipt)})
		if err != nil || result.Status != connector.StatusRejected || result.Malformed {
			t.Fatalf("result is %+v, %v; want rejected, not malformed", result, err)
		}
		if want := "Pushover: receipt not found; may be invalid or expired"; !strings.HasPrefix(result.Reason, want) {
			t.Errorf("the reason is %q, want %q", result.Reason, want)
		}
		if got := r.log.all(); len(got) != 1 || got[0].Type != connector.TypeRejected {
			t.Errorf("the log holds %+v, want one event of type %s", got, connector.TypeRejected)
		}
		r.sim.Fault(pushovertest.Fault{On: pushovertest.OpAcknowledge, Status: 404, Body: `{"status":0}`})
		result, err = run.HandleCommand(t.Context(), connector.Command{ID: "C#2", Body: []byte(strings.Repeat("x", 30))})
		if want := "Pushover: HTTP 404"; err != nil || result.Reason != want {
			t.Errorf("an answer without a word: got reason %q, %v, want %q", result.Reason, err, want)
		}
		if s := run.Status().State; s != connector.StateLive {
			t.Errorf("an unknown receipt brought the session into state %s", s)
		}
	})
}

// Through an outage a command is asked for again, later each time, and ends
// acknowledged.
func TestCommandSurvivesAnOutage(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		r.sim.Fault(pushovertest.Fault{On: "POST acknowledge", Status: 503, For: time.Minute})
		cmd := connector.Command{ID: "C#1", Body: []byte(receipt), Time: time.Now()}
		for {
			result, err := run.HandleCommand(t.Context(), cmd)
			if err == nil {
				if result.Status != connector.StatusAcknowledged || result.Attempts < 2 {
					t.Errorf("result is %+v, want acknowledged after several attempts", result)
				}
				break
			}
			var retry *connector.RetryError
			if !errors.As(err, &retry) || retry.After < 5*time.Second {
				t.Fatalf("error is %v, want a RetryError of 5s or more", err)
			}
			if n := len(r.log.ids(connector.ClassResult)); n != 0 {
				t.Fatalf("an undecided command has %d results", n)
			}
			time.Sleep(retry.After)
		}
		if by := r.acknowledgedBy(receipt); by != r.device.Name {
			t.Errorf("acknowledged by %q, want %q", by, r.device.Name)
		}
		r.wantManners()
	})
}

// A command that is three hours old cannot concern a living emergency.
func TestOldCommandExpires(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		result, err := run.HandleCommand(t.Context(), connector.Command{
			ID: "C#1", Body: []byte(receipt), Time: time.Now().Add(-3 * time.Hour),
		})
		if err != nil || result.Status != connector.StatusExpired || result.Reason == "" {
			t.Errorf("result is %+v, %v; want expired with a reason", result, err)
		}
		if n := r.sim.Requests("POST acknowledge"); n != 0 {
			t.Errorf("an expired command caused %d requests", n)
		}
	})
}

// After A acknowledging still works, since it needs no stream. After E commands
// wait for new credentials, and expire if none come.
func TestCommandsInHaltedStates(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		first, second := r.emergency(), r.emergency()

		r.sim.Signal(r.device.Name, "A")
		r.awaitState(run, connector.StateTakenOver)
		result, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: []byte(first)})
		if err != nil || result.Status != connector.StatusAcknowledged {
			t.Errorf("after A: %+v, %v; want acknowledged", result, err)
		}

		time.Sleep(2 * time.Minute)
		if err := run.Resume(); err != nil {
			t.Fatal(err)
		}
		r.awaitState(run, connector.StateLive)
		r.sim.Signal(r.device.Name, "E")
		r.awaitState(run, connector.StateLoginNeeded)
		calls := r.sim.Requests("POST acknowledge")
		cmd := connector.Command{ID: "C#2", Body: []byte(second), Time: time.Now()}
		for {
			result, err = run.HandleCommand(t.Context(), cmd)
			var retry *connector.RetryError
			if !errors.As(err, &retry) {
				break
			}
			time.Sleep(retry.After)
		}
		if err != nil || result.Status != connector.StatusExpired || time.Since(cmd.Time) < 3*time.Hour {
			t.Errorf("after E: %+v, %v after %v; want expired after three hours", result, err, time.Since(cmd.Time))
		}
		if got := r.sim.Requests("POST acknowledge"); got != calls {
			t.Errorf("after E there were %d calls, want none", got-calls)
		}
	})
}

// A result that cannot be published leaves the command unsettled.
func TestCommandIsNotSettledBeforeItsResultIsDurable(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		cmd := connector.Command{ID: "C#1", Body: []byte(r.emergency()), Time: time.Now()}
		r.log.setScript(func(int, []connector.Event) (int, int, error) { return 0, 0, errBusDown })
		if _, err := run.HandleCommand(t.Context(), cmd); !errors.Is(err, errBusDown) {
			t.Fatalf("error is %v, want the bus's", err)
		}
		r.log.setScript(nil)
		result, err := run.HandleCommand(t.Context(), cmd)
		if err != nil || result.Status != connector.StatusAcknowledged {
			t.Errorf("the second time: %+v, %v; want acknowledged", result, err)
		}
		if n := r.sim.Requests("POST acknowledge"); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// A control stream that was lost is created again and numbers its commands from one
// again: what was decided of the first one before says nothing of this one.
func TestCommandOfAStreamMadeAnewIsCarriedOut(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		before := connector.Command{ID: "C#1", Body: []byte(r.emergency()), Time: time.Now()}
		r.log.setScript(func(int, []connector.Event) (int, int, error) { return 0, 0, errBusDown })
		if _, err := run.HandleCommand(t.Context(), before); !errors.Is(err, errBusDown) {
			t.Fatalf("error is %v, want the bus's", err)
		}
		r.log.setScript(nil)
		time.Sleep(time.Minute)
		second := r.emergency()
		result, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: []byte(second), Time: time.Now()})
		if err != nil || result.Receipt != second || result.Status != connector.StatusAcknowledged {
			t.Errorf("got %+v, %v, want %s acknowledged", result, err, second)
		}
		if r.acknowledgedBy(second) == "" {
			t.Error("the second emergency was not acknowledged")
		}
	})
}

// An emergency acknowledged elsewhere, or too old, is not outstanding.
func TestOutstandingEmergencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.log.setScript(func(int, []connector.Event) (int, int, error) { return 0, 0, errBusDown })
		run := r.start()
		r.awaitState(run, connector.StateLive)
		r.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})
		synctest.Wait()
		if got := len(run.Status().Emergencies.Outstanding); got != 1 {
			t.Errorf("%d emergencies outstanding, want 1: publishing is not acknowledging", got)
		}
		r.log.setScript(nil)
		r.drained()
		time.Sleep(3*time.Hour + time.Minute)
		if _, metrics := r.get(run, "/metrics"); !strings.Contains(metrics, "emergencies_outstanding 0") {
			t.Error("the metric still counts an emergency that has expired")
		}
		if got := len(run.Status().Emergencies.Outstanding); got != 0 {
			t.Errorf("%d emergencies outstanding after their longest life, want 0", got)
		}
		r.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2, Fields: map[string]any{"acked": 1}})
		r.drained()
		synctest.Wait()
		if got := len(run.Status().Emergencies.Outstanding); got != 0 {
			t.Errorf("%d emergencies outstanding, want 0: it came acknowledged", got)
		}
	})
}

func TestEndpoints(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		sent := r.emergency()
		call := map[string]func(body string) ([]byte, error){}
		for _, e := range run.Endpoints() {
			if !json.Valid(e.RequestSchema) || !json.Valid(e.ResponseSchema) || e.Description == "" {
				t.Errorf("endpoint %s lacks a schema or description", e.Name)
			}
			call[e.Name] = func(body string) ([]byte, error) {
				answer, err := e.Handle(t.Context(), []byte(body))
				if err == nil {
					name := map[string]string{"ack": "result", "status": "status"}[e.Name]
					if name == "" {
						name = "accepted"
					}
					validate(t, compileSchema(t, name), answer)
				}
				return answer, err
			}
		}
		if _, err := call["status"](""); err != nil {
			t.Errorf("status: %v", err)
		}
		if _, err := call["sync"](""); err != nil {
			t.Errorf("sync: %v", err)
		}
		wantCode(t, call["resume"], "", 409)
		if _, err := call["ack"](sent); err != nil {
			t.Errorf("ack: %v", err)
		}
		wantCode(t, call["ack"], "garbage", 400)
		wantCode(t, call["ack"], receipt, 404)
		r.sim.Fault(pushovertest.Fault{On: "POST acknowledge", Status: 503, Count: 1})
		wantCode(t, call["ack"], r.emergency(), 503)
	})
}

func wantCode(t *testing.T, call func(string) ([]byte, error), body string, want int) {
	t.Helper()
	_, err := call(body)
	var request *connector.RequestError
	if !errors.As(err, &request) || request.Code != want {
		t.Errorf("request %q: error is %v, want code %d", body, err, want)
	}
}

// The bus's clock may be ahead of ours: the result's id is the same at every
// delivery all the same.
func TestRedeliveredCommandFromTheFutureHasOneResult(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		cmd := connector.Command{ID: "C#1", Body: []byte(r.emergency()), Time: time.Now().Add(20 * time.Millisecond)}
		for range 2 {
			result, err := run.HandleCommand(t.Context(), cmd)
			if err != nil {
				t.Fatal(err)
			}
			if result.CommandedAt.After(result.CompletedAt) {
				t.Errorf("completed at %v, before it was given at %v", result.CompletedAt, result.CommandedAt)
			}
			time.Sleep(10 * time.Second)
		}
		if got := r.log.ids(connector.ClassResult); len(got) != 1 {
			t.Errorf("the log holds the results %v, want one", got)
		}
	})
}

// Commands for one receipt at one time share a call, and one of them counts it.
func TestSharedCallIsCountedOnce(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		r.sim.Fault(pushovertest.Fault{On: "POST acknowledge", Delay: time.Second})
		attempts := make(chan int, 3)
		for i := range cap(attempts) {
			go func() {
				cmd := connector.Command{ID: fmt.Sprint("C#", i), Body: []byte(receipt), Time: time.Now()}
				result, err := run.HandleCommand(t.Context(), cmd)
				if err != nil || result.Status != connector.StatusAcknowledged {
					t.Errorf("got %+v, %v", result, err)
				}
				attempts <- result.Attempts
			}()
		}
		sum := 0
		for range cap(attempts) {
			sum += <-attempts
		}
		if sum != 1 {
			t.Errorf("the results tell of %d calls, want 1", sum)
		}
	})
}

// An acknowledgement that is told that the session is over has the session find
// out too, at once and not at the next safety sync.
func TestAcknowledgementThatFindsTheSessionDeadHaltsIt(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency() // which signals again every minute
		time.Sleep(15 * time.Second)
		for _, on := range []pushovertest.Operation{pushovertest.OpAcknowledge, pushovertest.OpDownload} {
			r.sim.Fault(pushovertest.Fault{On: on, Status: 400, Body: `{"status":0,"secret":"invalid","errors":["secret is invalid"]}`})
		}
		time.Sleep(15 * time.Second)
		if s := run.Status().State; s != connector.StateLive {
			t.Fatalf("the state is %s before anybody has asked", s)
		}
		if _, err := run.HandleCommand(t.Context(), connector.Command{ID: "S#1", Body: []byte(receipt), Time: time.Now()}); err == nil {
			t.Fatal("got no error")
		}
		time.Sleep(time.Second)
		if s := run.Status().State; s != connector.StateLoginNeeded {
			t.Errorf("the state is %s, want login_needed", s)
		}
	})
}

// What the service asks for reaches the bus's redelivery.
func TestRetryAfterOfAnAcknowledgementReachesTheBus(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		r.sim.Fault(pushovertest.Fault{On: pushovertest.OpAcknowledge, Status: 429, RetryAfter: 10 * time.Minute, Count: 1})
		_, err := run.HandleCommand(t.Context(), connector.Command{ID: "S#1", Body: []byte(receipt), Time: time.Now()})
		var again *connector.RetryError
		if !errors.As(err, &again) || again.After < 10*time.Minute {
			t.Errorf("got %v, want a retry in ten minutes", err)
		}
	})
}

// So is one in the connector: the alarm is acknowledged a few seconds later.
func TestUnnamedRefusalOfAKnownEmergencyIsTrouble(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		r.sim.Fault(pushovertest.Fault{On: pushovertest.OpAcknowledge, Status: 400, Body: `{"status":0,"errors":["try again"]}`, Count: 2})
		cmd := connector.Command{ID: "S#1", Body: []byte(receipt), Time: time.Now()}
		for attempt := 1; ; attempt++ {
			got, err := run.HandleCommand(t.Context(), cmd)
			var again *connector.RetryError
			if errors.As(err, &again) && attempt < 3 {
				time.Sleep(again.After)
				continue
			}
			if err != nil || got.Status != connector.StatusAcknowledged || got.Attempts != 3 {
				t.Errorf("got %s (%s) with %d attempts, %v; want acknowledged with 3", got.Status, got.Reason, got.Attempts, err)
			}
			break
		}
		r.wantManners()
	})
}

// Pushover hears of a receipt once for as long as its emergency can live.
func TestAcknowledgedReceiptIsRememberedAsLongAsAnEmergencyLives(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		for _, step := range []struct {
			after time.Duration
			calls int
		}{{0, 1}, {2 * time.Hour, 1}, {90 * time.Minute, 2}} {
			time.Sleep(step.after)
			cmd := connector.Command{ID: fmt.Sprintf("C#%v", step.after), Body: []byte(receipt), Time: time.Now()}
			if _, err := run.HandleCommand(t.Context(), cmd); err != nil {
				t.Fatal(err)
			}
			if got := r.sim.Requests(pushovertest.OpAcknowledge); got != step.calls {
				t.Errorf("%v later there were %d calls, want %d", step.after, got, step.calls)
			}
		}
	})
}

// A command that is to be tried again counts as waiting, and the commands are not
// well, until it comes again or is two minutes late: then it is gone.
func TestCommandThatDoesNotComeAgainIsGivenUp(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		r.sim.Fault(pushovertest.Fault{On: pushovertest.OpAcknowledge, Status: 503, Count: 1})
		_, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: []byte(receipt), Time: time.Now()})
		var again *connector.RetryError
		if !errors.As(err, &again) {
			t.Fatalf("got %v, want a RetryError", err)
		}
		for _, step := range []struct {
			after   time.Duration
			waiting int
		}{{again.After, 1}, {time.Minute, 1}, {90 * time.Second, 0}} {
			time.Sleep(step.after)
			synctest.Wait()
			want := fmt.Sprintf("pushover_connector_ack_commands_waiting %v\n", step.waiting)
			if _, metrics := r.get(run, "/metrics"); !strings.Contains(metrics, want) {
				t.Errorf("%v later the metrics lack %q", step.after, want)
			}
			if got := part(run.Status(), connector.PartCommands).OK; got != (step.waiting == 0) {
				t.Errorf("%v later commands are ok: %t, want %t", step.after, got, step.waiting == 0)
			}
		}
	})
}

// A lever is meant for the moment in which it was sent.
func TestLeverIsGoodForFiveMinutes(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		for age, want := range map[time.Duration]connector.ResultStatus{
			0: connector.StatusDone, 5 * time.Minute: connector.StatusDone, 5*time.Minute + 1: connector.StatusExpired,
		} {
			cmd := connector.Command{ID: fmt.Sprintf("C#%d", age), Body: []byte(`{"command":"status"}`), Time: time.Now().Add(-age)}
			if got, err := run.HandleCommand(t.Context(), cmd); err != nil || got.Status != want {
				t.Errorf("%v old: got %s (%s), %v, want %s", age, got.Status, got.Reason, err, want)
			}
		}
		resume := connector.Command{ID: "C#r", Body: []byte(`{"command":"resume"}`), Time: time.Now()} // while nothing is halted
		if _, err := run.HandleCommand(t.Context(), resume); err != nil {
			t.Fatal(err)
		}
		all := r.log.all()
		if got := all[len(all)-1].Type; got != connector.TypeCommandRejected {
			t.Errorf("a lever that was rejected gave an event of type %s, want %s", got, connector.TypeCommandRejected)
		}
	})
}

package connector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func TestEveryMessageArrivesOnceInOrderAndIsCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{PageSize: 7})
		want := r.send(50, pushovertest.Outgoing{})
		run := r.start()
		r.drained()
		want = append(want, r.send(3, pushovertest.Outgoing{})...)
		r.drained()
		run.stop()
		r.wantLog(want)
	})
}

// The service does not promise an order inside a download.
func TestOrderOfTheDownloadDoesNotMatter(t *testing.T) {
	for _, order := range []pushovertest.Order{pushovertest.Descending, pushovertest.Shuffled} {
		t.Run(string(order), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, pushovertest.Options{PageSize: 20})
				r.sim.SetOrder(order)
				want := r.send(50, pushovertest.Outgoing{})
				run := r.start()
				r.drained()
				run.stop()
				r.wantLog(want)
			})
		})
	}
}

// Invariant: confirmed before cleared. While the bus confirms nothing, nothing
// is deleted; what it confirms of a batch is deleted and no more.
func TestNothingIsClearedThatIsNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		want := r.backlog(10)
		var confirm, stored int
		r.log.script = func(int, []connector.Event) (int, int, error) { return stored, confirm, errBusDown }
		run := r.start()

		time.Sleep(time.Hour)
		synctest.Wait()
		if got := r.sim.Queue(r.device.Name); !slices.Equal(got, want) {
			t.Fatalf("with nothing confirmed the queue holds %v, want all of %v", got, want)
		}
		if n := r.sim.Requests("POST delete"); n != 0 {
			t.Fatalf("with nothing confirmed there were %d delete requests, want 0", n)
		}

		first := true
		r.log.setScript(func(_ int, events []connector.Event) (int, int, error) {
			if first && len(events) == 10 {
				first = false
				return 6, 4, errBusDown // two are stored whose confirmation is lost
			}
			return 0, 0, errBusDown
		})
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := r.sim.Queue(r.device.Name); !slices.Equal(got, want[4:]) {
			t.Fatalf("with four of ten confirmed the queue holds %v, want %v", got, want[4:])
		}

		r.log.setScript(nil)
		r.drained()
		run.stop()
		r.wantLog(want)
	})
}

// A long download is not held as events at once, and what is confirmed of it
// does not wait for the rest to be cleared.
func TestLongDownloadIsPublishedAndClearedInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{PageSize: -1})
		want := r.backlog(5000)
		var sizes, waiting []int
		r.log.script = func(_ int, events []connector.Event) (int, int, error) {
			sizes = append(sizes, len(events))
			waiting = append(waiting, len(r.sim.Queue(r.device.Name)))
			return len(events), len(events), nil
		}
		run := r.start()
		r.drained()
		run.stop()
		r.wantLog(want)
		if w := []int{2000, 2000, 1000}; !slices.Equal(sizes, w) {
			t.Errorf("published %v, want %v", sizes, w)
		}
		if w := []int{5000, 3000, 1000}; !slices.Equal(waiting, w) {
			t.Errorf("with the service were %v, want %v", waiting, w)
		}
	})
}

func TestShutdownFinishesThePieceInFlightAndLeavesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{PageSize: -1})
		want := r.backlog(5000)
		second := make(chan struct{})
		r.log.script = func(call int, events []connector.Event) (int, int, error) {
			if call == 2 {
				close(second)
				time.Sleep(time.Second) // until the shutdown has begun
			}
			return len(events), len(events), nil
		}
		run := r.start()
		<-second
		run.stop()
		r.wantLog(want[:4000])
		if got := r.sim.Queue(r.device.Name); !slices.Equal(got, want[4000:]) {
			t.Errorf("the service has %d messages, want the last 1000", len(got))
		}
	})
}

// Invariant: exactly once. The connector is stopped after every single step of
// a run, and another one takes over from there.
func TestStoppedAfterEveryStepItStillConverges(t *testing.T) {
	steps := 0
	for stopAfter := 1; ; stopAfter++ {
		finished := false
		t.Run(fmt.Sprintf("step %d", stopAfter), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, pushovertest.Options{PageSize: 3})
				// Each run of the process may take only so many steps. A step is a
				// request to the service or a call to the bus.
				r.opts.ShutdownBudget = time.Nanosecond // die, do not finish
				want := r.send(8, pushovertest.Outgoing{})
				for limit := stopAfter; !finished; limit++ { // later runs live a step longer
					var taken atomic.Int64
					kill := make(chan struct{}, 1)
					die := func() bool {
						if taken.Add(1) != int64(limit) {
							return false
						}
						kill <- struct{}{}
						return true
					}
					r.dial = func(o *pushover.Options) {
						o.OnRequest = func(pushover.RequestInfo) { die() }
					}
					r.log.setScript(func(_ int, events []connector.Event) (int, int, error) {
						if die() {
							return len(events) / 2, 0, errBusDown // half of them got through
						}
						return len(events), len(events), nil
					})
					run := r.start()
					empty := r.whenDrained()
					select {
					case <-kill:
					case <-empty:
						finished = limit == stopAfter
					}
					run.stop()
					synctest.Wait() // a login still under way would take the next run's session over
					if len(r.sim.Queue(r.device.Name)) == 0 {
						break
					}
				}
				r.wantLog(want)
			})
		})
		steps++
		if finished || t.Failed() || steps > 60 {
			break
		}
	}
	if steps < 5 {
		t.Errorf("the run was interrupted at %d steps only", steps)
	}
}

// Invariant: ids are 64-bit integers. Ids that a float64 rounds up or down are
// deleted exactly.
func TestIDsBeyondFloat64AreExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{PageSize: 1})
		want := r.send(20, pushovertest.Outgoing{})
		for _, id := range want {
			n, err := strconv.ParseInt(id, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if int64(float64(n)) == n {
				t.Fatalf("id %s survives a float64, so this test proves nothing", id)
			}
		}
		run := r.start()
		r.drained()
		run.stop()
		r.wantLog(want)
	})
}

func TestRejectedEventBecomesADeadLetterAndOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		want := r.send(3, pushovertest.Outgoing{})
		r.log.script = func(_ int, events []connector.Event) (int, int, error) {
			for i, e := range events {
				if e.ID == want[1] && e.Class == connector.ClassMessage {
					return i, i, fmt.Errorf("message too large: %w", connector.ErrRejected)
				}
			}
			return len(events), len(events), nil
		}
		run := r.start()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if len(r.log.ids(connector.ClassDeadLetter)) == 0 || strings.Contains(r.output.String(), "publish failed") {
			t.Errorf("want the dead letter at once, and no trouble:\n%s", r.output)
		}
		r.drained()
		run.stop()
		r.wantLog([]string{want[0], want[2]})
		dead := r.log.ids(connector.ClassDeadLetter)
		if !slices.Equal(dead, want[1:2]) {
			t.Fatalf("dead letters are %v, want %v", dead, want[1:2])
		}
		all := r.log.all()
		i := slices.IndexFunc(all, func(e connector.Event) bool { return e.Class == connector.ClassDeadLetter })
		if i != 1 {
			t.Errorf("the dead letter is event %d of the log, want 1: in its message's place", i)
		}
		if reason := all[i].Extensions[0]; reason.Name != "deadletterreason" || reason.Value != "message too large: event rejected by the bus" {
			t.Errorf("the dead letter's reason is %v", reason)
		}
	})
}

// What a person reads in a dead letter is the text, not the ciphertext.
func TestDeadLetterOfAnEncryptedMessageIsDecrypted(t *testing.T) {
	for _, c := range []struct {
		name, want string
		keys       []pushover.E2EEKey
	}{
		{"with the key", "Backup of “nas-1” finished: 42 files ✔", []pushover.E2EEKey{vaultKey()}},
		{"without it", "(end-to-end encrypted; none of the configured keys can decrypt it)", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, pushovertest.Options{})
				r.opts.Keys = c.keys
				r.send(1, pushovertest.Outgoing{Message: ciphertext, Encrypted: true})
				r.log.script = func(_ int, events []connector.Event) (int, int, error) {
					if events[0].Class == connector.ClassMessage {
						return 0, 0, connector.ErrRejected
					}
					return len(events), len(events), nil
				}
				run := r.start()
				r.drained()
				run.stop()
				var data struct{ Message string }
				if err := json.Unmarshal(r.log.all()[0].Data, &data); err != nil {
					t.Fatal(err)
				}
				if data.Message != c.want {
					t.Errorf("the dead letter says %q, want %q", data.Message, c.want)
				}
			})
		})
	}
}

// A dead letter that is still too large is cut further before it is given up.
func TestDeadLetterShrinksUntilItIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		want := r.send(1, pushovertest.Outgoing{Message: "a text that is too long for this bus"})
		const limit = 180 // the letter with its text is larger
		refused := 0
		r.log.script = func(_ int, events []connector.Event) (int, int, error) {
			if events[0].Class == connector.ClassMessage {
				refused = len(events[0].Data)
			}
			if len(events[0].Data) > limit {
				return 0, 0, fmt.Errorf("more than %d bytes: %w", limit, connector.ErrRejected)
			}
			return len(events), len(events), nil
		}
		run := r.start()
		r.drained()
		run.stop()
		if got := r.log.ids(connector.ClassDeadLetter); !slices.Equal(got, want) {
			t.Fatalf("dead letters are %v, want %v", got, want)
		}
		letter := r.log.all()[0]
		reasons := 0
		for _, x := range letter.Extensions {
			if x.Name == "deadletterreason" {
				reasons++
			}
		}
		if reasons != 1 {
			t.Errorf("the dead letter says its reason %d times, want once: %v", reasons, letter.Extensions)
		}
		var data struct{ Size int }
		if err := json.Unmarshal(letter.Data, &data); err != nil {
			t.Fatal(err)
		}
		if data.Size != refused {
			t.Errorf("the dead letter gives a size of %d, want that of the refused message, %d", data.Size, refused)
		}
		validate(t, compileSchema(t, connector.SchemaDeadLetter), letter.Data)
	})
}

func TestClearDelayHoldsTheServersCopyAndReadsTheLogBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.opts.ClearDelay = time.Minute
		want := r.send(5, pushovertest.Outgoing{})
		run := r.start()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if got := len(r.sim.Queue(r.device.Name)); got != 5 {
			t.Fatalf("before the delay is over the queue holds %d messages, want 5", got)
		}
		want = append(want, r.send(1, pushovertest.Outgoing{})...)
		synctest.Wait()
		if got := len(r.log.ids(connector.ClassMessage)); got != 6 {
			t.Fatalf("the delay must not hold back a new message: %d events, want 6", got)
		}
		r.log.lose()
		r.drained()
		run.stop()
		r.wantLog(want)
	})
}

func TestClearDelayNeedsASinkThatCanReadBack(t *testing.T) {
	sink := struct{ connector.Sink }{newMemoryLog()}
	if err := connector.New(nil, connector.Options{ClearDelay: time.Second}).SetSink(sink); err == nil {
		t.Error("SetSink with a clear delay and a sink without Holds gave no error")
	}
}

// A fenced connector stops for good and says why.
func TestFencedConnectorStopsPublishing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		want := r.send(2, pushovertest.Outgoing{})
		r.log.script = func(int, []connector.Event) (int, int, error) {
			return 0, 0, fmt.Errorf("device nas-1: %w", connector.ErrFenced)
		}
		run := r.start()
		synctest.Wait()
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := run.Status(); s.State != connector.StateFenced || part(s, connector.PartSession).Remedy == "" {
			t.Errorf("state is %s (%s), want fenced with a remedy", s.State, part(s, connector.PartSession).Remedy)
		}
		if err := run.Resume(); err == nil {
			t.Error("a fenced connector resumed")
		}
		if r.log.calls != 1 {
			t.Errorf("there were %d publish calls, want 1", r.log.calls)
		}
		if got := r.sim.Queue(r.device.Name); !slices.Equal(got, want) {
			t.Errorf("the queue holds %v, want %v", got, want)
		}
	})
}

// Shutdown finishes the publish in flight and clears what it confirmed.
func TestShutdownFinishesThePublishInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{PageSize: 4})
		want := r.backlog(10)
		var run *running
		entered := make(chan struct{}, 1)
		r.log.script = func(_ int, events []connector.Event) (int, int, error) {
			entered <- struct{}{}
			time.Sleep(3 * time.Second) // a slow broker, still within the budget
			return len(events), len(events), nil
		}
		run = r.start()
		<-entered
		began := time.Now()
		run.stop()
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("stopping took %v of virtual time, more than the budget", took)
		}
		if got := r.sim.Queue(r.device.Name); !slices.Equal(got, want[4:]) {
			t.Errorf("the queue holds %v, want %v: the batch in flight cleared, the rest untouched", got, want[4:])
		}
		r.wantLog(want[:4])
	})
}

// A bus that hangs does not hold a shutdown up beyond its budget.
func TestShutdownBudgetBoundsAHangingBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.opts.PublishTimeout = time.Hour
		r.send(1, pushovertest.Outgoing{})
		r.log.hang = true
		run := r.start()
		synctest.Wait()
		began := time.Now()
		run.stop()
		if took := time.Since(began); took != 12*time.Second {
			t.Errorf("stopping took %v of virtual time, want the budget of 12s", took)
		}
	})
}

// What a slow bus has confirmed in time is progress, not trouble.
func TestSlowBusIsNoTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		want := r.send(10, pushovertest.Outgoing{})
		r.log.script = func(_ int, events []connector.Event) (int, int, error) {
			if len(events) > 4 {
				return 4, 4, context.DeadlineExceeded
			}
			return len(events), len(events), nil
		}
		run := r.start()
		r.drained()
		run.stop()
		r.wantLog(want)
		if strings.Contains(r.output.String(), "failed") {
			t.Errorf("the log speaks of trouble:\n%s", r.output)
		}
	})
}

// A deletion that the service refuses for good is tried ever more rarely, and
// its trouble is not taken for the bus's.
func TestRefusedDeletionIsRepeatedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.send(3, pushovertest.Outgoing{})
		r.sim.Fault(pushovertest.Fault{
			On: "POST delete", Status: 400, Body: `{"status":0,"message":"invalid","errors":["message is invalid"]}`,
		})
		run := r.start()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := r.sim.Requests("GET messages"); n < 5 || n > 40 {
			t.Errorf("%d downloads in an hour, want them to become rare", n)
		}
		_, metrics := r.get(run, "/metrics")
		if want := "pushover_connector_oldest_unpublished_age_seconds 0\n"; !strings.Contains(metrics, want) {
			t.Errorf("all is published, but the metrics have no %q", want)
		}
		if q := run.Status().Queue; q.Waiting != 0 || q.AtLeast {
			t.Errorf("all is published, but the queue is %+v", q)
		}
		run.stop()
		r.wantManners()
	})
}

package connector_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// Invariant: ids order time to the second only. A message that comes between a
// download and a deletion, with an id below those downloaded, is not lost.
func TestNoMessageIsLostToADeletionThatOvertakesIt(t *testing.T) {
	for _, delay := range []time.Duration{0, 2 * time.Second, time.Minute} {
		for _, page := range []int{1, 7, -1} {
			for seed := range uint64(4) {
				t.Run(fmt.Sprintf("delay %s page %d seed %d", delay, page, seed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						rng := rand.New(rand.NewPCG(seed, uint64(page+1))) //nolint:gosec // repeatable on purpose
						r := newRig(t, pushovertest.Options{PageSize: page})
						r.opts.ClearDelay = delay
						r.sim.LooseIDs(true)
						for _, on := range []pushovertest.Operation{"GET messages", "POST delete"} {
							r.sim.Fault(pushovertest.Fault{On: on, Act: true, Delay: 40 * time.Millisecond})
						}
						run := r.start()
						var want []string
						for range 60 {
							time.Sleep(time.Duration(rng.Int64N(int64(150 * time.Millisecond))))
							want = append(want, r.send(1, pushovertest.Outgoing{})...)
						}
						r.drained()
						run.stop()
						got := make(map[string]int)
						for _, id := range r.log.ids(connector.ClassMessage) {
							got[id]++
						}
						for _, id := range want {
							if got[id] != 1 {
								t.Errorf("message %s is in the log %d times", id, got[id])
							}
						}
						r.wantManners()
					})
				})
			}
		}
	}
}

// A fresh message costs one download more, and its event does not wait for it.
func TestFreshMessageIsClearedAfterOneMoreDownload(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		time.Sleep(time.Minute)
		before, began := r.sim.Requests("GET messages"), time.Now()
		want := r.send(1, pushovertest.Outgoing{})
		synctest.Wait()
		r.wantLog(want)
		if took := time.Since(began); took > 0 {
			t.Errorf("the event came after %s", took)
		}
		if q := run.Status().Queue; q.Waiting != 0 {
			t.Errorf("the message counts as waiting: %+v", q)
		}
		r.ready(run, "a message is held", 200)
		r.drained()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the message was cleared after %s, want five seconds at most", took)
		}
		time.Sleep(time.Minute)
		// The message's own, a second look after its signal, the one that settles it,
		// and one that finds the queue empty.
		if got := r.sim.Requests("GET messages") - before; got != 4 {
			t.Errorf("%d downloads, want 4", got)
		}
	})
}

// A message a second, for an hour: the rules about polling hold.
func TestSteadyStreamKeepsManners(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, _ *running) {
		time.Sleep(time.Minute)
		before := r.sim.Requests("POST delete")
		var want []string
		for i := range 3600 {
			want = append(want, r.send(1, pushovertest.Outgoing{})...)
			time.Sleep(time.Second)
			if n := r.sim.Waiting(r.device.Name); n > 10 {
				t.Fatalf("after %d seconds %d messages wait to be cleared", i, n)
			}
		}
		r.drained()
		r.wantLog(want)
		if got := r.sim.Requests("POST delete") - before; got > 3610 {
			t.Errorf("%d deletions for 3600 messages", got)
		}
		r.wantManners()
	})
}

// So they do for a message every ten seconds.
func TestSlowStreamKeepsManners(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, _ *running) {
		for range 360 {
			time.Sleep(10 * time.Second)
			r.send(1, pushovertest.Outgoing{})
		}
		r.drained()
		r.wantManners()
	})
}

// An old backlog is cleared as it is delivered.
func TestOldBacklogIsNotSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{PageSize: 100})
		want := r.backlog(5000)
		began := time.Now()
		run := r.start()
		r.drained()
		if took := time.Since(began); took > time.Second {
			t.Errorf("5000 old messages were cleared after %s, want no wait between them", took)
		}
		run.stop()
		r.wantLog(want)
	})
}

// Deletions that are confirmed and have no effect are repeated ever more rarely,
// show as a failing clear, and keep no new message from the bus.
func TestDeletionWithoutEffectIsPacedAndShown(t *testing.T) {
	for _, n := range []int{1, 3} {
		for _, delay := range []time.Duration{0, time.Minute} {
			t.Run(fmt.Sprintf("%d messages, delay %s", n, delay), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, pushovertest.Options{})
					r.opts.ClearDelay = delay
					want := r.backlog(n)
					r.sim.Fault(pushovertest.Fault{On: "POST delete", Status: 200, Body: `{"status":1,"request":"x"}`})
					run := r.start()
					time.Sleep(2 * time.Hour)
					r.ready(run, "deletions have no effect", 503, `"clear"`)
					if n := r.sim.Requests("GET messages"); n > 150 {
						t.Errorf("%d downloads in two hours, want them to become rare", n)
					}
					want = append(want, r.send(1, pushovertest.Outgoing{})...)
					synctest.Wait()
					r.wantLog(want)
					if q := run.Status().Queue; q.Waiting != 0 {
						t.Errorf("all is on the bus, and the queue is %+v", q)
					}
					// One comes just after a deletion, without a signal of its own.
					r.sim.ClearFaults()
					r.sim.Fault(pushovertest.Fault{On: "POST delete", Status: 200, Body: `{"status":1,"request":"x"}`, Delay: 2 * time.Second})
					before := r.sim.Requests("POST delete")
					r.await("a deletion", func(s pushovertest.State) bool { return s.Requests["POST delete"] > before })
					late := r.send(1, pushovertest.Outgoing{})
					time.Sleep(3 * time.Second)
					synctest.Wait()
					want = append(want, late...)
					r.wantLog(want)
					r.sim.ClearFaults()
					r.drained()
					time.Sleep(5 * time.Second)
					r.ready(run, "deletions work", 200)
					run.stop()
					r.wantLog(want)
					r.wantManners()
				})
			})
		}
	}
}

// A backlog longer than what one download keeps is cleared once a clear delay,
// and not once a safety sync.
func TestClearDelayDrainsALongBacklogBatchByBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{PageSize: -1})
		r.opts.ClearDelay = time.Minute
		r.dial = func(o *pushover.Options) { o.MaxBatch = 100 }
		want := r.backlog(1000)
		began := time.Now()
		run := r.start()
		r.drained()
		if took := time.Since(began); took > 11*time.Minute {
			t.Errorf("ten batches took %s, want about a minute each", took)
		}
		run.stop()
		r.wantLog(want)
	})
}

// Each of several refused messages has a dead letter of its own.
func TestRefusedMessagesSideBySideGetTheirOwnDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		want := r.backlog(4)
		r.log.script = func(_ int, events []connector.Event) (int, int, error) {
			for i, e := range events {
				if e.Class == connector.ClassMessage && e.ID != want[3] {
					return i, i, fmt.Errorf("too large: %w", connector.ErrRejected)
				}
			}
			return len(events), len(events), nil
		}
		run := r.start()
		r.drained()
		run.stop()
		if got := r.log.ids(connector.ClassDeadLetter); !slices.Equal(got, want[:3]) {
			t.Errorf("dead letters are %v, want %v", got, want[:3])
		}
		r.wantLog(want[3:])
	})
}

// A message whose id says that it is from the far future is delivered, and holds
// nothing up; nothing is deleted through its id, since all that is to come is
// below.
func TestImpossibleIDIsNeverDeletedThrough(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		time.Sleep(time.Minute)
		odd := r.send(1, pushovertest.Outgoing{Queued: time.Now().AddDate(1, 0, 0)})
		time.Sleep(time.Hour)
		before := r.sim.Requests("GET messages")
		want := slices.Concat(odd, r.send(3, pushovertest.Outgoing{}))
		time.Sleep(time.Hour)
		r.wantLog(want)
		if left := r.sim.Queue(r.device.Name); len(left) != 1 || left[0] != odd[0] {
			t.Errorf("the queue holds %v, want %v", left, odd)
		}
		if got := r.sim.Requests("GET messages") - before; got > 10 {
			t.Errorf("%d downloads in an hour", got)
		}
		r.ready(run, "an odd id", 200)
		r.wantManners()
	})
}

// A delayed deletion that is told that the session is over ends it.
func TestDelayedDeletionThatFindsTheSessionDeadHaltsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.opts.ClearDelay = time.Minute
		want := r.backlog(1)
		r.sim.Fault(pushovertest.Fault{
			On: pushovertest.OpDelete, Status: 400, Body: `{"status":0,"secret":"invalid","errors":["secret is invalid"]}`,
		})
		run := r.start()
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if s := run.Status().State; s != connector.StateLoginNeeded {
			t.Errorf("the state is %s, want login_needed", s)
		}
		run.stop()
		r.wantLog(want)
	})
}

// A message that the bus refuses in every form is offered again, with pauses.
func TestMessageRefusedInEveryFormIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.backlog(1)
		r.log.script = func(call int, events []connector.Event) (int, int, error) {
			if call > 1000 {
				return len(events), len(events), nil // an end
			}
			return 0, 0, fmt.Errorf("not today: %w", connector.ErrRejected)
		}
		run := r.start()
		time.Sleep(10 * time.Minute)
		run.stop()
		if got := r.log.calls; got < 5 || got > 200 {
			t.Errorf("the bus was asked %d times in ten minutes, want pauses between", got)
		}
	})
}

package connector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// The delay costs nothing but the delay: the deletion comes on time, and until
// then nobody asks the service for anything.
func TestClearDelayIsKeptExactlyWithoutFurtherDownloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.opts.ClearDelay = time.Minute
		run := r.start()
		r.awaitState(run, connector.StateLive)
		r.send(1, pushovertest.Outgoing{}) // which has settled when the next comes
		time.Sleep(2 * time.Second)
		synctest.Wait()
		alone := r.sim.Requests(pushovertest.OpDownload)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := r.sim.Requests(pushovertest.OpDownload) - alone; got != 0 {
			t.Errorf("%d downloads that settle what is not to be deleted for a minute, want none", got)
		}
		r.send(1, pushovertest.Outgoing{})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		downloads := r.sim.Requests(pushovertest.OpDownload)
		time.Sleep(52500 * time.Millisecond)
		synctest.Wait()
		if got := r.sim.Requests(pushovertest.OpDownload) - downloads; got != 0 {
			t.Errorf("%d downloads while the delay passed, want none", got)
		}
		if got := len(r.sim.Queue(r.device.Name)); got != 2 {
			t.Fatalf("before the delay is over the queue holds %d messages, want 2", got)
		}
		for want := 1; want >= 0; want-- {
			time.Sleep(time.Second)
			synctest.Wait()
			if got := len(r.sim.Queue(r.device.Name)); got != want {
				t.Errorf("a moment after the delay the queue holds %d messages, want %d", got, want)
			}
			time.Sleep(4 * time.Second)
		}
		if strings.Contains(r.output.String(), "lost") {
			t.Errorf("the log speaks of a loss:\n%s", r.output)
		}
	})
}

// What the log's owner purged within the delay is published once more. If that is
// gone too, it is meant, and the message is cleared: it would come back for ever.
func TestEventRemovedWithinTheClearDelayIsPublishedOnceMore(t *testing.T) {
	for _, again := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, pushovertest.Options{})
			r.opts.ClearDelay = time.Minute
			want := r.send(3, pushovertest.Outgoing{})
			run := r.start()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			r.log.purge()
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := len(r.log.ids(connector.ClassMessage)); got != 3 {
				t.Fatalf("%d events after the first loss, want 3 again", got)
			}
			if again {
				want = nil
				r.log.purge()
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if got := len(r.sim.Queue(r.device.Name)); got != 0 {
				t.Errorf("lost again %t: the queue holds %d messages, want none", again, got)
			}
			r.wantLog(want)
			if got := strings.Count(r.output.String(), "event removed from the log again"); again != (got == 3) || !again && got != 0 {
				t.Errorf("lost again %t: %d lines about it:\n%s", again, got, r.output)
			}
			if !part(run.Status(), connector.PartClear).OK {
				t.Errorf("lost again %t: clear is failing: %+v", again, part(run.Status(), connector.PartClear))
			}
		})
	}
}

// That it was in the queue when the log lost others does not make a message one
// whose event was removed before.
func TestOnlyAnEventThatWasMissingItselfIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.opts.ClearDelay = time.Minute
		r.send(1, pushovertest.Outgoing{})
		run := r.start()
		time.Sleep(40 * time.Second)
		second := r.send(1, pushovertest.Outgoing{})
		time.Sleep(10 * time.Second)
		for range 2 { // before the second is due, and after it was published again
			synctest.Wait()
			r.log.purge()
			time.Sleep(time.Minute)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := len(r.sim.Queue(r.device.Name)); got != 0 {
			t.Errorf("the queue holds %d messages, want none", got)
		}
		r.wantLog(second)
		if !part(run.Status(), connector.PartClear).OK {
			t.Errorf("clear is failing: %+v", part(run.Status(), connector.PartClear))
		}
	})
}

// The signal can be ahead of the message: a second look follows.
func TestSignalAheadOfItsMessageIsLookedAfter(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		time.Sleep(time.Minute)
		r.sim.Fault(pushovertest.Fault{On: pushovertest.OpDownload, Body: `{"messages":[],"status":1}`, For: time.Second})
		want := r.send(1, pushovertest.Outgoing{})
		time.Sleep(1600 * time.Millisecond)
		synctest.Wait()
		r.wantLog(want)
	})
}

// What waits is shown while the bus takes nothing: at least so many, since a download
// does not say that it was all.
func TestWaitingMessagesAreCountedWhileTheBusHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.opts.ClearDelay, r.opts.PublishTimeout = time.Hour, 10*time.Second
		r.send(2, pushovertest.Outgoing{})
		run := r.start()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if q := run.Status().Queue; q.Waiting != 0 || q.AtLeast {
			t.Errorf("with all confirmed: got %+v, want nothing waiting", q)
		}
		r.log.hang = true
		r.sim.Fault(pushovertest.Fault{On: pushovertest.OpDownload, Delay: time.Second, Count: 1}) // some signals come before it begins, some during it
		r.send(3, pushovertest.Outgoing{})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if q := run.Status().Queue; q.Waiting != 3 || !q.AtLeast {
			t.Errorf("while the bus hangs: got %+v, want 3 or more waiting", q)
		}
		if _, metrics := r.get(run, "/metrics"); !strings.Contains(metrics, "pushover_connector_clear_lag_messages 5\n") {
			t.Error("the metrics lack a lag of 5: two held, three waiting")
		}
		if part(run.Status(), connector.PartPublish).OK != true {
			t.Error("publish is failing before its time is over")
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if p := part(run.Status(), connector.PartPublish); p.OK || p.Reason != connector.ReasonTimeout {
			t.Errorf("after a publish that confirmed nothing in its time: got %+v, want a timeout", p)
		}
		_, metrics := r.get(run, "/metrics")
		if want := `pushover_connector_publish_failures_total{reason="timeout",sink="memory"} 1`; !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %q", want)
		}
	})
}

// The clear delay is for deletions: a download that fails is tried again at its own
// pace.
func TestClearDelayDoesNotSlowDownloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.opts.ClearDelay = 10 * time.Hour
		r.sim.Fault(pushovertest.Fault{On: pushovertest.OpDownload, Body: `{"messages":[{"id":0}],"status":1}`, Count: 2})
		want := r.send(1, pushovertest.Outgoing{})
		r.start()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		r.wantLog(want)
	})
}

// What a long drain says of itself adds up.
func TestProgressOfABacklogCountsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{PageSize: -1})
		const n = 3000 // several pieces
		r.backlog(n)
		r.log.script = func(_ int, events []connector.Event) (int, int, error) {
			time.Sleep(6 * time.Second)
			return min(300, len(events)), min(300, len(events)), context.DeadlineExceeded
		}
		run := r.start()
		time.Sleep(time.Second)
		synctest.Wait()
		_, metrics := r.get(run, "/metrics")
		if want := fmt.Sprintf("pushover_connector_clear_lag_messages %d\n", n); !strings.Contains(metrics, want) {
			t.Errorf("while the first of it is published the metrics lack %q", want)
		}
		r.drained()
		run.stop()
		lines := 0
		for line := range strings.Lines(r.output.String()) {
			var said struct {
				Msg, Waiting string
				Published    int
			}
			if err := json.Unmarshal([]byte(line), &said); err != nil || said.Msg != "publishing a backlog" {
				continue
			}
			lines++
			if want := fmt.Sprintf("%d or more", n-said.Published); said.Waiting != want {
				t.Errorf("after %d of %d: got %q waiting, want %q", said.Published, n, said.Waiting, want)
			}
		}
		if lines < 5 {
			t.Errorf("got %d lines about the backlog, want one every few seconds", lines)
		}
	})
}

package pushover_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// download keeps asking, as a program does that nobody waits for.
func (w *world) downloadUntil(ctx context.Context) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_, _ = w.client.Download(ctx)
		}
	}()
	return func() { <-done }
}

func TestUrgentCallDoesNotWaitForThePatientOnes(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		sent := w.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})
		w.sim.Fault(pushovertest.Fault{On: "*", Status: 503})
		ctx, cancel := context.WithCancel(w.Context())
		wait := w.downloadUntil(ctx)
		time.Sleep(2 * time.Hour)
		patient := len(w.sent())
		last := w.sent()[patient-1].at
		if most := 5 + int(2*time.Hour/(150*time.Second)); patient > most { // the ladder ends at 150 to 300 s
			w.Errorf("nobody waits: got %d requests in two hours, want at most %d", patient, most)
		}

		start := time.Now()
		for len(w.sent()) < patient+30 {
			err := w.client.Acknowledge(pushover.Urgent(w.Context()), pushover.Receipt(sent.Receipt))
			if !errors.Is(err, pushover.ErrUnavailable) {
				w.Fatalf("got %v, want ErrUnavailable", err)
			}
			if len(w.sent()) == patient+1 && time.Since(start) > 12*time.Second {
				w.Errorf("first urgent request: got it after %s", time.Since(start))
			}
		}
		for i, r := range w.sent()[patient:] {
			gap := r.at - last
			last = r.at
			if i > 0 && (gap < 10*time.Second || gap > 12*time.Second) {
				w.Errorf("urgent request %d: got it %s after the one before, want 10 to 12 s", i, gap)
			}
		}

		w.sim.ClearFaults()
		start = time.Now()
		if err := w.client.Acknowledge(pushover.Urgent(w.Context()), pushover.Receipt(sent.Receipt)); err != nil || time.Since(start) > 15*time.Second {
			w.Errorf("after the outage: got %v after %s, want success within 15 s", err, time.Since(start))
		}
		cancel()
		wait()
	})
}

func TestUrgentCallShortensAWaitUnderWay(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "*", Status: 503})
		ctx, cancel := context.WithCancel(w.Context())
		wait := w.downloadUntil(ctx)
		time.Sleep(2 * time.Hour)
		n := len(w.sent())
		w.until(func(pushovertest.State) bool { return len(w.sent()) > n })
		synctest.Wait() // a wait begins
		w.sim.ClearFaults()
		start := time.Now()
		if err := w.client.Acknowledge(pushover.Urgent(w.Context()), "rAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"); pushover.Retryable(err) {
			w.Errorf("got %v, want a verdict", err)
		}
		if took := time.Since(start); took < 5*time.Second || took > 12*time.Second {
			w.Errorf("right after a failure: got the urgent request after %s, want 5 to 12 s", took)
		}
		cancel()
		wait()
	})
}

func TestUrgentCallKeepsWhatTheServiceAsksFor(t *testing.T) {
	for _, f := range []pushovertest.Fault{
		{Status: 503, RetryAfter: 20 * time.Minute}, {Status: 429, RetryAfter: 20 * time.Minute},
	} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			f.On, f.Count = "*", 1
			w.sim.Fault(f)
			ctx := pushover.Urgent(w.Context())
			if err := download(ctx, w.client); !pushover.Retryable(err) {
				w.Fatalf("got %v, want trouble", err)
			}
			start := time.Now()
			if err := download(ctx, w.client); err != nil || time.Since(start) < 20*time.Minute {
				w.Errorf("%d: got %v after %s, want success after 20 min", f.Status, err, time.Since(start))
			}
		})
	}
}

// Somebody waits for a message that was signalled, and nobody knows of others.
func TestSignalMakesTheDownloadUrgent(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		l := w.client.StartListening(w.Context(), (&inbox{}).handle)
		w.untilLogins(1)
		time.Sleep(time.Minute)
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 503})
		before := len(w.sent())
		time.Sleep(3 * time.Hour)
		if got := len(w.sent()) - before; got < 10 || got > 50 {
			w.Errorf("nothing waits: got %d downloads in three hours of outage, want one in 5 minutes or so", got)
		}
		before = len(w.sent())
		w.sim.Send(pushovertest.Outgoing{Message: "fire"})
		time.Sleep(10 * time.Minute)
		if got := len(w.sent()) - before; got < 50 || got > 61 {
			w.Errorf("a message waits: got %d downloads in ten minutes, want one in 10 to 12 s", got)
		}
		w.sim.ClearFaults()
		start := time.Now()
		w.untilEmpty()
		if took := time.Since(start); took > 15*time.Second {
			w.Errorf("got the message %s after the outage, want it within 15 s", took)
		}
		synctest.Wait() // until the queue was seen empty
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 503})
		before = len(w.sent())
		time.Sleep(2 * time.Hour)
		if got := len(w.sent()) - before; got > 40 {
			w.Errorf("nothing waits any more: got %d downloads in two hours of outage", got)
		}
		w.stopListening(l)
	})
}

func TestMessageIsThroughSoonAfterAnOutageOfAnyLength(t *testing.T) {
	for _, f := range []pushovertest.Fault{
		{On: "*", Drop: "before"}, {On: "*", Status: 503}, {On: "*", Status: 500, Body: `{"status":0}`},
	} {
		for _, outage := range []time.Duration{7 * time.Minute, 3 * time.Hour} {
			simulate(t, pushovertest.Options{}, func(w *world) {
				l := w.client.StartListening(w.Context(), (&inbox{}).handle)
				w.untilLogins(1)
				time.Sleep(time.Hour)
				w.sim.Fault(f)
				w.sim.CloseStreams("", 1001, "")
				time.Sleep(outage / 2)
				w.sim.Send(pushovertest.Outgoing{Message: "fire"})
				time.Sleep(outage / 2)
				w.sim.ClearFaults()
				start := time.Now()
				w.untilEmpty()
				if took := time.Since(start); took > 15*time.Second {
					w.Errorf("%+v for %s: got the message after %s, want it within 15 s", f, outage, took)
				}
				w.stopListening(l)
			})
		}
	}
}

func TestFollowTriesAgainWhenTheRESTSideRecovers(t *testing.T) {
	for name, tc := range map[string]struct {
		fault pushovertest.Fault
		early bool
	}{
		"no reply":    {pushovertest.Fault{Drop: "before"}, true},
		"5xx":         {pushovertest.Fault{Status: 502}, true},
		"4xx":         {pushovertest.Fault{Status: 403}, false},
		"Retry-After": {pushovertest.Fault{Status: 503, RetryAfter: time.Hour}, false},
	} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			tc.fault.On = "stream"
			w.sim.Fault(tc.fault)
			w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 503})
			attempts := func(s pushovertest.State) int { return s.Requests["stream"] }
			f := w.follow(nil)
			time.Sleep(30 * time.Minute)
			if download(w.Context(), w.client) == nil {
				w.Fatal("want trouble")
			}
			time.Sleep(10 * time.Second) // the gate may be tried from now on
			if n := attempts(w.sim.State()); tc.early {
				w.until(func(s pushovertest.State) bool { return attempts(s) > n })
				synctest.Wait() // a wait begins
			}
			w.sim.ClearFaults()
			start := time.Now()
			if err := download(w.Context(), w.client); err != nil { // the gate opens
				w.Fatal(err)
			}
			w.untilLogins(1)
			if took := time.Since(start); tc.early && (took < 5*time.Second || took > 6*time.Second) {
				w.Errorf("%s: got a login %s after the attempt before and the recovery, want 5 s", name, took)
			}
			synctest.Wait()
			for i, s := range f.states[:len(f.states)-1] {
				if next := f.states[i+1]; !tc.early && s.Phase == pushover.PhaseWaiting && !next.at.Equal(s.RetryAt) {
					w.Errorf("%s: got an attempt at %s, want it at %s", name, next.at, s.RetryAt)
				}
			}
			_ = f.stop()
		})
	}
}

// While downloads fail and acknowledgements would not, the next probe is an
// acknowledgement's: the other is the likeliest to fail again.
func TestOperationThatFailedLeavesTheProbeToAnother(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: pushovertest.OpDownload, Status: 503})
		ctx, cancel := context.WithCancel(w.Context())
		wait := w.downloadUntil(ctx)
		for range 12 {
			failed := w.sim.Requests(pushovertest.OpDownload)
			w.until(func(pushovertest.State) bool { return w.sim.Requests(pushovertest.OpDownload) > failed })
			synctest.Wait() // both wait for the same moment
			failed = w.sim.Requests(pushovertest.OpDownload)
			sent := w.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})
			w.sim.Fault(pushovertest.Fault{On: pushovertest.OpAcknowledge, Delay: time.Second, Count: 1})
			asked := w.sim.Requests(pushovertest.OpAcknowledge)
			acked := make(chan error, 1)
			go func() { acked <- w.client.Acknowledge(w.Context(), pushover.Receipt(sent.Receipt)) }()
			w.until(func(pushovertest.State) bool { return w.sim.Requests(pushovertest.OpAcknowledge) > asked })
			synctest.Wait() // what goes together with it is under way
			if got := w.sim.Requests(pushovertest.OpDownload) - failed; got != 0 {
				w.Errorf("got %d downloads while an acknowledgement waited, want none", got)
			}
			if err := <-acked; err != nil {
				w.Fatal(err)
			}
		}
		cancel()
		wait()
	})
}

// Two calls that were under way when the service failed are one failure.
func TestCallsThatFailTogetherClimbOneStep(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		sent := w.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})
		w.sim.Fault(pushovertest.Fault{On: "*", Status: 503, Delay: time.Second, Count: 2})
		var calls sync.WaitGroup
		calls.Go(func() { _ = download(w.Context(), w.client) })
		calls.Go(func() { _ = w.client.Acknowledge(w.Context(), pushover.Receipt(sent.Receipt)) })
		calls.Wait()
		start := time.Now()
		if err := download(w.Context(), w.client); err != nil {
			w.Fatal(err)
		}
		if took := time.Since(start); took < 5*time.Second || took > 10*time.Second {
			w.Errorf("the next call came after %s, want the first step, 5 to 10 s", took)
		}
	})
}

// What an earlier process was told holds for its successor, urgent or not, and one
// request finds out.
func TestHoldUntilIsAsIfItHadFailed(t *testing.T) {
	until := time.Date(2026, 11, 26, 0, 1, 0, 0, time.UTC)
	simulateWith(t, pushovertest.Options{}, pushover.Options{HoldUntil: until}, func(w *world) {
		if got := w.client.APIState(); got.Open || !got.RetryAt.Equal(until) || !errors.Is(got.Err, pushover.ErrUnavailable) {
			t.Errorf("at the start: got %+v, want closed until %s", got, until)
		}
		w.sim.Fault(pushovertest.Fault{On: pushovertest.OpDownload, Status: 503, Count: 1})
		var calls sync.WaitGroup
		for range 2 {
			calls.Go(func() { _ = download(pushover.Urgent(w.Context()), w.client) })
		}
		time.Sleep(time.Until(until) - time.Nanosecond)
		if got := w.sim.Requests(pushovertest.OpDownload); got != 0 {
			t.Errorf("got %d requests before its time, want none", got)
		}
		time.Sleep(time.Second)
		if got := w.sim.Requests(pushovertest.OpDownload); got != 1 {
			t.Errorf("got %d requests at its time, want 1", got)
		}
		calls.Wait()
		if err := download(w.Context(), w.client); err != nil {
			t.Error(err)
		}
		if got := w.client.APIState(); !got.Open {
			t.Errorf("at the end: got %+v, want open", got)
		}
	})
}

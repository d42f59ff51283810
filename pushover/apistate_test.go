package pushover_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// An apiLog remembers the states that were reported.
type apiLog struct {
	mu     sync.Mutex
	states []timedAPIState
}

type timedAPIState struct {
	pushover.APIState
	at time.Time
}

func (l *apiLog) add(s pushover.APIState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.states = append(l.states, timedAPIState{s, time.Now()})
}

func (l *apiLog) last() timedAPIState {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.states) == 0 {
		return timedAPIState{}
	}
	return l.states[len(l.states)-1]
}

func TestAPIStateFollowsAnOutage(t *testing.T) {
	var log apiLog
	simulateWith(t, pushovertest.Options{}, pushover.Options{OnAPIState: log.add}, func(w *world) {
		other := w.client.WithCredentials(w.client.Credentials())
		if err := download(w.Context(), w.client); err != nil || !other.APIState().Open || len(log.states) != 0 {
			w.Fatalf("without trouble: got %v, %+v and reports %v, want open and none", err, other.APIState(), log.states)
		}
		w.sim.Fault(pushovertest.Fault{On: "*", Status: 503, Count: 5})
		for i := range 5 {
			err := download(w.Context(), w.client)
			s := log.last()
			if s.Open || s.Attempts != i+1 || s.Err.Error() != err.Error() || time.Until(s.RetryAt) < 5*time.Second {
				w.Errorf("failure %d: got %+v, want it with %v and a time", i+1, s, err)
			}
			if got := other.APIState(); got != s.APIState {
				w.Errorf("failure %d: asked: got %+v, want %+v", i+1, got, s)
			}
			time.Sleep(time.Until(s.RetryAt)) // and the next is sent at once
		}
		before := len(log.states)
		sent := time.Now()
		if err := download(w.Context(), w.client); err != nil || time.Since(sent) != 0 {
			w.Errorf("at RetryAt: got %v after %s, want success at once", err, time.Since(sent))
		}
		if s := log.last(); s.APIState != (pushover.APIState{Open: true}) || len(log.states) != before+1 {
			w.Errorf("after the outage: got %+v, want it open, reported once", log.states[before:])
		}
	})
}

func TestAPIStateKnowsThatSomebodyWaits(t *testing.T) {
	var log apiLog
	simulateWith(t, pushovertest.Options{}, pushover.Options{OnAPIState: log.add}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "*", Status: 503})
		ctx, cancel := context.WithCancel(w.Context())
		wait := w.downloadUntil(ctx)
		time.Sleep(time.Hour)
		n := len(w.sent())
		w.until(func(pushovertest.State) bool { return len(w.sent()) > n })
		synctest.Wait()
		if wait := time.Until(log.last().RetryAt); wait < time.Minute {
			w.Errorf("nobody waits: got the next request in %s, want minutes", wait)
		}
		for range 3 {
			done := make(chan error)
			go func() { done <- w.client.Acknowledge(pushover.Urgent(ctx), "rAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") }()
			synctest.Wait()
			if s := log.last(); time.Until(s.RetryAt) > 12*time.Second || time.Until(s.RetryAt) < 0 {
				w.Errorf("somebody waits: got the next request in %s, want 12 s at most", time.Until(s.RetryAt))
			}
			at := log.last().RetryAt
			if err := <-done; !errors.Is(err, pushover.ErrUnavailable) || !time.Now().Equal(at) {
				w.Errorf("got %v at %s, want the failure at %s as announced", err, time.Now(), at)
			}
			if wait := time.Until(log.last().RetryAt); wait > 12*time.Second {
				w.Errorf("the one who waits is likely to come back: got the next request in %s, want 12 s at most", wait)
			}
		}
		cancel()
		wait()
	})
}

func TestAPIStateMovesWithASignal(t *testing.T) {
	var log apiLog
	simulateWith(t, pushovertest.Options{}, pushover.Options{OnAPIState: log.add}, func(w *world) {
		l := w.client.StartListening(w.Context(), (&inbox{}).handle)
		w.untilLogins(1)
		time.Sleep(time.Minute)
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 503})
		time.Sleep(3 * time.Hour)
		n := w.sim.Requests("GET messages")
		w.until(func(s pushovertest.State) bool { return s.Requests["GET messages"] > n })
		time.Sleep(6 * time.Second) // a download waits again
		if wait := time.Until(log.last().RetryAt); wait < time.Minute {
			w.Errorf("nothing waits: got the next request in %s, want minutes", wait)
		}
		w.sim.Signal("", "!")
		synctest.Wait()
		if wait := time.Until(log.last().RetryAt); wait > 12*time.Second {
			w.Errorf("after a signal: got the next request in %s, want 12 s at most", wait)
		}
		w.sim.ClearFaults()
		w.stopListening(l)
	})
}

func TestAPIStateNamesARateLimitAndASilentService(t *testing.T) {
	var log apiLog
	simulateWith(t, pushovertest.Options{}, pushover.Options{OnAPIState: log.add}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "*", Status: 429, RetryAfter: 20 * time.Minute, Count: 1})
		_ = download(w.Context(), w.client)
		if s := log.last(); !errors.Is(s.Err, pushover.ErrRateLimited) || time.Until(s.RetryAt) < 20*time.Minute {
			w.Errorf("429: got %+v, want it with its Retry-After", s)
		}
		_ = download(w.Context(), w.client)
		w.sim.Fault(pushovertest.Fault{On: "*", Delay: time.Minute, Count: 1})
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		_ = download(ctx, w.client)
		if s := log.last(); !errors.Is(s.Err, pushover.ErrUnavailable) || s.Attempts != 1 || time.Until(s.RetryAt) != 5*time.Second {
			w.Errorf("no reply within the caller's time: got %+v, want a failure and 5 s", s)
		}
	})
}

// The callback may ask for the state, and takes no part in the order of things.
func TestAPIStatesAreReportedInOrder(t *testing.T) {
	var log apiLog
	var client *pushover.Client
	asked := make(chan pushover.APIState, 1000)
	var inside atomic.Int32
	report := func(s pushover.APIState) {
		if inside.Add(1) > 1 {
			t.Error("two reports at a time")
		}
		defer inside.Add(-1)
		log.add(s)
		time.Sleep(time.Millisecond) // so that others change it meanwhile
		asked <- client.APIState()
	}
	simulateWith(t, pushovertest.Options{}, pushover.Options{OnAPIState: report}, func(w *world) {
		client = w.client
		w.sim.Fault(pushovertest.Fault{On: "*", Drop: "before", Delay: time.Second, Count: 7})
		var callers sync.WaitGroup
		for i := range 8 {
			callers.Go(func() {
				for range 5 {
					ctx := w.Context()
					if i%2 == 0 {
						ctx = pushover.Urgent(ctx)
					}
					_ = download(ctx, w.client)
				}
			})
		}
		callers.Wait()
		attempts := 0
		for i, s := range log.states {
			if !s.Open && s.Attempts < attempts || s.Open != (i == len(log.states)-1) {
				w.Errorf("report %d: got %+v after %d attempts", i, s, attempts)
			}
			attempts = s.Attempts
		}
		if len(log.states) < 8 {
			w.Errorf("got %d reports, want one of each failure and the recovery", len(log.states))
		}
	})
}

// Nothing is kept for a caller who does not want to be told.
func TestUnwantedAPIStatesAreNotKept(t *testing.T) {
	simulateWith(t, pushovertest.Options{}, pushover.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "*", Status: 503, Count: 5})
		for range 6 {
			_ = download(w.Context(), w.client)
		}
		if n := w.client.Untold(); n > 0 {
			w.Errorf("after an outage: got %d states kept, want none", n)
		}
	})
}

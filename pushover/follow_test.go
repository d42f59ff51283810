package pushover_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A following is a Follow in the background, and what it told.
type following struct {
	w      *world
	cancel context.CancelCauseFunc
	done   chan error
	states []timedState
	wakes  int
	seen   []pushover.Signal
}

type timedState struct {
	pushover.StreamState
	at time.Time
}

func (w *world) follow(wall func() time.Time) *following {
	ctx, cancel := context.WithCancelCause(w.Context())
	f := &following{w: w, cancel: cancel, done: make(chan error, 1)}
	if wall == nil {
		wall = time.Now
	}
	go func() {
		f.done <- w.client.FollowWithClock(ctx, pushover.Follower{
			Wake:   func() { f.wakes++ },
			Signal: func(s pushover.Signal) { f.seen = append(f.seen, s) },
			State:  func(s pushover.StreamState) { f.states = append(f.states, timedState{s, time.Now()}) },
		}, wall)
	}()
	return f
}

// stop ends following; what it told may be read afterwards.
func (f *following) stop() error {
	f.cancel(errStop)
	start := time.Now()
	err := <-f.done
	if took := time.Since(start); took > time.Second {
		f.w.Errorf("Follow took %s to end", took)
	}
	return err
}

var errStop = errors.New("stop")

// waits lists the reasons for waiting, and how long each wait was.
func (f *following) waits() (reasons []string, waits []time.Duration) {
	for _, s := range f.states {
		if s.Phase == pushover.PhaseWaiting {
			reasons, waits = append(reasons, s.Reason), append(waits, s.RetryAt.Sub(s.at))
		}
	}
	return reasons, waits
}

func TestFollowWakesAtEveryConnectFirstSignalAndMessage(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		f := w.follow(nil)
		w.untilLogins(1)
		w.sim.Signal("", "!")
		w.sim.SignalJoined("", "#!?")
		w.sim.Signal("", "R")
		w.untilLogins(2)
		time.Sleep(31 * time.Second) // virtual; the service's first keep-alive
		if err := f.stop(); !errors.Is(err, errStop) {
			w.Errorf("got %v, want the context's cause", err)
		}
		if f.wakes != 5 {
			w.Errorf("got %d wake-ups, want 5: two connects, two '!' of which one came first, and the first '#' of the second stream", f.wakes)
		}
		if !slices.Contains(f.seen, '?') {
			w.Errorf("got signals %v, want the unknown one too", f.seen)
		}
		var phases []string
		for _, s := range f.states {
			phases = append(phases, s.Phase.String())
		}
		if got, want := strings.Join(phases, " "), "connecting connected live waiting connecting connected live"; got != want {
			w.Errorf("phases: got %s, want %s", got, want)
		}
		if reasons, waits := f.waits(); !slices.Equal(reasons, []string{"reload"}) || waits[0] < time.Second || waits[0] >= 5*time.Second {
			w.Errorf("got waits %v for %v, want one of 1 to 5 s for reload", waits, reasons)
		}
	})
}

func TestPermanentSignalsEndFollowing(t *testing.T) {
	for signal, want := range map[string]error{"E": pushover.ErrLoginNeeded, "A": pushover.ErrTakenOver} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			f := w.follow(nil)
			w.untilLogins(1)
			w.sim.Signal("", signal)
			if err := <-f.done; !errors.Is(err, want) || pushover.Retryable(err) {
				w.Errorf("%s: got %v, want %v", signal, err, want)
			}
			if got := w.sim.State().Device("nas-1"); got.Logins != 1 || got.Connected {
				w.Errorf("%s: got %+v, want no second login and no connection", signal, got)
			}
			if f.wakes != 1 {
				w.Errorf("%s: got %d wake-ups, want none but for the connect", signal, f.wakes)
			}
			f.cancel(nil)
		})
	}
}

func TestTakeoverByAnotherSessionIsSeen(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		f := w.follow(nil)
		w.untilLogins(1)
		other := mustNew(w.T, pushover.Options{
			APIURL: w.sim.APIURL(), StreamURL: w.sim.StreamURL(), DialContext: w.sim.DialContext,
			Credentials: credentialsOf(w.device), UserAgent: "other/1.0",
		})
		s, err := other.Connect(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		defer closeStream(w.T, s)
		if err := <-f.done; !errors.Is(err, pushover.ErrTakenOver) {
			w.Errorf("got %v, want ErrTakenOver", err)
		}
		f.cancel(nil)
	})
}

// What follows R on the same stream belongs to a stream that is given up: our own
// next login may displace it there and cause an A.
func TestSignalsOfAReplacedStreamDoNotCount(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		f := w.follow(nil)
		w.untilLogins(1)
		w.sim.SignalJoined("", "RA")
		synctest.Wait()
		select {
		case err := <-f.done:
			w.Errorf("got %v, want following to go on", err)
		default:
			_ = f.stop()
		}
	})
}

func TestBackOffGrowsUntilAConnectionHasHeld(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "stream", Drop: "before", Count: 8})
		f := w.follow(nil)
		w.untilLogins(1)
		time.Sleep(59 * time.Second) // virtual; not yet stable
		w.sim.CloseStreams("", 1001, "")
		w.untilLogins(2)
		time.Sleep(61 * time.Second)
		w.sim.CloseStreams("", 1001, "")
		w.untilLogins(3)
		w.sim.CloseStreams("", 0, "")
		w.untilLogins(4)
		_ = f.stop()
		_, waits := f.waits()
		limit := 10 * time.Second
		for i, got := range waits[:9] { // eight failures, and one connection that did not hold
			if got < 5*time.Second || got > limit {
				w.Errorf("wait %d: got %s, want 5 s to %s", i, got, limit)
			}
			limit = 13 * time.Second
		}
		if got := waits[9]; got < time.Second || got >= 5*time.Second {
			w.Errorf("after a connection that held: got %s, want 1 to 5 s", got)
		}
		if got := waits[10]; got < 5*time.Second || got > 10*time.Second {
			w.Errorf("after one that did not: got %s, want the ladder from its start", got)
		}
	})
}

// Somebody is there who does not want us.
func TestRefusedHandshakesGrowRare(t *testing.T) {
	for _, status := range []int{401, 403, 404, 410} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			w.sim.Fault(pushovertest.Fault{On: "stream", Status: status, Count: 8})
			f := w.follow(nil)
			w.untilLogins(1)
			_ = f.stop()
			_, waits := f.waits()
			limit := 10 * time.Second
			for i, got := range waits {
				if got < limit/2 || got > limit {
					w.Errorf("%d: wait %d: got %s, want %s to %s", status, i, got, limit/2, limit)
				}
				limit = min(2*limit, 5*time.Minute)
			}
		})
	}
}

func TestReasonsOfReconnecting(t *testing.T) {
	for name, tc := range map[string]struct {
		cause func(*pushovertest.Server)
		want  string
	}{
		"closed":      {func(s *pushovertest.Server) { s.CloseStreams("", 1001, "bye") }, pushover.ReasonClosed},
		"silence":     {func(s *pushovertest.Server) { s.StopKeepAlive(true) }, pushover.ReasonSilence},
		"reload":      {func(s *pushovertest.Server) { s.Signal("", "R") }, pushover.ReasonReload},
		"large frame": {func(s *pushovertest.Server) { s.SignalJoined("", strings.Repeat("#", 5000)) }, pushover.ReasonFrame},
		"refused": {func(s *pushovertest.Server) {
			s.Fault(pushovertest.Fault{On: "stream", Status: 403, Body: `{"status":0}`, Count: 1})
			s.CloseStreams("", 1001, "")
		}, pushover.ReasonRefused},
		"network": {func(s *pushovertest.Server) {
			s.Fault(pushovertest.Fault{On: "stream", Drop: "before", Count: 1})
			s.CloseStreams("", 1001, "")
		}, pushover.ReasonNetwork},
	} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			f := w.follow(nil)
			w.untilLogins(1)
			tc.cause(w.sim)
			w.untilLogins(2)
			w.sim.StopKeepAlive(false)
			_ = f.stop()
			reasons, _ := f.waits()
			if len(reasons) == 0 || reasons[len(reasons)-1] != tc.want {
				w.Errorf("%s: got reasons %v, want %s last", name, reasons, tc.want)
			}
		})
	}
}

func TestRetryAfterOfTheStreamIsHonoured(t *testing.T) {
	for _, status := range []int{429, 503} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			w.sim.Fault(pushovertest.Fault{On: "stream", Status: status, RetryAfter: 20 * time.Minute, Count: 1})
			f := w.follow(nil)
			w.untilLogins(1)
			_ = f.stop()
			if _, waits := f.waits(); waits[0] != 20*time.Minute {
				w.Errorf("%d: got a wait of %v, want 20 min", status, waits)
			}
		})
	}
}

// A service that answers every login with R must not be visited every few
// seconds for ever.
func TestEndlessReloadsCountAsTrouble(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		f := w.follow(nil)
		for i := range 8 {
			w.untilLogins(i + 1)
			w.sim.Signal("", "R")
		}
		w.untilLogins(9)
		_ = f.stop()
		_, waits := f.waits()
		if waits[7] < 30*time.Second {
			w.Errorf("got waits %v, want them to grow", waits)
		}
	})
}

func TestFollowNeedsNoFunctions(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		ctx, cancel := context.WithCancelCause(w.Context())
		done := make(chan error, 1)
		go func() { done <- w.client.Follow(ctx, pushover.Follower{}) }()
		w.untilLogins(1)
		w.sim.Signal("", "!")
		synctest.Wait()
		cancel(errStop)
		if err := <-done; !errors.Is(err, errStop) {
			w.Errorf("got %v, want the context's cause", err)
		}
	})
}

func TestFollowEndsPromptlyInEveryPhase(t *testing.T) {
	for name, fault := range map[string]pushovertest.Fault{
		"live":       {On: "GET icon", Status: 500},
		"connecting": {On: "stream", Delay: time.Minute},
		"waiting":    {On: "stream", Drop: "before"},
	} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			w.sim.Fault(fault)
			f := w.follow(nil)
			time.Sleep(20 * time.Second)
			if err := f.stop(); !errors.Is(err, errStop) {
				w.Errorf("%s: got %v, want the context's cause", name, err)
			}
			w.sim.ClearFaults()
		})
	}
}

// A program logs what it does with the states, and nothing twice.
func TestFollowReportsTroubleAndDoesNotLogIt(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "stream", Status: 502, Count: 3})
		f := w.follow(nil)
		w.untilLogins(1)
		w.sim.Signal("", "R") // is not a failure
		w.untilLogins(2)
		w.sim.Signal("", "#")
		w.sim.CloseStreams("", 1001, "")
		w.untilLogins(3)
		_ = f.stop()
		var attempts []int
		for _, s := range f.states {
			attempts = append(attempts, s.Attempts)
		}
		// connecting and waiting; then connected, live and waiting each time
		if want := []int{0, 1, 1, 2, 2, 3, 3, 3, 0, 0, 0, 0, 0, 1, 1, 1}; !slices.Equal(attempts, want) {
			w.Errorf("attempts: got %v, want %v", attempts, want)
		}
		if strings.Contains(w.log.String(), "level=WARN") || strings.Contains(w.log.String(), "level=INFO") {
			w.Errorf("got a log of\n%s, want debug lines at most", w.log)
		}
	})
}

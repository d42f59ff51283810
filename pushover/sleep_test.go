package pushover_test

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A wallClock goes on while the machine sleeps, unlike the bubble's clock.
type wallClock struct{ ahead atomic.Int64 }

func (c *wallClock) now() time.Time        { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *wallClock) sleep(d time.Duration) { c.ahead.Add(int64(d)) }

func TestWakingUpFromSleepReconnectsAtOnce(t *testing.T) {
	for _, connected := range []bool{true, false} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			if !connected { // and so in a long wait
				w.sim.Fault(pushovertest.Fault{On: "stream", Drop: "before", Count: 7})
			}
			var wall wallClock
			f := w.follow(wall.now)
			if connected {
				w.untilLogins(1)
			} else {
				w.until(func(s pushovertest.State) bool { return s.Requests["stream"] == 7 })
			}
			synctest.Wait() // until the clock is being watched
			before := w.sim.State().Device("nas-1").Logins
			wall.sleep(time.Hour)
			start := time.Now()
			w.untilLogins(before + 1)
			if took := time.Since(start); took > 6*time.Second {
				w.Errorf("connected %v: got a new login after %s, want it at once", connected, took)
			}
			_ = f.stop()
			slept := func(s timedState) bool {
				return s.Phase == pushover.PhaseConnecting && s.Reason == pushover.ReasonSleep
			}
			if !slices.ContainsFunc(f.states, slept) {
				w.Errorf("connected %v: got states %+v, want the reason sleep", connected, f.states)
			}
		})
	}
}

func TestWakingUpFromSleepKeepsRetryAfter(t *testing.T) {
	for slept, want := range map[time.Duration]time.Duration{
		40 * time.Second: 20*time.Minute - 40*time.Second,
		time.Hour:        0,
	} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			w.sim.Fault(pushovertest.Fault{On: "stream", Status: 429, RetryAfter: 20 * time.Minute, Count: 1})
			var wall wallClock
			f := w.follow(wall.now)
			w.until(func(s pushovertest.State) bool { return s.Requests["stream"] == 1 })
			synctest.Wait()
			start := time.Now()
			wall.sleep(slept)
			w.untilLogins(1)
			if took := time.Since(start); took < want || took > want+6*time.Second {
				w.Errorf("slept %s: got a login %s after it, want %s", slept, took, want)
			}
			_ = f.stop()
		})
	}
}

// The connections for requests have died with the stream, and a request on one
// would wait for its time limit.
func TestSleepAndSilenceCloseIdleConnections(t *testing.T) {
	for name, tc := range map[string]struct {
		fault pushovertest.Fault
		cause func(*pushovertest.Server, *wallClock)
	}{
		"sleep": {
			pushovertest.Fault{}, func(_ *pushovertest.Server, wall *wallClock) { wall.sleep(time.Hour) },
		},
		"sleep in a wait": {
			pushovertest.Fault{On: "stream", Status: 503, RetryAfter: time.Minute, Count: 1},
			func(_ *pushovertest.Server, wall *wallClock) { wall.sleep(time.Hour) },
		},
		"silence": {
			pushovertest.Fault{}, func(s *pushovertest.Server, _ *wallClock) { s.StopKeepAlive(true) },
		},
	} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			var dials atomic.Int32
			w.client = mustNew(w.T, pushover.Options{
				APIURL: w.sim.APIURL(), StreamURL: w.sim.StreamURL(), Credentials: credentialsOf(w.device),
				Silence: 40 * time.Second, // well before the transport closes idle connections itself
				DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					dials.Add(1)
					return w.sim.DialContext(ctx, network, addr)
				},
			})
			defer w.client.Close()
			if tc.fault.On != "" {
				w.sim.Fault(tc.fault)
			}
			var wall wallClock
			f := w.follow(wall.now)
			w.until(func(s pushovertest.State) bool { return s.Requests["stream"] == 1 })
			if err := download(w.Context(), w.client); err != nil {
				w.Fatal(err)
			}
			synctest.Wait()
			before := w.sim.State().Device("nas-1").Logins
			tc.cause(w.sim, &wall)
			w.untilLogins(before + 1)
			w.sim.StopKeepAlive(false)
			if err := download(w.Context(), w.client); err != nil {
				w.Fatal(err)
			}
			if got := dials.Load(); got != 4 {
				w.Errorf("%s: got %d connections, want 4: two streams, and another one for the second download", name, got)
			}
			_ = f.stop()
		})
	}
}

func TestSettingTheClockALittleIsNoSleep(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		var wall wallClock
		f := w.follow(wall.now)
		w.untilLogins(1)
		synctest.Wait()
		for _, step := range []time.Duration{20 * time.Second, -time.Hour} {
			wall.sleep(step)
			time.Sleep(20 * time.Second)
		}
		_ = f.stop()
		if got := w.sim.State().Device("nas-1").Logins; got != 1 {
			w.Errorf("got %d logins, want 1", got)
		}
	})
}

package pushover_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// acknowledging runs four workers that acknowledge so many receipts, and waits for
// a moment in which they are at it.
func (w *world) acknowledging(ctx context.Context, receipts int) (wait func()) {
	work := make(chan int, receipts)
	for i := range receipts {
		work <- i
	}
	close(work)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for i := range work {
				_ = w.client.Acknowledge(ctx, pushover.Receipt(fmt.Sprintf("x%029d", i)))
			}
		})
	}
	time.Sleep(time.Second)
	synctest.Wait()
	return workers.Wait
}

// worstDelivery sends messages one after the other and returns the longest time
// until one was handled and deleted.
func (w *world) worstDelivery(n int, pause time.Duration) (worst time.Duration) {
	w.Helper()
	for range n {
		start := time.Now()
		w.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})
		w.untilEmpty()
		worst = max(worst, time.Since(start))
		time.Sleep(pause)
	}
	return worst
}

func TestUnknownReceiptsDoNotHoldMessagesUp(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		ctx, cancel := context.WithCancel(w.Context())
		l := w.client.StartListening(ctx, (&inbox{}).handle)
		w.untilLogins(1)
		wait := w.acknowledging(ctx, 100)
		if worst := w.worstDelivery(10, time.Minute); worst > 10*time.Second {
			w.Errorf("got a message after %s, want it within 10 s", worst)
		}
		if got := w.sim.Requests("POST acknowledge"); got < 30 || got > 60 {
			w.Errorf("got %d acknowledgements sent in 10 minutes, want them slowed down, and not stopped", got)
		}
		cancel()
		wait()
		_ = l.Stop()
	})
}

// A service that fails for acknowledgements alone, in either way.
func TestFailingAcknowledgementsDoNotHoldMessagesUp(t *testing.T) {
	for _, f := range []pushovertest.Fault{
		{Status: 503},
		{Status: 409, Body: `{"status":0,"errors":["conflict"]}`},
		{Status: 200, Body: `{"status":0,"errors":["try again"]}`},
		{Delay: 25 * time.Second},
	} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			f.On = "POST acknowledge"
			w.sim.Fault(f)
			ctx, cancel := context.WithCancel(w.Context())
			l := w.client.StartListening(ctx, (&inbox{}).handle)
			w.untilLogins(1)
			wait := w.acknowledging(ctx, 1000)
			if worst := w.worstDelivery(20, time.Minute); worst > 20*time.Second {
				w.Errorf("acknowledgements answered %+v: got a message after %s", f, worst)
			}
			cancel()
			wait()
			_ = l.Stop()
		})
	}
}

func TestDownloadAlwaysFindsAConnection(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "POST acknowledge", Delay: 20 * time.Second})
		w.sim.Fault(pushovertest.Fault{On: "GET icon", Delay: 20 * time.Second})
		ctx, cancel := context.WithCancel(w.Context())
		wait := w.acknowledging(ctx, 4)
		icon := make(chan error, 1)
		go func() {
			_, err := w.client.Icon(ctx, "x")
			icon <- err
		}()
		synctest.Wait()
		start := time.Now()
		if err := download(w.Context(), w.client); err != nil || time.Since(start) != 0 {
			w.Errorf("got %v after %s, want success at once", err, time.Since(start))
		}
		cancel()
		if err := <-icon; !errors.Is(err, context.Canceled) {
			w.Errorf("Icon: got %v, want that it was cancelled", err)
		}
		wait()
	})
}

package pushover_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// An inbox is a handler that remembers what it was given.
type inbox struct {
	mu     sync.Mutex
	titles []string
	refuse map[string]int // how often to refuse a title
}

func (in *inbox) handle(_ context.Context, m pushover.Message) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.refuse[m.Title] > 0 {
		in.refuse[m.Title]--
		return errors.New("not now")
	}
	in.titles = append(in.titles, m.Title)
	return nil
}

func (in *inbox) got() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.titles)
}

func numbers(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strconv.Itoa(i + 1)
	}
	return out
}

// send makes a backlog of an hour ago.
func (w *world) send(n int) {
	w.sim.SendN(n, pushovertest.Outgoing{Title: "{n}", Message: "m", Queued: time.Now().Add(-time.Hour)})
}

func (w *world) stopListening(l *pushover.Listening) {
	w.Helper()
	if err := l.Stop(); err != nil {
		w.Errorf("Stop: got %v, want nil", err)
	}
}

func TestListenHandlesBacklogAndNewMessagesInOrderAndDeletesThem(t *testing.T) {
	simulate(t, pushovertest.Options{PageSize: 40}, func(w *world) {
		w.send(100)
		var in inbox
		l := w.client.StartListening(w.Context(), in.handle)
		w.untilEmpty()
		w.sim.Send(pushovertest.Outgoing{Title: "101"})
		w.untilEmpty()
		w.stopListening(l)
		if d := cmp.Diff(numbers(101), in.got()); d != "" {
			w.Errorf("handled (-want +got):\n%s", d)
		}
	})
}

// A lateLogin is a connection on which the first frame of a stream takes some time
// to arrive.
type lateLogin struct {
	net.Conn
	upgraded, sent bool
}

const loginDelay = 2 * time.Second

func (c *lateLogin) Write(p []byte) (int, error) {
	if !c.upgraded || c.sent {
		c.upgraded = c.upgraded || bytes.Contains(p, []byte("Upgrade: websocket"))
		return c.Conn.Write(p)
	}
	c.sent = true
	frame := bytes.Clone(p)
	time.AfterFunc(loginDelay, func() { _, _ = c.Conn.Write(frame) })
	return len(p), nil
}

// Such a message comes after the download at the connect, and before the service
// has anybody to signal it to.
func TestListenFetchesWhatCameWhileTheLoginWasUnderWay(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		c := mustNew(w.T, pushover.Options{
			APIURL: w.sim.APIURL(), StreamURL: w.sim.StreamURL(), Credentials: credentialsOf(w.device),
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := w.sim.DialContext(ctx, network, addr)
				return &lateLogin{Conn: conn}, err
			},
		})
		defer c.Close()
		var in inbox
		l := c.StartListening(w.Context(), in.handle)
		time.Sleep(loginDelay / 2)
		if s := w.sim.State(); s.Requests["GET messages"] != 1 || s.Device("nas-1").Logins != 0 {
			w.Fatalf("got %+v, want the download done and the login not there yet", s)
		}
		w.send(1)
		start := time.Now()
		w.untilEmpty()
		if took := time.Since(start); took > time.Minute {
			w.Errorf("got the message after %s, want it soon after the first signal", took)
		}
		w.stopListening(l)
	})
}

// A message that comes while there is no stream has no signal of its own.
func TestListenFetchesWhatCameBetweenStreams(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		var in inbox
		l := w.client.StartListening(w.Context(), in.handle)
		w.untilLogins(1)
		w.sim.CloseStreams("", 1001, "")
		w.until(func(s pushovertest.State) bool { return !s.Device("nas-1").Connected })
		w.send(3)
		w.untilLogins(2)
		start := time.Now()
		w.untilEmpty()
		if took := time.Since(start); took > time.Second {
			w.Errorf("got the messages %s after the new login, want them at once", took)
		}
		w.stopListening(l)
		if d := cmp.Diff(numbers(3), in.got()); d != "" {
			w.Errorf("handled (-want +got):\n%s", d)
		}
	})
}

func TestRefusedMessageStaysAndComesAgainFirst(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.send(5)
		ids := w.sim.Queue("nas-1")
		in := inbox{refuse: map[string]int{"3": 2}}
		l := w.client.StartListening(w.Context(), in.handle)
		w.until(func(s pushovertest.State) bool { return len(s.Device("nas-1").Queue) == 3 })
		synctest.Wait()
		if d := cmp.Diff(ids[2:], w.sim.Queue("nas-1")); d != "" {
			w.Errorf("queue while refused (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{"1", "2"}, in.got()); d != "" {
			w.Errorf("handled while refused (-want +got):\n%s", d)
		}
		start := time.Now()
		w.untilEmpty()
		if took := time.Since(start); took < 10*time.Second || took > 35*time.Second {
			w.Errorf("two refusals: got %s, want 15 s to 30 s", took)
		}
		w.stopListening(l)
		if d := cmp.Diff(numbers(5), in.got()); d != "" {
			w.Errorf("handled (-want +got):\n%s", d)
		}
	})
}

func TestSignalsDuringADownloadCauseExactlyOneMore(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		var in inbox
		l := w.client.StartListening(w.Context(), in.handle)
		w.untilLogins(1)
		synctest.Wait()
		before := w.sim.Requests("GET messages")
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Delay: 2 * time.Second, Count: 1})
		w.sim.Send(pushovertest.Outgoing{Title: "1", Queued: time.Now().Add(-time.Hour)})
		synctest.Wait() // the download is under way
		w.sim.Signal("", "!!!!!!!!")
		time.Sleep(10 * time.Second)
		// The message's download, one that finds the queue empty, the one for the
		// signals meanwhile, and one more since that one was empty.
		if got := w.sim.Requests("GET messages") - before; got != 4 {
			w.Errorf("got %d downloads, want 4", got)
		}
		w.stopListening(l)
	})
}

func TestSignalThatRunsAheadOfItsMessageIsTriedOnceMore(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		var in inbox
		l := w.client.StartListening(w.Context(), in.handle)
		w.untilLogins(1)
		synctest.Wait()
		before := w.sim.Requests("GET messages")
		w.sim.Signal("", "!")
		time.Sleep(500 * time.Millisecond)
		if got := w.sim.Requests("GET messages") - before; got != 1 {
			w.Errorf("at once: got %d downloads, want 1", got)
		}
		time.Sleep(time.Minute)
		if got := w.sim.Requests("GET messages") - before; got != 2 {
			w.Errorf("after a minute: got %d downloads, want 2", got)
		}
		w.stopListening(l)
	})
}

func TestLostSignalIsMadeUpForInTime(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		var in inbox
		l := w.client.StartListening(w.Context(), in.handle)
		w.until(func(s pushovertest.State) bool { return s.Requests["GET messages"] == 2 }) // at the connect and the first signal
		start := time.Now()
		w.until(func(s pushovertest.State) bool { return s.Requests["GET messages"] > 2 })
		if took := time.Since(start); took != pushover.SafetySync {
			w.Errorf("got a download after %s, want %s", took, pushover.SafetySync)
		}
		w.stopListening(l)
	})
}

func TestListenWorksWithoutAStream(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "stream", Status: 404, Body: "no websockets here"})
		w.send(2)
		var in inbox
		start := time.Now()
		l := w.client.StartListening(w.Context(), in.handle)
		w.untilEmpty()
		if took := time.Since(start); took > time.Minute {
			w.Errorf("got the backlog after %s, want it within a minute", took)
		}
		w.stopListening(l)
	})
}

func TestStopFinishesTheMessageInHandAndDeletesIt(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.send(3)
		ids := w.sim.Queue("nas-1")
		started := make(chan struct{})
		var handled []string
		l := w.client.StartListening(w.Context(), func(ctx context.Context, m pushover.Message) error {
			close(started) // panics on a second message
			time.Sleep(2 * time.Minute)
			handled = append(handled, m.Title)
			return ctx.Err()
		})
		<-started
		w.stopListening(l)
		<-l.Done()
		w.stopListening(l)
		if !slices.Equal(handled, []string{"1"}) || !slices.Equal(w.sim.Queue("nas-1"), ids[1:]) {
			w.Errorf("got %v handled and %v left, want the first message handled and deleted alone", handled, w.sim.Queue("nas-1"))
		}
	})
}

func TestCancelledListenDeletesWhatWasAccepted(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.send(3)
		ids := w.sim.Queue("nas-1")
		ctx, cancel := context.WithCancelCause(w.Context())
		err := w.client.Listen(ctx, func(context.Context, pushover.Message) error {
			cancel(errStop)
			return nil
		})
		if !errors.Is(err, errStop) || !slices.Equal(w.sim.Queue("nas-1"), ids[1:]) {
			w.Errorf("got %v and %v left, want the cause, and the first message deleted", err, w.sim.Queue("nas-1"))
		}
	})
}

func TestListenSurvivesOutagesWithoutLossOrRepetition(t *testing.T) {
	for name, f := range map[string]pushovertest.Fault{
		"download fails":          {On: "GET messages", Status: 503, Count: 3, Skip: 1},
		"download breaks off":     {On: "GET messages", Drop: "half", Count: 3},
		"deletion fails":          {On: "POST delete", Status: 503, Count: 3},
		"deletion without answer": {On: "POST delete", Drop: "after", Count: 3},
		"rate limit":              {On: "*", Status: 429, Count: 2, Skip: 2},
		"everything":              {On: "*", Drop: "before", For: 3 * time.Minute},
	} {
		simulate(t, pushovertest.Options{PageSize: 10}, func(w *world) {
			w.send(25)
			w.sim.Fault(f)
			var in inbox
			l := w.client.StartListening(w.Context(), in.handle)
			w.untilEmpty()
			w.stopListening(l)
			if d := cmp.Diff(numbers(25), in.got()); d != "" {
				w.Errorf("%s: handled (-want +got):\n%s", name, d)
			}
		})
	}
}

func TestListenEndsForWhatOnlyTheUserCanMend(t *testing.T) {
	for name, tc := range map[string]struct {
		cause func(*world)
		want  error
	}{
		"E":               {func(w *world) { w.sim.Signal("", "E") }, pushover.ErrLoginNeeded},
		"A":               {func(w *world) { w.sim.Signal("", "A") }, pushover.ErrTakenOver},
		"device disabled": {func(w *world) { w.sim.DisableDevice("nas-1", true) }, pushover.ErrLoginNeeded},
		"rejected": {func(w *world) {
			w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 403, Body: `{"status":0,"secret":"invalid"}`, Count: 1})
			w.sim.Signal("", "!")
		}, pushover.ErrSessionRejected},
		"too large": {func(w *world) {
			w.sim.Send(pushovertest.Outgoing{Message: string(make([]byte, 1<<20))})
		}, pushover.ErrTooLarge},
		"no id": {func(w *world) {
			w.sim.Send(pushovertest.Outgoing{Message: "m", Omit: []string{"id", "id_str"}})
		}, nil},
	} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			var in inbox
			l := w.client.StartListening(w.Context(), in.handle)
			w.untilLogins(1)
			synctest.Wait()
			tc.cause(w)
			<-l.Done()
			if err := l.Stop(); err == nil || tc.want != nil && !errors.Is(err, tc.want) || pushover.Retryable(err) {
				w.Errorf("%s: got %v, want %v", name, err, tc.want)
			}
			synctest.Wait()
			if got := w.sim.State().Device("nas-1"); got.Logins != 1 || got.Connected {
				w.Errorf("%s: got %+v, want no second login and no connection", name, got)
			}
		})
	}
}

// Listening again and again would not make the service accept the deletion.
func TestRejectedDeletionEndsListeningThoughAMessageWasRefusedToo(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.send(3)
		w.sim.Fault(pushovertest.Fault{On: "POST delete", Status: 403, Body: `{"status":0,"secret":"invalid"}`})
		in := inbox{refuse: map[string]int{"2": 1000}}
		l := w.client.StartListening(w.Context(), in.handle)
		<-l.Done()
		if err := l.Stop(); !errors.Is(err, pushover.ErrSessionRejected) {
			w.Errorf("got %v, want ErrSessionRejected", err)
		}
		if got := w.sim.Requests("POST delete"); got != 1 {
			w.Errorf("got %d deletions, want 1", got)
		}
	})
}

func TestPanicOfAHandlerLeavesNothingRunning(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.send(1)
		func() {
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, errStop) {
					w.Errorf("got %v, want the handler's panic", err)
				}
			}()
			_ = w.client.Listen(w.Context(), func(context.Context, pushover.Message) error { panic(errStop) })
		}()
		synctest.Wait()
		if d := w.sim.State().Device("nas-1"); d.Connected || len(d.Queue) != 1 {
			w.Errorf("got %+v, want no stream, and the message still there", d)
		}
	})
}

func TestMessageInHandIsFinishedWhenTheStreamEndsForGood(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.send(2)
		ids := w.sim.Queue("nas-1")
		l := w.client.StartListening(w.Context(), func(context.Context, pushover.Message) error {
			w.untilLogins(1) // which the download does not wait for
			w.sim.Signal("", "A")
			time.Sleep(time.Second)
			return nil
		})
		<-l.Done()
		if err := l.Stop(); !errors.Is(err, pushover.ErrTakenOver) {
			w.Errorf("got %v, want ErrTakenOver", err)
		}
		if got := w.sim.Queue("nas-1"); !slices.Equal(got, ids[1:]) {
			w.Errorf("got %v left, want the first message deleted alone", got)
		}
	})
}

// Work that was done is deleted now and then, not only at the end of a batch: a
// crash in between would repeat it.
func TestLongBatchIsDeletedInPortions(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.send(30)
		left := make(map[string]int)
		l := w.client.StartListening(w.Context(), func(_ context.Context, m pushover.Message) error {
			left[m.Title] = len(w.sim.Queue("nas-1"))
			time.Sleep(time.Second)
			return nil
		})
		w.untilEmpty()
		w.stopListening(l)
		if left["5"] != 30 || left["7"] != 25 || left["30"] > 6 {
			w.Errorf("messages on the server while one is handled: got %v, want at most 6 more than not handled", left)
		}
	})
}

func TestListenLogsTroubleWhenItChangesNotEveryTime(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		in := inbox{refuse: map[string]int{"late": 3}}
		l := w.client.StartListening(w.Context(), in.handle)
		w.untilLogins(1)
		time.Sleep(time.Minute)
		w.sim.Fault(pushovertest.Fault{On: "stream", Status: 502, Count: 6})
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 503, Count: 2})
		w.sim.Send(pushovertest.Outgoing{Title: "late"})
		w.sim.CloseStreams("", 1001, "")
		w.untilEmpty()
		w.untilLogins(2)
		time.Sleep(time.Minute)
		w.stopListening(l)
		for line, want := range map[string]int{
			`level=WARN msg="stream failed, retrying" reason=closed `:         1,
			`level=WARN msg="stream failed, retrying" reason=refused `:        1,
			`level=INFO msg="stream recovered" after=`:                        1,
			`level=WARN msg="download failed, retrying" reason=server_error `: 1,
			`level=WARN msg="handling failed, retrying" reason=handler `:      1,
			`level=INFO msg="download recovered" after=`:                      1,
			`level=INFO msg="handling recovered" after=`:                      1,
			"attempts=7\n": 1, "attempts=2\n": 1, "attempts=3\n": 1, "attempts=1 retry_in=": 3,
			"level=WARN": 4, "level=INFO": 3,
		} {
			if got := strings.Count(w.log.String(), line); got != want {
				w.Errorf("got %d lines with %q, want %d:\n%s", got, line, want, w.log)
			}
		}
	})
}

func TestListenRemindsOfLastingTrouble(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "stream", Drop: "before"})
		l := w.client.StartListening(w.Context(), (&inbox{}).handle)
		time.Sleep(time.Hour)
		w.stopListening(l)
		if got := strings.Count(w.log.String(), "stream failed, retrying"); got < 9 || got > 13 {
			w.Errorf("got %d lines in an hour of trouble, want one in five minutes", got)
		}
	})
}

// Else the memory would grow with every message of a program that runs for years.
func TestListenForgetsMessagesThatAreGone(t *testing.T) {
	downloads := 0
	serve(t, pushover.Options{}, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/1/messages.json":
			_, _ = w.Write([]byte(`{"status":1}`))
		case downloads == 2: // gone, and then there again, as no service does
			downloads++
			_, _ = w.Write([]byte(list()))
		default:
			downloads++
			_, _ = w.Write([]byte(list(`{"id":7}`)))
		}
	}, func(t *testing.T, c *pushover.Client) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(2*time.Hour, func() { cancel(errors.New("the message never came again")) })
		var seenAt []int
		err := c.Listen(ctx, func(context.Context, pushover.Message) error {
			if seenAt = append(seenAt, downloads); len(seenAt) == 2 {
				cancel(errStop)
			}
			return nil
		})
		if want := []int{1, 4}; !errors.Is(err, errStop) || !slices.Equal(seenAt, want) {
			t.Errorf("got the message handled after downloads %v and %v, want %v: not while it was still there", seenAt, err, want)
		}
	})
}

// A service that says yes to deletions and does nothing must not make a handler
// see messages again, nor be asked without pause.
func TestDeletionWithoutEffectRepeatsNothing(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "POST delete", Status: 200, Body: `{"status":1}`, ContentType: "application/json", For: time.Minute})
		w.send(3)
		var in inbox
		l := w.client.StartListening(w.Context(), in.handle)
		w.untilEmpty()
		w.stopListening(l)
		if d := cmp.Diff(numbers(3), in.got()); d != "" {
			w.Errorf("handled (-want +got):\n%s", d)
		}
		if got := w.sim.Requests("GET messages"); got > 20 {
			w.Errorf("got %d downloads, want a few", got)
		}
	})
}

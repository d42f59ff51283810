package connector_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// visible and cured are how soon trouble, and the end of it, must show. That the
// stream is silent cannot be known before its silence is longer than is normal.
const (
	visible = 10 * time.Second
	cured   = 15 * time.Second
	quiet   = 65 * time.Second // two keep-alives may be missed
)

// Invariant: health tells the truth. Each breakage shows within seconds as the
// right part and reason, with since, and with either a next attempt or a remedy;
// and soon after it is mended everything is ok and what was stuck is through.
func TestEachBreakageIsSeenAndItsEndToo(t *testing.T) {
	html := "<html><body>Welcome to the hotel's network</body></html>"
	for _, tt := range []struct {
		name   string
		part   connector.Part
		reason connector.Reason
		breaks func(r *rig)
		mends  func(r *rig, run *running)
	}{
		{"503", connector.PartDownload, connector.ReasonServerError, func(r *rig) {
			r.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 503})
		}, nil},
		{"429", connector.PartDownload, connector.ReasonRateLimited, func(r *rig) {
			r.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 429})
		}, nil},
		{"HTML", connector.PartDownload, connector.ReasonMalformed, func(r *rig) {
			r.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 200, Body: html})
		}, nil},
		{"an answer that says no without a reason", connector.PartDownload, connector.ReasonServerError, func(r *rig) {
			r.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 200, Body: `{"status":0,"request":"x","errors":["please try again"]}`})
		}, nil},
		{"deletions fail", connector.PartClear, connector.ReasonServerError, func(r *rig) {
			r.sim.Fault(pushovertest.Fault{On: "POST delete", Status: 500})
		}, nil},
		{"the bus fails", connector.PartPublish, connector.ReasonUnexpected, func(r *rig) {
			r.log.setScript(func(int, []connector.Event) (int, int, error) { return 0, 0, errBusDown })
		}, func(r *rig, _ *running) { r.log.setScript(nil) }},
		{"the stream is refused", connector.PartSession, connector.ReasonServerError, func(r *rig) {
			r.sim.Fault(pushovertest.Fault{On: "stream", Status: 503})
			r.sim.CloseStreams(r.device.Name, 1011, "bye")
		}, nil},
		{"the stream is silent", connector.PartSession, connector.ReasonTimeout, func(r *rig) {
			r.cable.cut()
			time.Sleep(quiet - visible)
		}, func(r *rig, _ *running) { r.cable.mend() }},
		{"taken over", connector.PartSession, connector.ReasonTakenOver, func(r *rig) {
			r.sim.Signal(r.device.Name, "A")
		}, func(_ *rig, run *running) { _ = run.Resume() }},
		{"device disabled", connector.PartSession, connector.ReasonDisabled, func(r *rig) {
			r.sim.DisableDevice(r.device.Name, true)
		}, func(r *rig, run *running) {
			r.sim.DisableDevice(r.device.Name, false)
			_ = run.Resume()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			whileLive(t, func(t *testing.T, r *rig, run *running) {
				time.Sleep(time.Minute)
				r.ready(run, "before", 200)
				tt.breaks(r)
				want := r.send(1, pushovertest.Outgoing{Device: r.device.Name})
				time.Sleep(visible)
				synctest.Wait()
				p := part(run.Status(), tt.part)
				if p.OK || p.Reason != tt.reason || p.Detail == "" || p.Since.IsZero() || time.Since(p.Since) > visible {
					t.Errorf("%v into the breakage part %s is %+v, want failing with reason %s since then", visible, tt.part, p, tt.reason)
				}
				if (p.NextAttempt == nil) == (p.Remedy == "") {
					t.Errorf("part %s has next attempt %v and remedy %q, want one of them", tt.part, p.NextAttempt, p.Remedy)
				}
				r.ready(run, "broken", 503, string(tt.reason))
				_, metrics := r.get(run, "/metrics")
				if !strings.Contains(metrics, fmt.Sprintf("part_up{part=%q} 0", tt.part)) {
					t.Errorf("the metric says that part %s is up", tt.part)
				}
				if !strings.Contains(r.output.String(), fmt.Sprintf(`"%s failed, retrying","reason":%q`, tt.part, tt.reason)) &&
					!strings.Contains(r.output.String(), fmt.Sprintf(`"%s halted","reason":%q`, tt.part, tt.reason)) {
					t.Errorf("the log does not say that part %s fails for reason %s:\n%s", tt.part, tt.reason, r.output)
				}
				time.Sleep(2 * time.Hour)
				r.sim.ClearFaults()
				if tt.mends != nil {
					tt.mends(r, run)
				}
				if len(want) == 0 { // nothing is queued for a disabled device
					want = r.send(1, pushovertest.Outgoing{})
				}
				mended := time.Now()
				for time.Since(mended) < cured+time.Minute && len(r.log.ids(connector.ClassMessage)) == 0 {
					time.Sleep(time.Second)
					synctest.Wait()
				}
				limit := cured
				if tt.reason == connector.ReasonRateLimited {
					limit += time.Minute // the service asks for minutes of quiet after a 429
				}
				if took := time.Since(mended); took > limit {
					t.Errorf("the message was on the bus %v after the mending, want %v at most", took, limit)
				}
				time.Sleep(cured)
				r.ready(run, "mended", 200)
				if !strings.Contains(r.output.String(), string(tt.part)+" recovered") {
					t.Errorf("the log does not say that part %s has recovered:\n%s", tt.part, r.output)
				}
				run.stop()
				r.wantLog(want)
			})
		})
	}
}

// A remedy may become known when the reason has been logged already, as when the
// service has told why it ended a session. It is logged then, once.
func TestARemedyThatBecomesKnownIsLogged(t *testing.T) {
	var out syncBuffer
	a := connector.NewHealth(slog.New(slog.NewTextHandler(&out, nil)), nil).Activity(connector.PartSession)
	a.Failed(&connector.Failure{Reason: connector.ReasonRefusedSecret, Detail: "asking why"}, time.Now().Add(time.Second))
	halted := &connector.Failure{Reason: connector.ReasonRefusedSecret, Detail: "refused", Remedy: "log in"}
	a.Failed(halted, time.Time{})
	a.Failed(halted, time.Time{})
	log := out.String()
	if strings.Count(log, "session failed, retrying") != 1 || strings.Count(log, "session halted") != 1 || strings.Count(log, `remedy="log in"`) != 1 {
		t.Errorf("the log is\n%s\nwant a line before the remedy was known, and one with it", log)
	}
}

// A download without a session waits since the session ended, and not since it
// began to work days before: alerts count from there.
func TestDownloadWaitsSinceTheSessionEnded(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		time.Sleep(48 * time.Hour)
		ended := time.Now()
		r.sim.Signal(r.device.Name, "A")
		time.Sleep(time.Minute)
		if p := part(run.Status(), connector.PartDownload); p.OK || p.Since.Before(ended) {
			t.Errorf("the session ended at %v, the download is %+v, want waiting since then", ended, p)
		}
	})
}

// Ready soon: good credentials and a bus that answers are enough, without the
// service's first sign on the stream, which may be half a minute away.
func TestReadyWithinThreeSecondsOfAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{KeepAlive: 30 * time.Second})
		r.sim.StopKeepAlive(true)
		run := r.start()
		time.Sleep(time.Second)
		r.ready(run, "after a second", 503, "starting")
		time.Sleep(2 * time.Second)
		r.ready(run, "after three seconds", 200)
	})
}

// Never on hope: a stream that is refused at once was never live.
func TestRefusedStreamIsNeverLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.resumed = true // E may come while a download is under way, which is given up, and made again to ask why
		r.sim.DisableDevice(r.device.Name, true)
		run := r.start()
		r.awaitState(run, connector.StateLoginNeeded)
		time.Sleep(time.Hour)
		if log := r.output.String(); strings.Contains(log, "session live") {
			t.Errorf("the session was called live:\n%s", log)
		}
	})
}

// A download that is refused in an odd way, once, stops nothing.
func TestOddAnswerToADownloadDelaysIt(t *testing.T) {
	for status, body := range map[int]string{
		200: `{"status":0,"request":"x","errors":["temporarily unavailable, try again"]}`,
		408: `{"status":0,"request":"x","errors":["request timeout"]}`,
		409: `{"status":0,"request":"x","errors":["conflict"]}`,
		423: `{"status":0,"request":"x","errors":["locked"]}`,
		400: `{"status":0,"request":"x","errors":["message queue is busy"]}`,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			whileLive(t, func(t *testing.T, r *rig, run *running) {
				synctest.Wait()
				r.sim.Fault(pushovertest.Fault{On: "GET messages", Status: status, Body: body, Count: 1})
				want := r.send(1, pushovertest.Outgoing{})
				time.Sleep(cured)
				synctest.Wait()
				r.wantLog(want)
				r.ready(run, "after one odd answer", 200)
			})
		})
	}
}

// Without a push stream the queue is still looked at.
func TestWithoutAStreamTheQueueIsStillLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.sim.Fault(pushovertest.Fault{On: "stream", Status: 403})
		want := r.send(1, pushovertest.Outgoing{})
		run := r.start()
		time.Sleep(time.Minute)
		r.ready(run, "no stream", 503, "session")
		r.wantLog(want)
		want = append(want, r.send(1, pushovertest.Outgoing{})...)
		time.Sleep(8 * time.Minute)
		r.wantLog(want)
		run.stop()
	})
}

// A signal can be ahead of its message, also when another message was there.
func TestSignalAheadOfItsMessageIsLookedAfterAgain(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, _ *running) {
		synctest.Wait()
		r.sim.SetPageSize(1)
		nothing := `{"status":1,"request":"x","messages":[]}`
		// A first signal leads nowhere for a second; meanwhile two messages come,
		// and their signals coalesce. The download after the first message does
		// not show the second yet.
		r.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 200, Delay: time.Second, Body: nothing, Count: 1})
		r.sim.Signal(r.device.Name, "!")
		time.Sleep(500 * time.Millisecond)
		r.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 200, Body: nothing, Skip: 1, Count: 1})
		want := r.send(2, pushovertest.Outgoing{})
		time.Sleep(cured)
		synctest.Wait()
		r.wantLog(want)
	})
}

// A resume that comes the moment the state is seen is not lost, and one that comes
// when the halt is already over does not end the next.
func TestResumeIsForTheHaltInWhichItComes(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { resumeAt(t, late) })
	}
}

func resumeAt(t *testing.T, late bool) {
	r := newRig(t, pushovertest.Options{})
	r.resumed = true
	client, err := pushover.New(pushover.Options{
		APIURL: r.sim.APIURL(), StreamURL: r.sim.StreamURL(), DialContext: r.sim.DialContext,
		UserAgent: "x/1", Credentials: r.credentials(),
	})
	if err != nil {
		t.Fatal(err)
	}
	var c *connector.Connector
	halted := make(chan struct{}, 1)
	var accepted atomic.Int32
	resume := func() {
		if c.Resume() == nil {
			accepted.Add(1)
		}
	}
	go func() {
		<-halted
		resume()
	}()
	var first, second sync.Once
	log := slog.New(hookHandler{slog.DiscardHandler, func(rec slog.Record) {
		switch rec.Message {
		case "session halted":
			first.Do(func() { halted <- struct{}{} })
		case "session resumed by request":
			if late {
				second.Do(resume)
			}
		}
	}})
	c = connector.New(client, connector.Options{Logger: log})
	if err := c.SetSink(r.log); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	time.Sleep(time.Minute)
	r.sim.Signal(r.device.Name, "A")
	time.Sleep(time.Hour)
	if s := c.Status().State; accepted.Load() == 0 || s != connector.StateLive {
		t.Errorf("late %t: %d accepted, an hour later the state is %s, want live", late, accepted.Load(), s)
	}
	if late {
		r.sim.Signal(r.device.Name, "A")
		time.Sleep(time.Hour)
		if s := c.Status().State; accepted.Load() != 2 || s != connector.StateTakenOver {
			t.Errorf("%d accepted, the next halt is in state %s an hour later, want taken_over", accepted.Load(), s)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	client.Close()
}

type hookHandler struct {
	slog.Handler
	hook func(slog.Record)
}

func (h hookHandler) Handle(_ context.Context, rec slog.Record) error {
	h.hook(rec)
	return nil
}
func (h hookHandler) Enabled(context.Context, slog.Level) bool { return true }

// A deletion that is refused, held back by a clear delay or not, is tried again
// at a pace, and shows.
func TestRefusedDeletionIsPaced(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Minute} {
		t.Run(delay.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, pushovertest.Options{})
				r.opts.ClearDelay = delay
				want := r.send(3, pushovertest.Outgoing{})
				r.sim.Fault(pushovertest.Fault{
					On: "POST delete", Status: 400, Body: `{"status":0,"message":"invalid","errors":["message is invalid"]}`,
				})
				run := r.start()
				time.Sleep(time.Hour)
				r.ready(run, "deletions refused", 503, `"clear"`)
				if n := r.log.reads(); n > 100 {
					t.Errorf("the log was read back %d times in an hour, want a pace", n)
				}
				run.stop()
				r.wantLog(want)
			})
		})
	}
}

// Unknown receipts and refused acknowledgements never hold up messages.
func TestUnknownReceiptsDoNotHoldUpMessages(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		synctest.Wait()
		work := make(chan int, 100)
		for i := range 100 {
			work <- i
		}
		close(work)
		ctx, cancel := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		for range 4 {
			workers.Go(func() {
				for i := range work {
					body := fmt.Sprintf(`{"receipt":"x%014dy%014d"}`, 1, i)
					_, _ = run.HandleCommand(ctx, connector.Command{ID: fmt.Sprintf("C#%d", i), Body: []byte(body), Time: time.Now()})
				}
			})
		}
		time.Sleep(time.Second)
		want := r.send(1, pushovertest.Outgoing{Priority: 2})
		time.Sleep(visible)
		synctest.Wait()
		if got := r.log.ids(connector.ClassMessage); len(got) != 1 {
			t.Errorf("%v after it was sent the emergency is not on the bus; the log holds %v", visible, got)
		}
		cancel()
		workers.Wait()
		r.wantLog(want)
	})
}

// A first login that never reached the service is repeated; one that was refused
// is not, until somebody asks.
func TestFirstLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		var answer atomic.Pointer[error]
		set := func(err error) { answer.Store(&err) }
		set(fmt.Errorf("login: %w", pushover.ErrUnavailable))
		var tries atomic.Int32
		r.opts.Login = func(context.Context) (pushover.Credentials, error) {
			tries.Add(1)
			if err := *answer.Load(); err != nil {
				return pushover.Credentials{}, err
			}
			return r.credentials(), nil
		}
		r.dial = func(o *pushover.Options) { o.Credentials = pushover.Credentials{} }
		want := r.send(1, pushovertest.Outgoing{})
		run := r.start()
		time.Sleep(time.Hour)
		r.ready(run, "the service cannot be reached", 503, `"network"`, "log in", "next_attempt")
		if n := tries.Load(); n < 5 {
			t.Errorf("the login was tried %d times in an hour without network", n)
		}
		set(&connector.Failure{Reason: connector.ReasonRefusedLogin, Detail: "wrong password", Remedy: "correct it"})
		r.awaitState(run, connector.StateLoginNeeded)
		before := tries.Load()
		time.Sleep(24 * time.Hour)
		r.ready(run, "refused", 503, "refused_login", "wrong password", "correct it")
		if n := tries.Load(); n != before {
			t.Errorf("a refused login was repeated %d times", n-before)
		}
		if err := run.Resume(); err != nil {
			t.Errorf("resume: %v", err)
		}
		time.Sleep(time.Minute)
		if n := tries.Load(); n != before+1 {
			t.Errorf("a resume request made %d logins, want 1", n-before)
		}
		set(nil)
		if err := run.Resume(); err != nil {
			t.Errorf("resume: %v", err)
		}
		r.drained()
		run.stop()
		r.wantLog(want)
	})
}

// A halt that follows a resume request for the same cause is in the log again.
func TestEachHaltIsLogged(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		r.resumed = true
		r.sim.RevokeSecret(r.device.Secret)
		for range 3 {
			r.awaitState(run, connector.StateLoginNeeded)
			time.Sleep(10 * time.Second)
			if err := run.Resume(); err != nil {
				t.Fatal(err)
			}
		}
		r.awaitState(run, connector.StateLoginNeeded)
		time.Sleep(10 * time.Second)
		if n := strings.Count(r.output.String(), `"session halted"`); n != 4 {
			t.Errorf("four halts have %d lines:\n%s", n, r.output)
		}
	})
}

// Nothing to resume with is said, not accepted.
func TestResumeThatCanDoNothingSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.dial = func(o *pushover.Options) { o.Credentials = pushover.Credentials{} }
		run := r.start()
		r.awaitState(run, connector.StateLoginNeeded)
		var f *connector.Failure
		if err := run.Resume(); !errors.As(err, &f) || f.Reason != connector.ReasonNoCredentials {
			t.Errorf("resume without credentials gives %v, want a failure that says so", err)
		}
	})
}

// An account without a licence whose device is disabled needs a licence, and not
// another login.
func TestTrialOverNamesTheLicence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{Licensed: new(bool), Trial: time.Hour})
		run := r.start()
		r.awaitState(run, connector.StateLive)
		r.awaitState(run, connector.StateLoginNeeded)
		time.Sleep(time.Minute)
		r.ready(run, "trial over", 503, "unlicensed", "licence", "buy")
	})
}

// A device that was removed needs a new one: a new login alone goes in a circle.
func TestRemovedDeviceNamesTheDevice(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		r.sim.RemoveDevice(r.device.Name)
		r.awaitState(run, connector.StateLoginNeeded)
		time.Sleep(time.Minute)
		r.ready(run, "device removed", 503, "refused_device", "register a new device")
	})
}

// After an outage of any length an acknowledgement that was stuck is made within
// seconds. While it waits, the commands are not ok, and the command's result says
// how often it was tried.
func TestStuckAcknowledgementIsMadeSoonAfterAnOutage(t *testing.T) {
	for _, outage := range []time.Duration{time.Minute, 2 * time.Hour} {
		t.Run(outage.String(), func(t *testing.T) {
			whileLive(t, func(t *testing.T, r *rig, run *running) {
				receipt := r.emergency()
				r.sim.Fault(pushovertest.Fault{On: "POST acknowledge", Status: 503})
				cmd := connector.Command{ID: "C#1", Body: []byte(receipt), Time: time.Now()}
				done := make(chan connector.Result, 1)
				go func() { // the bus
					for {
						result, err := run.HandleCommand(t.Context(), cmd)
						var again *connector.RetryError
						if !errors.As(err, &again) {
							done <- result
							return
						}
						time.Sleep(again.After)
					}
				}()
				time.Sleep(visible)
				r.ready(run, "acknowledging fails", 503, `"commands"`, "server_error")
				time.Sleep(outage)
				r.sim.ClearFaults()
				mended := time.Now()
				result := <-done
				if took := time.Since(mended); took > cured {
					t.Errorf("acknowledged %v after the outage, want %v at most", took, cured)
				}
				if result.Status != connector.StatusAcknowledged || result.Attempts < 3 {
					t.Errorf("result %+v, want acknowledged after several attempts", result)
				}
				r.ready(run, "acknowledged", 200)
				r.wantManners()
			})
		})
	}
}

// A command that was removed from the bus while it waited for its next attempt
// leaves nothing behind.
func TestCommandThatDoesNotComeBackIsNotWaitedFor(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		r.sim.Fault(pushovertest.Fault{On: "POST acknowledge", Status: 503, Count: 1})
		var again *connector.RetryError
		_, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: []byte(receipt), Time: time.Now()})
		if !errors.As(err, &again) {
			t.Fatalf("the command ended with %v, want to be asked for again", err)
		}
		r.ready(run, "waiting for the command", 503, `"commands"`)
		time.Sleep(time.Hour)
		r.ready(run, "the command never came back", 200)
	})
}

// The acknowledgement of an emergency that is known does not wait behind receipts
// that Pushover does not know, however many there are.
func TestKnownEmergencyIsAcknowledgedPastUnknownReceipts(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		real := r.emergency()
		for i := range 24 {
			body := fmt.Sprintf(`{"receipt":"x%014dy%014d"}`, 2, i)
			_, _ = run.HandleCommand(t.Context(), connector.Command{ID: fmt.Sprintf("C#%d", i), Body: []byte(body), Time: time.Now()})
		}
		began := time.Now()
		result, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#real", Body: []byte(real), Time: time.Now()})
		if err != nil || result.Status != connector.StatusAcknowledged {
			t.Fatalf("result %+v, %v; want acknowledged", result, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("acknowledged after %v, want at once", took)
		}
		r.wantManners()
	})
}

// A message whose deletion fails is published again and again, and counts once.
func TestRepeatedPublishCountsOnce(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		r.sim.Fault(pushovertest.Fault{
			On: "POST delete", Status: 400, Body: `{"status":0,"message":"invalid","errors":["message is invalid"]}`,
		})
		r.send(1, pushovertest.Outgoing{})
		time.Sleep(time.Hour)
		synctest.Wait()
		s := run.Status()
		if len(s.Recent.Events) != 1 || s.Recent.Events[0].LatencyMS > 1000 {
			t.Errorf("recent events: %+v, want the message once, with the time that it took", s.Recent.Events)
		}
		if n := strings.Count(r.output.String(), `"msg":"published"`); n != 1 {
			t.Errorf("the log says %d times that something was published, want once", n)
		}
	})
}

// A stream that is open and says nothing is not called live for long.
func TestQuietStreamIsNotReady(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		time.Sleep(time.Minute)
		r.ready(run, "before", 200)
		r.sim.StopKeepAlive(true)
		time.Sleep(quiet)
		r.ready(run, "quiet", 503, `"timeout"`, "keep-alive")
		r.sim.StopKeepAlive(false)
		time.Sleep(time.Minute)
		r.ready(run, "heard again", 200)
	})
}

// A stream that opens, speaks and ends again and again is one long trouble.
func TestFlappingStreamIsOneTrouble(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		time.Sleep(time.Minute)
		began := time.Now()
		flap, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		for flap.Err() == nil {
			if r.connected() {
				r.sim.Signal(r.device.Name, "#")
				r.sim.CloseStreams(r.device.Name, 1011, "bye")
			}
			time.Sleep(100 * time.Millisecond)
		}
		p := part(run.Status(), connector.PartSession)
		if p.OK || p.Since.After(began.Add(10*time.Second)) || p.Attempts < 10 {
			t.Errorf("after ten minutes of flapping the session is %+v, want failing since %v", p, began)
		}
		time.Sleep(time.Minute)
		r.ready(run, "the stream holds", 200)
	})
}

// Trouble of the service is seen to end, though nothing waits and nobody asks.
func TestTroubleEndsWithoutAnybodyAsking(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		r.sim.Fault(pushovertest.Fault{On: "POST acknowledge", Status: 503, Count: 1})
		_, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: []byte(receipt), Time: time.Now().Add(-3*time.Hour + time.Second)})
		if err == nil {
			t.Fatal("the acknowledgement did not fail")
		}
		r.ready(run, "after one failure", 503, "server_error")
		time.Sleep(cured)
		synctest.Wait()
		if p := part(run.Status(), connector.PartDownload); !p.OK {
			t.Errorf("%v after the service is well again the download is %+v", cured, p)
		}
		r.wantManners()
	})
}

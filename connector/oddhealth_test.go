package connector_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A part that nothing is done for any more has not failed since it last worked.
func TestPartWithoutActivitiesFailsFromThenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := connector.NewHealth(nil, connector.NewMetrics(prometheus.NewRegistry(), "x", "", ""))
		c := connector.New(nil, connector.Options{Health: h})
		a := h.Activity(connector.PartDownload)
		a.OK()
		time.Sleep(time.Hour)
		ended := time.Now()
		a.End()
		time.Sleep(time.Minute)
		if got := part(c.Status(), connector.PartDownload); got.OK || !got.Since.Equal(ended) {
			t.Errorf("the download is %+v, want not ok since %v", got, ended)
		}
	})
}

// What changes of the REST side's state without an attempt is not an attempt.
func TestAPIStateTellsTheAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := connector.NewHealth(nil, connector.NewMetrics(prometheus.NewRegistry(), "x", "", ""))
		c := connector.New(nil, connector.Options{Health: h})
		for i := range 4 { // somebody hurries, or does no longer
			h.APIState(pushover.APIState{Err: errBusDown, RetryAt: time.Now().Add(time.Duration(i) * time.Minute), Attempts: 2})
		}
		if got := part(c.Status(), connector.PartDownload); got.Attempts != 2 {
			t.Errorf("the download has failed %d times, want 2", got.Attempts)
		}
	})
}

// Acknowledgements that succeed do not make a download work that failed.
func TestDownloadIsNotOKBecauseSomethingElseIs(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		synctest.Wait()
		receipts := make([]string, 0, 8)
		for range cap(receipts) {
			receipts = append(receipts, r.emergency())
		}
		r.drained()
		r.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 503})
		r.send(1, pushovertest.Outgoing{})
		time.Sleep(time.Second)
		for i, receipt := range receipts {
			_, err := run.HandleCommand(t.Context(), connector.Command{ID: fmt.Sprintf("C#%d", i), Body: []byte(receipt), Time: time.Now()})
			if s := run.Status(); s.Ready {
				t.Errorf("after acknowledgement %d (%v) it is ready, though every download fails: %+v", i, err, s.Parts)
				break
			}
			time.Sleep(3 * time.Second)
		}
	})
}

// A command that is never delivered again, since somebody removed it from the
// bus, does not fail for ever.
func TestCommandThatIsGoneDoesNotFailForEver(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		r.log.setScript(func(int, []connector.Event) (int, int, error) { return 0, 0, errBusDown })
		_, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: []byte(`{"command":"sync"}`), Time: time.Now()})
		if retry := (*connector.RetryError)(nil); !errors.As(err, &retry) {
			t.Fatalf("the command's result was published: %v", err)
		}
		r.log.setScript(nil)
		time.Sleep(10 * time.Minute)
		if got := part(run.Status(), connector.PartCommands); !got.OK {
			t.Errorf("the command was removed ten minutes ago, and commands are still %+v", got)
		}
	})
}

// While one command waits, the end of another is not the end of the trouble.
func TestCommandThatEndsSaysNothingOfOneThatWaits(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		receipt := r.emergency()
		r.drained()
		r.sim.Fault(pushovertest.Fault{On: "*", Status: 503, For: time.Minute})
		run.Sync()
		time.Sleep(time.Second)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = run.HandleCommand(t.Context(), connector.Command{ID: "C#1", Body: []byte(receipt), Time: time.Now()})
		}()
		time.Sleep(time.Second)
		if _, err := run.HandleCommand(t.Context(), connector.Command{ID: "C#2", Body: []byte(`{"command":"status"}`), Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if got := part(run.Status(), connector.PartCommands); got.OK {
			t.Error("commands are ok though an acknowledgement waits for its turn")
		}
		<-ended
	})
}

// A resume that was carried out is done, however often its result has to be
// published.
func TestRedeliveredResumeIsDone(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		r.resumed = true
		r.sim.Signal(r.device.Name, "A")
		r.awaitState(run, connector.StateTakenOver)
		cmd := connector.Command{ID: "C#1", Body: []byte(`{"command":"resume"}`), Time: time.Now()}
		r.log.setScript(func(int, []connector.Event) (int, int, error) { return 0, 0, errBusDown })
		if _, err := run.HandleCommand(t.Context(), cmd); err == nil {
			t.Fatal("a result was published while the bus is down")
		}
		r.log.setScript(nil)
		r.awaitState(run, connector.StateLive)
		if got, err := run.HandleCommand(t.Context(), cmd); err != nil || got.Status != connector.StatusDone {
			t.Errorf("the resume that was carried out: %+v, %v, want done", got, err)
		}
	})
}

// A takeover just after the connection never looks like a session that is live.
func TestTakenOverStreamIsNotLiveWhileAPublishEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.send(1, pushovertest.Outgoing{})
		r.log.hang = true
		run := r.start()
		r.await("a connection", func(pushovertest.State) bool { return r.connected() })
		time.Sleep(time.Second)
		r.sim.Signal(r.device.Name, "A")
		for range 20 {
			time.Sleep(time.Second)
			if s := run.Status(); s.State == connector.StateLive || part(s, connector.PartSession).OK {
				t.Fatalf("after A the state is %s, the session %+v", s.State, part(s, connector.PartSession))
			}
		}
	})
}

// An emergency's life begins with its first message, though that is older than
// what is read from the log.
func TestRepeatOfAnEmergencyThatIsOverIsNotOutstanding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		first := time.Now().Add(-3*time.Hour - 10*time.Minute)
		for i, queued := range []time.Time{first, first.Add(time.Hour)} {
			data := fmt.Sprintf(`{"id":"%d","app":"x","receipt":"r%029d","acked":false,"queued_at":%q}`, i+1, 1, queued.Format(time.RFC3339))
			if _, err := r.log.Publish(context.Background(), []connector.Event{{
				ID: fmt.Sprint(i + 1), Source: connector.Source(r.device.Name), Type: connector.TypeMessage, Class: connector.ClassMessage, Data: []byte(data),
			}}); err != nil {
				t.Fatal(err)
			}
		}
		run := r.start()
		r.awaitState(run, connector.StateLive)
		if got := run.Status().Emergencies; len(got.Outstanding) != 0 {
			t.Errorf("outstanding: %+v, want none: the first message is older than an emergency can live", got.Outstanding)
		}
	})
}

// With a clear delay, a full page of messages that are held back is not all.
func TestHeldBackPageIsNotTheWholeQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.opts.ClearDelay = time.Minute
		r.dial = func(o *pushover.Options) { o.MaxBatch = 10 }
		r.send(25, pushovertest.Outgoing{})
		run := r.start()
		r.awaitState(run, connector.StateLive)
		time.Sleep(10 * time.Second)
		if got, n := run.Status().Queue, len(r.log.ids(connector.ClassMessage)); n < 25 && !got.AtLeast {
			t.Errorf("%d of 25 messages are events, and the queue is %+v, want more", n, got)
		}
	})
}

// A resume while the login that another one asked for is under way has nothing to
// resume, and says so.
func TestResumeDuringALoginIsNotAcceptedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		slow := make(chan struct{})
		r.opts.Login = func(ctx context.Context) (pushover.Credentials, error) {
			select {
			case <-slow:
				time.Sleep(10 * time.Second)
			default:
			}
			return pushover.Credentials{}, &connector.Failure{Reason: connector.ReasonRefusedLogin, Detail: "wrong password"}
		}
		r.dial = func(o *pushover.Options) { o.Credentials = pushover.Credentials{} }
		run := r.start()
		r.awaitState(run, connector.StateLoginNeeded)
		synctest.Wait()
		close(slow)
		if err := run.Resume(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := run.Resume(); !errors.Is(err, connector.ErrNothingToResume) {
			t.Errorf("a resume during the login it would ask for gives %v, want nothing to resume", err)
		}
	})
}

// What waits is counted while the next messages are opened. It takes the race
// detector to see them meet.
func TestEncryptedBacklogIsCountedWhileItIsOpened(t *testing.T) {
	c := connector.New(nil, connector.Options{Keys: []pushover.E2EEKey{vaultKey()}})
	messages := make([]pushover.Message, 4500)
	for i := range messages {
		messages[i] = pushover.Message{ID: pushover.MessageID(i + 1), Text: ciphertext, Encrypted: true}
	}
	if got := connector.CountWhileEncoding(c, messages); got != len(messages) {
		t.Errorf("%d messages were opened, want %d", got, len(messages))
	}
}

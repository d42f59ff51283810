package connector_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// Invariant: every reconnect is followed by a full download. A message that
// comes while the stream is down is announced to nobody.
func TestMessageSentWhileDisconnectedArrivesAfterReconnect(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {

		r.sim.CloseStreams(r.device.Name, 1001, "maintenance")
		r.await("the stream to be gone", func(pushovertest.State) bool { return !r.connected() })
		want := r.send(3, pushovertest.Outgoing{})
		r.await("the stream to be back", func(pushovertest.State) bool { return r.connected() })
		time.Sleep(time.Minute) // far less than the safety sync
		synctest.Wait()
		if q := r.sim.Queue(r.device.Name); len(q) != 0 {
			t.Errorf("after the reconnect the queue still holds %v", q)
		}
		run.stop()
		r.wantLog(want)
	})
}

// Invariant: a wake-up during a download causes one more, and any number of
// them no more than one.
func TestWakeUpsDuringADownloadCauseOneMore(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		synctest.Wait()
		before := r.sim.Requests("GET messages")
		r.sim.Fault(pushovertest.Fault{On: "GET messages", Delay: 2 * time.Second, Count: 1})
		r.sim.Signal(r.device.Name, "!")
		time.Sleep(time.Second) // the download is under way now
		r.sim.Signal(r.device.Name, "!!!!!!!!")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		// One for the first signal, one for the eight, and the second look that
		// an announced but empty queue gets.
		if got := r.sim.Requests("GET messages") - before; got != 3 {
			t.Errorf("nine signals caused %d downloads, want 3", got)
		}
		r.wantManners()
	})
}

// A signal that is ahead of the queue gets a second look soon, and one that
// leads nowhere delays a message by the safety sync at most.
func TestMessageThatTheSignalDidNotLeadTo(t *testing.T) {
	for _, test := range []struct {
		empty  int // downloads that do not show the message yet
		within time.Duration
	}{
		{1, 2 * time.Second},
		{2, 21 * time.Minute},
	} {
		t.Run(test.within.String(), func(t *testing.T) {
			whileLive(t, func(t *testing.T, r *rig, run *running) {
				synctest.Wait()
				r.sim.Fault(pushovertest.Fault{
					On: "GET messages", Status: 200, Body: `{"status":1,"request":"x","messages":[]}`, Count: test.empty,
				})
				want := r.send(1, pushovertest.Outgoing{})
				time.Sleep(test.within)
				synctest.Wait()
				run.stop()
				r.wantLog(want)
			})
		})
	}
}

// Invariant: E and A are states. Nothing is done until something changes.
func TestPermanentSignalsHaltWithoutReconnecting(t *testing.T) {
	for _, test := range []struct {
		signal string
		state  connector.State
		asked  int // downloads, to find out why
	}{
		{"E", connector.StateLoginNeeded, 1},
		{"A", connector.StateTakenOver, 0},
	} {
		t.Run(test.signal, func(t *testing.T) {
			whileLive(t, func(t *testing.T, r *rig, run *running) {
				synctest.Wait()
				streams, downloads := r.sim.Requests("stream"), r.sim.Requests("GET messages")
				r.sim.Signal(r.device.Name, test.signal)
				r.awaitState(run, test.state)
				r.send(1, pushovertest.Outgoing{})
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				if got := r.sim.Requests("stream"); got != streams {
					t.Errorf("after %s there were %d more connections, want none", test.signal, got-streams)
				}
				if got := r.sim.Requests("GET messages"); got != downloads+test.asked {
					t.Errorf("after %s there were %d more downloads, want %d", test.signal, got-downloads, test.asked)
				}
				status := run.Status()
				if part := part(status, connector.PartSession); status.State != test.state || status.Ready || part.OK || part.Reason == "" || part.Remedy == "" || part.NextAttempt != nil {
					t.Errorf("status is %+v, want %s, not ready, with reason and remedy", status, test.state)
				}
				if err := run.Alive(); err != nil {
					t.Errorf("a halted connector must stay alive, got %v", err)
				}
			})
		})
	}
}

func TestHaltedSessionResumesByRequest(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		if err := run.Resume(); !errors.Is(err, connector.ErrNothingToResume) {
			t.Errorf("Resume of a live session gave %v, want ErrNothingToResume", err)
		}
		r.sim.DisableDevice(r.device.Name, true)
		r.awaitState(run, connector.StateLoginNeeded)
		want := r.send(2, pushovertest.Outgoing{Device: r.device.Name})
		r.sim.DisableDevice(r.device.Name, false)
		want = append(want, r.send(2, pushovertest.Outgoing{})...)
		time.Sleep(time.Minute)
		if err := run.Resume(); err != nil {
			t.Fatal(err)
		}
		r.awaitState(run, connector.StateLive)
		r.drained()
		run.stop()
		if got := r.log.ids(connector.ClassMessage); !slices.Equal(got, want) {
			t.Errorf("log holds %v, want %v", got, want)
		}
	})
}

// Invariant: other credentials resume a halted session by themselves.
func TestNewCredentialsResumeAHaltedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		file := &vault{creds: r.credentials()}
		r.opts.LoadCredentials = file.load
		run := r.start()
		r.awaitState(run, connector.StateLive)
		r.sim.RevokeSecret(r.device.Secret)
		r.awaitState(run, connector.StateLoginNeeded)
		want := r.send(2, pushovertest.Outgoing{})
		time.Sleep(time.Hour)
		synctest.Wait()

		file.store(r.renewed(run), nil)
		r.awaitState(run, connector.StateLive)
		r.drained()
		run.stop()
		r.wantLog(want)
	})
}

// Credentials that change while all is well start a new session too, and
// unusable ones never replace usable ones.
func TestCredentialsRotateWhileLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		file := &vault{creds: r.credentials()}
		r.opts.LoadCredentials = file.load
		run := r.start()
		r.awaitState(run, connector.StateLive)

		file.store(pushover.Credentials{}, errors.New("credentials.json: unexpected end of JSON input"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := run.Status().State; s != connector.StateLive {
			t.Fatalf("with an unreadable file the state is %s, want live", s)
		}
		if n := strings.Count(r.output.String(), "credentials ignored"); n != 1 {
			t.Errorf("the unreadable file was logged %d times, want once", n)
		}

		file.store(r.renewed(run), nil)
		time.Sleep(10 * time.Second)
		r.awaitState(run, connector.StateLive)
		r.sim.RevokeSecret(r.device.Secret) // the old one is not needed any more
		want := r.send(1, pushovertest.Outgoing{})
		r.drained()
		run.stop()
		r.wantLog(want)
	})
}

// A refused download halts like E, also when the stream has not noticed.
func TestRefusedDownloadHalts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.sim.Fault(pushovertest.Fault{
			On: "GET messages", Status: 400,
			Body: `{"status":0,"request":"x","secret":"invalid","errors":["secret is invalid"]}`,
		})
		run := r.start()
		r.awaitState(run, connector.StateLoginNeeded)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := r.sim.Requests("GET messages"); n != 1 {
			t.Errorf("the refused download was made %d times, want once", n)
		}
		r.wantManners()
	})
}

// HTML from a captive portal is not a verdict on the session.
func TestTransientTroubleIsWaitedOut(t *testing.T) {
	for name, fault := range map[string]pushovertest.Fault{
		"server error":   {On: "GET messages", Status: 503},
		"captive portal": {On: "GET messages", Status: 403, Body: "<html>log in to the Wi-Fi</html>", ContentType: "text/html"},
		"half a body":    {On: "GET messages", Drop: "half"},
		"no answer":      {On: "GET messages", Drop: "before"},
		"lost deletion":  {On: "POST delete", Drop: "after"},
		"rate limit":     {On: "GET messages", Status: 429, Body: `{"status":0,"errors":["slow down"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, pushovertest.Options{})
				want := r.send(5, pushovertest.Outgoing{})
				fault.Count = 3
				r.sim.Fault(fault)
				run := r.start()
				r.drained()
				run.stop()
				r.wantLog(want)
			})
		})
	}
}

func TestSilenceReconnects(t *testing.T) {
	whileLive(t, func(t *testing.T, r *rig, run *running) {
		r.sim.StopKeepAlive(true)
		before := r.sim.Requests("stream")
		r.await("a new connection", func(pushovertest.State) bool { return r.sim.Requests("stream") > before })
		r.sim.StopKeepAlive(false)
		r.awaitState(run, connector.StateLive)
		run.stop()
		r.wantManners()
	})
}

func TestWithoutCredentialsItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		file := &vault{}
		r.opts.LoadCredentials = file.load
		r.dial = func(o *pushover.Options) { o.Credentials = pushover.Credentials{} }
		run := r.start()
		r.awaitState(run, connector.StateLoginNeeded)
		want := r.send(1, pushovertest.Outgoing{})
		time.Sleep(time.Hour)
		synctest.Wait()
		file.store(r.credentials(), nil)
		r.drained()
		run.stop()
		r.wantLog(want)
	})
}

// awaitState waits in virtual time until the connector is in a state.
func (r *rig) awaitState(run *running, want connector.State) {
	r.t.Helper()
	for range 24 * 3600 {
		synctest.Wait()
		if run.Status().State == want {
			return
		}
		time.Sleep(time.Second)
	}
	s := run.Status()
	r.t.Fatalf("state is %s (%s), want %s\nlog:\n%s", s.State, part(s, connector.PartSession).Detail, want, r.output)
}

func (r *rig) connected() bool {
	for _, d := range r.sim.State().Devices {
		if d.Name == r.device.Name {
			return d.Connected
		}
	}
	return false
}

// Another device under the same secret is taken up, and so is another name.
func TestAnotherDeviceUnderTheSameSecretIsTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		file := &vault{creds: r.credentials()}
		r.opts.LoadCredentials = file.load
		run := r.start()
		r.awaitState(run, connector.StateLive)
		other := r.sim.AddDevice("nas-2")
		creds := r.credentials()
		creds.DeviceID, creds.DeviceName = pushover.DeviceID(other.ID), "nas-2"
		file.store(creds, nil)
		time.Sleep(10 * time.Second)
		r.awaitState(run, connector.StateLive)
		r.sim.Send(pushovertest.Outgoing{Message: "m", Device: "nas-2"})
		time.Sleep(cured)
		synctest.Wait()
		if got := run.Status().Device; got != "nas-2" || len(r.log.ids(connector.ClassMessage)) != 1 {
			t.Errorf("the device is %s, the log holds %v; want nas-2 and its message", got, r.log.ids(connector.ClassMessage))
		}
		creds.DeviceName = "kitchen" // as a person calls it
		file.store(creds, nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := run.Status().Device; got != "kitchen" {
			t.Errorf("the device is %s, want kitchen", got)
		}
		run.stop()
	})
}

// The service says nothing in answer to a login. A session counts as live once the
// stream was left open for two seconds.
func TestSilentStreamIsLiveOnceItHasHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		r.sim.StopKeepAlive(true)
		run := r.start()
		r.await("the login", func(s pushovertest.State) bool { return s.Device(r.device.Name).Connected })
		time.Sleep(1900 * time.Millisecond)
		synctest.Wait()
		if s := run.Status().State; s != connector.StateConnected {
			t.Errorf("before two seconds: got %s, want %s", s, connector.StateConnected)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if s := run.Status().State; s != connector.StateLive {
			t.Errorf("after two seconds: got %s, want %s", s, connector.StateLive)
		}
		// A stream without a sign of life is not well, whatever downloads say.
		time.Sleep(time.Minute)
		run.Sync()
		synctest.Wait()
		if p := part(run.Status(), connector.PartSession); p.OK {
			t.Errorf("a minute later, after a download: got %+v, want it failing", p)
		}
	})
}

// A sign of life says it at once.
func TestStreamThatSpeaksIsLiveAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{KeepAlive: 500 * time.Millisecond})
		run := r.start()
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		if s := run.Status().State; s != connector.StateLive {
			t.Errorf("after the first keep-alive: got %s, want %s", s, connector.StateLive)
		}
	})
}

// Credentials that cannot be used are passed over, and said once; that there are none
// yet is known.
func TestUnusableCredentialsAreIgnoredAndSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		v := &vault{creds: r.credentials()}
		r.opts.LoadCredentials = v.load
		run := r.start()
		r.awaitState(run, connector.StateLive)
		half := r.credentials()
		half.DeviceID = ""
		for _, step := range []struct {
			creds pushover.Credentials
			err   error
			lines int
		}{{half, nil, 1}, {half, nil, 1}, {pushover.Credentials{}, fs.ErrNotExist, 2}, {pushover.Credentials{}, fs.ErrNotExist, 2}, {r.credentials(), nil, 2}} {
			v.store(step.creds, step.err)
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := strings.Count(r.output.String(), "credentials ignored"); got != step.lines {
				t.Errorf("%v, %v: got %d lines, want %d", step.creds, step.err, got, step.lines)
			}
			if s := run.Status().State; s != connector.StateLive {
				t.Errorf("%v, %v: got state %s, want the session to go on", step.creds, step.err, s)
			}
		}
	})
}

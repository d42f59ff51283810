package pushover_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func TestEnrollAsksForAtMostThreeCodes(t *testing.T) {
	simulate(t, pushovertest.Options{TwoFactor: true}, func(w *world) {
		asked := 0
		_, err := w.client.WithCredentials(pushover.Credentials{}).Enroll(w.Context(), pushover.Enrollment{
			Email: w.sim.Account().Email, Password: pushover.Secret(w.sim.Account().Password), DeviceName: "nas-2",
			TwoFactor: func(context.Context) (string, error) {
				asked++
				return []string{"000000", "111111", "222222", "333333"}[asked-1], nil
			},
		})
		if !errors.Is(err, pushover.ErrTwoFactorWrong) || asked != 3 {
			w.Errorf("got %v after %d codes, want ErrTwoFactorWrong after 3", err, asked)
		}
	})
}

func TestEnrollGoesOnWithASecretAfterATakenName(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		e := pushover.Enrollment{
			Email: w.sim.Account().Email, Password: pushover.Secret(w.sim.Account().Password), DeviceName: "nas-1",
		}
		creds, err := w.client.WithCredentials(pushover.Credentials{}).Enroll(w.Context(), e)
		if !errors.Is(err, pushover.ErrDeviceNameTaken) || creds.Secret == "" {
			w.Fatalf("got %v, with a secret: %t; want ErrDeviceNameTaken and the secret", err, creds.Secret != "")
		}
		e.DeviceName = "nas-2"
		creds, err = w.client.WithCredentials(creds).Enroll(w.Context(), e)
		if err != nil || creds.Validate() != nil || w.sim.Requests("POST login") != 1 {
			w.Errorf("got %v, %v and %d logins, want credentials after one", creds, err, w.sim.Requests("POST login"))
		}
	})
}

// greeted enrolls nas-2 and begins to delete its welcome message, a second ago.
func (w *world) greeted() (done chan error) {
	w.Helper()
	creds, err := w.client.WithCredentials(pushover.Credentials{}).Enroll(w.Context(), pushover.Enrollment{
		Email: w.sim.Account().Email, Password: pushover.Secret(w.sim.Account().Password), DeviceName: "nas-2",
	})
	if err != nil {
		w.Fatal(err)
	}
	done = make(chan error, 1)
	go func() { done <- w.client.WithCredentials(creds).DeleteWelcome(w.Context()) }()
	time.Sleep(time.Second)
	return done
}

func TestWelcomeIsDeletedAloneAndOnlyOnceItHasSettled(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		done := w.greeted()
		want := w.sim.Send(pushovertest.Outgoing{Message: "m", Device: "nas-2"}).IDs
		if err := <-done; err != nil || !slices.Equal(w.sim.Queue("nas-2"), want) {
			w.Errorf("got %v and %v left, want %v", err, w.sim.Queue("nas-2"), want)
		}
	})
}

func TestWelcomeIsLeftWhereAMessageIsBeforeIt(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		done := w.greeted()
		w.sim.Send(pushovertest.Outgoing{Message: "m", Device: "nas-2", Queued: time.Now().Add(-time.Minute)})
		if err := <-done; err != nil || len(w.sim.Queue("nas-2")) != 2 {
			w.Errorf("got %v and %v left, want both messages", err, w.sim.Queue("nas-2"))
		}
	})
}

package pushover_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func TestRejectedRequestIsNotSentAgain(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.DisableDevice("nas-1", true)
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 400, Body: `{"status":0,"device_id":"invalid"}`})
		var first *pushover.APIError
		for range 3 {
			_, err := w.client.Download(w.Context())
			var e *pushover.APIError
			if !errors.As(err, &e) || !errors.Is(err, pushover.ErrSessionRejected) {
				w.Fatalf("got %v, want ErrSessionRejected", err)
			}
			if first == nil {
				first = e
			}
			if e != first {
				w.Errorf("got another error %v, want the stored one", e)
			}
		}
		if got := w.sim.Requests("GET messages"); got != 1 {
			w.Errorf("got %d requests, want 1", got)
		}
		w.sim.ClearFaults()
		w.sim.DisableDevice("nas-1", false)
		if _, err := w.client.WithCredentials(w.client.Credentials()).Download(w.Context()); err != nil {
			w.Errorf("a Client that has forgotten: got %v", err)
		}
	})
}

// One odd answer must not stop delivery, nor an acknowledgement, for good.
func TestAnswerThatIsNoVerdictIsNotRemembered(t *testing.T) {
	for _, f := range []pushovertest.Fault{
		{Status: 200, Body: `{"status":0,"request":"x","errors":["temporarily unavailable, try again"]}`},
		{Status: 408, Body: `{"status":0,"request":"x","errors":["request timeout"]}`},
		{Status: 409, Body: `{"status":0,"request":"x","errors":["conflict"]}`},
		{Status: 423, Body: `{"status":0,"request":"x","errors":["locked"]}`},
		{Status: 400, Body: `{"status":0,"request":"x","errors":["message queue is busy"]}`},
	} {
		for on, call := range map[pushovertest.Operation]func(*world, pushover.Receipt) error{
			"GET messages":     func(w *world, _ pushover.Receipt) error { return download(w.Context(), w.client) },
			"POST acknowledge": func(w *world, r pushover.Receipt) error { return w.client.Acknowledge(w.Context(), r) },
		} {
			if on == "POST acknowledge" && f.Status == 400 {
				continue // which is a verdict on a receipt that may be anybody's
			}
			simulate(t, pushovertest.Options{}, func(w *world) {
				sent := w.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})
				f.On, f.Count = on, 1
				w.sim.Fault(f)
				start := time.Now()
				if err := call(w, pushover.Receipt(sent.Receipt)); !pushover.Retryable(err) {
					w.Errorf("%s %d: got %v, want a retryable error", on, f.Status, err)
				}
				if err := call(w, pushover.Receipt(sent.Receipt)); err != nil {
					w.Errorf("%s %d: again: got %v, want success", on, f.Status, err)
				}
				if got := w.sim.Requests(on); got != 2 || time.Since(start) < 5*time.Second {
					w.Errorf("%s %d: got %d requests in %s, want 2, 5 s apart", on, f.Status, got, time.Since(start))
				}
			})
		}
	}
}

// A device that is enabled again, say, must work again without a restart.
func TestRejectionsAreForgottenAfterAnHour(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.DisableDevice("nas-1", true)
		if err := download(w.Context(), w.client); !errors.Is(err, pushover.ErrSessionRejected) {
			w.Fatalf("got %v, want ErrSessionRejected", err)
		}
		w.sim.DisableDevice("nas-1", false)
		time.Sleep(time.Hour - time.Second)
		if err := download(w.Context(), w.client); !errors.Is(err, pushover.ErrSessionRejected) || w.sim.Requests("GET messages") != 1 {
			w.Errorf("within the hour: got %v, want the answer of before without a request", err)
		}
		time.Sleep(time.Second)
		if err := download(w.Context(), w.client); err != nil {
			w.Errorf("after an hour: got %v, want success", err)
		}
	})
}

// As many may be under way as there are connections; those that wait for a turn
// see what became of them.
func TestCallsThatWaitTheirTurnDoNotRepeatARejectedRequest(t *testing.T) {
	var requests atomic.Int32
	serve(t, pushover.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		time.Sleep(time.Second)
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"status":0,"secret":"invalid"}`))
	}, func(t *testing.T, c *pushover.Client) {
		results := make(chan error)
		for range 8 {
			go func() { results <- download(t.Context(), c) }()
		}
		for range 8 {
			if err := <-results; !errors.Is(err, pushover.ErrSessionRejected) {
				t.Errorf("got %v, want ErrSessionRejected", err)
			}
		}
		if got := requests.Load(); got > 2 {
			t.Errorf("got %d requests, want no more than the 2 connections", got)
		}
	})
}

func TestManyRejectionsInARowSlowTheClientDown(t *testing.T) {
	serve(t, pushover.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"status":0,"message":"invalid","errors":["message is invalid"]}`))
	}, func(t *testing.T, c *pushover.Client) {
		start := time.Now()
		for i := range pushover.MaxRejections {
			if err := c.DeleteThrough(t.Context(), pushover.MessageID(i+1)); err == nil || errors.Is(err, pushover.ErrSessionRejected) {
				t.Fatalf("got %v, want a rejection of the message", err)
			}
		}
		if time.Since(start) != 0 {
			t.Errorf("first rejections: got a wait of %s, want none", time.Since(start))
		}
		for i := range 2 {
			start = time.Now()
			_ = c.DeleteThrough(t.Context(), pushover.MessageID(1000+i))
			if time.Since(start) < 5*time.Second {
				t.Errorf("one more: got a wait of %s, want 5 s or more", time.Since(start))
			}
		}
	})
}

func TestMissingIconsHoldNothingBack(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		sent := w.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})
		start := time.Now()
		for i := range pushover.MaxRejections {
			if _, err := w.client.Icon(w.Context(), "missing"+strconv.Itoa(i)); err == nil {
				w.Error("want an error")
			}
		}
		if err := w.client.Acknowledge(w.Context(), pushover.Receipt(sent.Receipt)); err != nil || time.Since(start) != 0 {
			w.Errorf("got %v after %s, want success at once", err, time.Since(start))
		}
	})
}

func TestMissingIconShowsThatTheServiceIsBack(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 503, Count: 1})
		if err := download(w.Context(), w.client); err == nil {
			w.Fatal("want an error")
		}
		if _, err := w.client.Icon(w.Context(), "missing"); err == nil {
			w.Error("want an error")
		}
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Delay: 10 * time.Second})
		results := make(chan error)
		for range 2 {
			go func() { results <- download(w.Context(), w.client) }()
		}
		start := time.Now()
		for range 2 {
			if err := <-results; err != nil {
				w.Error(err)
			}
		}
		if took := time.Since(start); took != 10*time.Second {
			w.Errorf("two downloads of 10 s: got %s, want them side by side, none waiting for a probe", took)
		}
	})
}

func TestMemoryOfRejectionsIsBounded(t *testing.T) {
	requests := 0
	serve(t, pushover.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		requests++
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"status":0,"message":"invalid"}`))
	}, func(t *testing.T, c *pushover.Client) {
		for i := range pushover.MaxRemembered + 1 {
			_ = c.DeleteThrough(t.Context(), pushover.MessageID(i+1))
		}
		_ = c.DeleteThrough(t.Context(), pushover.MaxRemembered) // remembered
		_ = c.DeleteThrough(t.Context(), 1)                      // forgotten
		if want := pushover.MaxRemembered + 2; requests != want {
			t.Errorf("got %d requests, want %d", requests, want)
		}
	})
}

// A receipt that was delivered is right, so that a 400 that names nothing does not
// end its acknowledgement for good.
func TestUnnamedRefusalOfADeliveredReceiptIsTrouble(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		sent := w.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})
		w.sim.Fault(pushovertest.Fault{On: "POST acknowledge", Status: 400, Body: `{"status":0,"errors":["try again"]}`, Count: 1})
		sure := pushover.Sure(w.Context())
		err := w.client.Acknowledge(sure, pushover.Receipt(sent.Receipt))
		if !pushover.Retryable(err) || pushover.RetryAfter(err) < 5*time.Second {
			w.Fatalf("got %v, want a retryable error", err)
		}
		time.Sleep(pushover.RetryAfter(err))
		if err := w.client.Acknowledge(sure, pushover.Receipt(sent.Receipt)); err != nil {
			w.Errorf("again: got %v, want success", err)
		}
	})
}

// A missing icon is the service's answer to a good request; one that is forbidden
// is a bad request like others.
func TestOnlyMissingFilesAreNotCountedAsRejections(t *testing.T) {
	for status, slow := range map[int]bool{http.StatusNotFound: false, http.StatusForbidden: true} {
		serve(t, pushover.Options{}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
		}, func(t *testing.T, c *pushover.Client) {
			for i := range pushover.MaxRejections {
				if _, err := c.Icon(t.Context(), fmt.Sprint("x", i)); err == nil {
					t.Fatal("got an icon")
				}
			}
			start := time.Now()
			_, _ = c.Icon(t.Context(), "last")
			if waited := time.Since(start) > 0; waited != slow {
				t.Errorf("%d: one more waited: %t, want %t", status, waited, slow)
			}
		})
	}
}

// It is ten rejections in a row that slow an operation down: an acceptance in
// between shows that not all is wrong.
func TestAcceptanceBetweenRejectionsStartsTheCountAgain(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		unknown := 0
		reject := func(n int) {
			for range n {
				unknown++
				if err := w.client.Acknowledge(w.Context(), pushover.Receipt(fmt.Sprintf("r%029d", unknown))); pushover.Retryable(err) || err == nil {
					w.Fatalf("got %v, want a rejection", err)
				}
			}
		}
		reject(pushover.MaxRejections - 1)
		sent := w.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})
		if err := w.client.Acknowledge(w.Context(), pushover.Receipt(sent.Receipt)); err != nil {
			w.Fatal(err)
		}
		reject(pushover.MaxRejections - 1)
		if d := w.client.AcknowledgeDelay(); d != 0 {
			w.Errorf("got a delay of %s after %d rejections, want none", d, pushover.MaxRejections-1)
		}
		reject(1)
		if d := w.client.AcknowledgeDelay(); d == 0 {
			w.Errorf("got no delay after %d rejections in a row", pushover.MaxRejections)
		}
	})
}

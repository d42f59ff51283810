package pushover_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func TestDownloadChangesNothing(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		sent := w.sim.Send(pushovertest.Outgoing{Title: "t", Message: "m", Priority: 1, Sound: "siren"})
		for range 2 {
			b, err := w.client.Download(w.Context())
			if err != nil || len(b.Messages) != 1 || b.More {
				w.Fatalf("got %v, %v, want the message", b, err)
			}
			m := b.Messages[0]
			if m.ID.String() != sent.IDs[0] || m.Title != "t" || m.Text != "m" || m.Priority != pushover.PriorityHigh ||
				pushover.SoundName(m.Sound) != "siren" || m.Sent.IsZero() || b.User.DesktopLicensed == nil || !*b.User.DesktopLicensed {
				w.Errorf("got %+v of %+v, want what was sent", m, b.User)
			}
		}
		if got := w.sim.Queue("nas-1"); len(got) != 1 {
			w.Errorf("queue after downloads: got %v, want the message still there", got)
		}
	})
}

// The order of the list and how ids are written change nothing.
func TestBacklogArrivesOnceInOrderWhateverItsForm(t *testing.T) {
	for name, prepare := range map[string]func(*pushovertest.Server){
		"ascending":  func(*pushovertest.Server) {},
		"descending": func(s *pushovertest.Server) { s.SetOrder(pushovertest.Descending) },
		"shuffled":   func(s *pushovertest.Server) { s.SetOrder(pushovertest.Shuffled) },
		"no *_str":   func(s *pushovertest.Server) { s.OmitStrings(true) },
	} {
		for _, limits := range []pushover.Options{{}, {MaxBatch: 7}, {MaxBatchBytes: 2000}} {
			simulateWith(t, pushovertest.Options{PageSize: 60}, limits, func(w *world) {
				prepare(w.sim)
				w.sim.SendN(200, pushovertest.Outgoing{Title: "{n}", Message: "m"})
				want := w.sim.Queue("nas-1")
				var got []string
				for b, err := range w.client.Messages(w.Context()) {
					if err != nil {
						w.Fatalf("%s: %v", name, err)
					}
					for _, m := range b.Messages {
						got = append(got, m.ID.String())
						if m.Title != strconv.Itoa(len(got)) {
							w.Errorf("%s: message %d is %q", name, len(got), m.Title)
						}
					}
					if err := w.client.DeleteThrough(w.Context(), b.Last()); err != nil {
						w.Fatal(err)
					}
				}
				if d := cmp.Diff(want, got); d != "" {
					w.Errorf("%s: ids (-want +got):\n%s", name, d)
				}
				if left := w.sim.Queue("nas-1"); len(left) != 0 {
					w.Errorf("%s: got %v left, want an empty queue", name, left)
				}
			})
		}
	}
}

func TestMessagesStopsWhenNothingIsDeleted(t *testing.T) {
	simulate(t, pushovertest.Options{PageSize: 5}, func(w *world) {
		w.sim.SendN(12, pushovertest.Outgoing{Message: "m", Queued: time.Now().Add(-time.Hour)})
		batches := 0
		var last error
		for _, last = range w.client.Messages(w.Context()) {
			batches++
			if batches > 10 {
				break
			}
		}
		if batches != 2 || !errors.Is(last, pushover.ErrStalled) || pushover.Retryable(last) {
			w.Errorf("got %d turns of the loop and %v, want one batch and then ErrStalled", batches, last)
		}
	})
}

func TestMessagesGoesOnAfterPartialDeletion(t *testing.T) {
	simulate(t, pushovertest.Options{PageSize: 5}, func(w *world) {
		w.sim.SendN(9, pushovertest.Outgoing{Message: "m"})
		seen := 0
		for b, err := range w.client.Messages(w.Context()) {
			if err != nil {
				w.Fatal(err)
			}
			seen++
			if err := w.client.DeleteThrough(w.Context(), b.Messages[0].ID); err != nil {
				w.Fatal(err)
			}
		}
		if seen != 9 {
			w.Errorf("got %d batches, want 9, each deleted by its first message", seen)
		}
	})
}

func TestMessagesEndsWithTheError(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 500, Count: 1})
		turns := 0
		for b, err := range w.client.Messages(w.Context()) {
			turns++
			if b != nil || !errors.Is(err, pushover.ErrUnavailable) {
				w.Errorf("got %v, %v, want ErrUnavailable alone", b, err)
			}
		}
		if turns != 1 {
			w.Errorf("got %d turns, want 1", turns)
		}
	})
}

func TestDeleteThroughRefusesWhatIsNoID(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		for _, id := range []pushover.MessageID{0, -1} {
			if err := w.client.DeleteThrough(w.Context(), id); err == nil {
				w.Errorf("DeleteThrough(%d): got no error", id)
			}
		}
		if got := w.sim.Requests("POST delete"); got != 0 {
			w.Errorf("got %d requests, want none", got)
		}
	})
}

func TestAcknowledgeNamesTheDeviceAndMayBeRepeated(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		sent := w.sim.Send(pushovertest.Outgoing{Message: "fire", Priority: 2})
		b, err := w.client.Download(w.Context())
		if err != nil || string(b.Messages[0].Receipt) != sent.Receipt || b.Messages[0].Acked {
			w.Fatalf("got %v, %v, want an unacknowledged emergency", b, err)
		}
		for range 2 {
			if err := w.client.Acknowledge(w.Context(), b.Messages[0].Receipt); err != nil {
				w.Fatal(err)
			}
		}
		r, _ := w.sim.Receipt(sent.Receipt)
		if !r.Acknowledged || r.AcknowledgedByDevice != "nas-1" {
			w.Errorf("got %+v, want it acknowledged by nas-1", r)
		}
		if b, err = w.client.Download(w.Context()); err != nil || !b.Messages[0].Acked {
			w.Errorf("afterwards: got %v, %v, want Acked", b, err)
		}
	})
}

func TestAcknowledgeOfAnUnknownReceiptDoesNotBlameTheSession(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		err := w.client.Acknowledge(w.Context(), pushover.Receipt(strings.Repeat("x", 30)))
		var e *pushover.APIError
		if !errors.As(err, &e) || errors.Is(err, pushover.ErrSessionRejected) || pushover.Retryable(err) {
			w.Errorf("got %v, want an APIError that is not about the session", err)
		}
		var answer *pushover.APIError
		if err := w.client.Acknowledge(w.Context(), "../../x"); err == nil || errors.As(err, &answer) {
			w.Errorf("malformed receipt: got %v, want an error without a request", err)
		}
		if got := w.sim.Requests("POST acknowledge"); got != 1 {
			w.Errorf("got %d requests, want 1", got)
		}
	})
}

func TestDeadSessionIsRejectedByEveryCall(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.RevokeSecret(w.device.Secret)
		_, err := w.client.Download(w.Context())
		for op, err := range map[string]error{
			"download":    err,
			"delete":      w.client.DeleteThrough(w.Context(), 1),
			"acknowledge": w.client.Acknowledge(w.Context(), pushover.Receipt(strings.Repeat("x", 30))),
		} {
			if !errors.Is(err, pushover.ErrSessionRejected) || pushover.Retryable(err) || pushover.RetryAfter(err) != 0 {
				w.Errorf("%s: got %v, want ErrSessionRejected, not retryable", op, err)
			}
		}
	})
}

func TestCallsWithoutCredentialsSayWhatIsMissing(t *testing.T) {
	c := mustNew(t, pushover.Options{})
	_, download := c.Download(t.Context())
	_, connect := c.Connect(t.Context())
	for op, err := range map[string]error{
		"download": download, "connect": connect, "delete": c.DeleteThrough(t.Context(), 1),
		"follow": c.Follow(t.Context(), pushover.Follower{Wake: func() {}}),
		"listen": c.Listen(t.Context(), func(context.Context, pushover.Message) error { return nil }),
	} {
		if err == nil || !strings.Contains(err.Error(), "session secret is missing") || !strings.Contains(err.Error(), "device id is missing") {
			t.Errorf("%s: got %v, want both missing parts named", op, err)
		}
	}
}

func TestIconAndSound(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Send(pushovertest.Outgoing{Message: "m"})
		b, err := w.client.Download(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		if data, err := w.client.Icon(w.Context(), b.Messages[0].Icon); err != nil || !strings.HasPrefix(string(data), "\x89PNG") {
			w.Errorf("icon: got %.20q, %v, want a PNG", data, err)
		}
		if data, err := w.client.Sound(w.Context(), "siren"); err != nil || len(data) == 0 {
			w.Errorf("sound: got %d bytes, %v", len(data), err)
		}
		var e *pushover.APIError
		if _, err := w.client.Icon(w.Context(), "nosuchicon"); !errors.As(err, &e) || e.HTTPStatus != 404 || pushover.Retryable(err) {
			w.Errorf("missing icon: got %v, want a 404", err)
		}
		asked := w.sim.Requests("GET icon")
		for _, name := range []string{"", "../x", "a/b", "a.png", "a?b", strings.Repeat("x", 65), "é"} {
			if _, err := w.client.Icon(w.Context(), name); err == nil {
				w.Errorf("Icon(%q): got no error", name)
			}
		}
		if got := w.sim.Requests("GET icon"); got != asked {
			w.Errorf("malformed names caused %d requests", got-asked)
		}
	})
}

func TestFileThatIsAPageIsNotAFile(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "*", Status: 200, Body: "<html>log in to the wifi</html>", ContentType: "text/html"})
		if _, err := w.client.Icon(w.Context(), "x"); !errors.Is(err, pushover.ErrUnavailable) {
			w.Errorf("icon: got %v, want ErrUnavailable", err)
		}
		if _, err := w.client.Sound(w.Context(), "x"); !errors.Is(err, pushover.ErrUnavailable) {
			w.Errorf("sound: got %v, want ErrUnavailable", err)
		}
	})
}

package pushover_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// overtaken sends messages at random moments of a few seconds to a service whose
// ids ascend from second to second only, while receive receives. It returns how
// many messages were deleted that the receiver had never seen.
func overtaken(t *testing.T, seed uint64, receive func(w *world, ctx context.Context, saw func(pushover.Message))) (lost int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)))
		rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable on purpose
		w := &world{T: t, sim: pushovertest.New(pushovertest.Options{}), log: &logBuffer{}}
		w.sim.StartPipe()
		defer w.sim.Close()
		w.sim.LooseIDs(true)
		w.device = w.sim.AddDevice("nas-1")
		w.client = mustNew(t, pushover.Options{
			APIURL: w.sim.APIURL(), StreamURL: w.sim.StreamURL(), DialContext: w.sim.DialContext,
			Credentials: credentialsOf(w.device),
		})
		defer w.client.Close()
		w.sim.Fault(pushovertest.Fault{On: "POST delete", Act: true, Delay: 50 * time.Millisecond})

		ctx, cancel := context.WithCancel(t.Context())
		seen := make(map[string]int)
		done := make(chan struct{})
		go func() {
			defer close(done)
			receive(w, ctx, func(m pushover.Message) { seen[m.ID.String()]++ })
		}()
		var sent []string
		for range 60 {
			time.Sleep(time.Duration(rng.Int64N(int64(200 * time.Millisecond))))
			sent = append(sent, w.sim.Send(pushovertest.Outgoing{Message: "m"}).IDs...)
		}
		w.untilEmpty()
		cancel()
		<-done
		for _, id := range sent {
			if seen[id] == 0 {
				lost++
			}
		}
		if got := len(w.sim.Violations()); (got > 0) != (lost > 0) {
			t.Errorf("seed %d: %d messages lost, and the service complains of %d deletions", seed, lost, got)
		}
	})
	return lost
}

// What happens to a receiver that deletes through the last id it was given,
// as every one does that takes ids to ascend.
func TestDeletingThroughTheLastIDLosesMessages(t *testing.T) {
	lost := 0
	for seed := range uint64(10) {
		lost += overtaken(t, seed, func(w *world, ctx context.Context, saw func(pushover.Message)) {
			for ctx.Err() == nil {
				b, err := w.client.Download(ctx)
				if err != nil {
					return
				}
				for _, m := range b.Messages {
					saw(m)
				}
				if len(b.Messages) > 0 {
					time.Sleep(20 * time.Millisecond) // to handle them
					_ = w.client.DeleteThrough(ctx, b.Last())
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	if lost == 0 {
		t.Error("no message was lost, so that the test below proves nothing")
	}
	t.Logf("%d of 600 messages lost", lost)
}

func TestListenLosesNoMessageThatGetsALowerID(t *testing.T) {
	for seed := range uint64(30) {
		if lost := overtaken(t, seed, func(w *world, ctx context.Context, saw func(pushover.Message)) {
			_ = w.client.Listen(ctx, func(_ context.Context, m pushover.Message) error { saw(m); return nil })
		}); lost > 0 {
			t.Errorf("seed %d: %d messages lost", seed, lost)
		}
	}
}

// listing serves one list of ids with a Date of its own. The client's clock is at
// noon of 26 November 2026.
func listing(t *testing.T, date func() string, ids func() []pushover.MessageID, run func(t *testing.T, c *pushover.Client)) {
	t.Helper()
	serve(t, pushover.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = []string{date()}
		body := `{"status":1,"messages":[`
		for i, id := range ids() {
			if i > 0 {
				body += ","
			}
			body += fmt.Sprintf(`{"id":%s,"message":"m"}`, id)
		}
		_, _ = fmt.Fprint(w, body+"]}")
	}, func(t *testing.T, c *pushover.Client) {
		time.Sleep(time.Until(noon))
		run(t, c)
	})
}

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// idOf is an id of that second.
func idOf(at time.Time, low int64) pushover.MessageID {
	return pushover.MessageID(at.Sub(time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC))/time.Second)<<32 + pushover.MessageID(low)
}

func TestSettled(t *testing.T) {
	const none = pushover.MessageID(0)
	ago := func(d time.Duration) pushover.MessageID { return idOf(noon.Add(-d), 7) }
	for _, tt := range []struct {
		name    string
		date    time.Duration // of the answer, against our clock; noDate for none
		ids     []pushover.MessageID
		first   pushover.MessageID // Settled of the first download
		in      time.Duration
		seconds pushover.MessageID // Settled of one that begins SettlesIn later
	}{
		{"old backlog", 0, []pushover.MessageID{ago(time.Hour), ago(4 * time.Second)}, ago(4 * time.Second), 0, ago(4 * time.Second)},
		{"new message", 0, []pushover.MessageID{ago(0)}, none, 4 * time.Second, ago(0)},
		{"new message after old ones", 0, []pushover.MessageID{ago(time.Hour), ago(3 * time.Second)}, ago(time.Hour), 4 * time.Second, ago(3 * time.Second)},
		{"small ids of an old account", noDate, []pushover.MessageID{1, 2, 319}, 319, 0, 319},
		{"no date", noDate, []pushover.MessageID{ago(time.Hour)}, none, 4 * time.Second, ago(time.Hour)},
		{"our clock is behind", time.Hour, []pushover.MessageID{ago(-time.Hour)}, none, 4 * time.Second, ago(-time.Hour)},
		{"our clock is ahead", -time.Hour, []pushover.MessageID{ago(2 * time.Hour), ago(time.Hour)}, ago(2 * time.Hour), 4 * time.Second, ago(time.Hour)},
		{"the service's date is ahead", time.Hour, []pushover.MessageID{ago(0)}, none, 4 * time.Second, ago(0)},
		{"one id that cannot be true", 0, []pushover.MessageID{ago(0), 1<<63 - 2}, none, 4 * time.Second, ago(0)},
		{"last id of a second that has settled", 0, []pushover.MessageID{idOf(noon.Add(-4*time.Second), 1<<32-1)}, idOf(noon.Add(-4*time.Second), 1<<32-1), 0, idOf(noon.Add(-4*time.Second), 1<<32-1)},
		{"first id of a second that has not", 0, []pushover.MessageID{idOf(noon.Add(-3*time.Second), 0)}, none, 4 * time.Second, idOf(noon.Add(-3*time.Second), 0)},
		{"a date before any such id", -9 * 365 * 24 * time.Hour, []pushover.MessageID{ago(time.Hour)}, none, 4 * time.Second, ago(time.Hour)},
		{"only an id that cannot be true", 0, []pushover.MessageID{1<<63 - 2}, none, 0, none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			date := func() string {
				if tt.date == noDate {
					return ""
				}
				return time.Now().Add(tt.date).UTC().Format(http.TimeFormat)
			}
			listing(t, date, func() []pushover.MessageID { return tt.ids }, func(t *testing.T, c *pushover.Client) {
				b, err := c.Download(t.Context())
				if err != nil || b.Settled != tt.first || b.SettlesIn != tt.in {
					t.Fatalf("got %v settled, the rest in %s (%v), want %v and %s", b.Settled, b.SettlesIn, err, tt.first, tt.in)
				}
				time.Sleep(tt.in - time.Nanosecond)
				if b, err = c.Download(t.Context()); err != nil || tt.in > 0 && tt.date != 0 && b.Settled != tt.first {
					t.Errorf("too early: got %v settled (%v), want %v", b.Settled, err, tt.first)
				}
				time.Sleep(time.Nanosecond)
				if b, err = c.Download(t.Context()); err != nil || b.Settled != tt.seconds || b.SettlesIn != 0 {
					t.Errorf("later: got %v settled, the rest in %s (%v), want %v and 0", b.Settled, b.SettlesIn, err, tt.seconds)
				}
			})
		})
	}
}

// The list of an answer that took long may be as old as its request.
func TestSlowAnswerSettlesWhatWasOldWhenItWasAskedFor(t *testing.T) {
	slow := func() string {
		time.Sleep(3 * time.Second)
		return time.Now().UTC().Format(http.TimeFormat)
	}
	ids := []pushover.MessageID{idOf(noon.Add(-4*time.Second), 1), idOf(noon.Add(-3*time.Second), 1)}
	listing(t, slow, func() []pushover.MessageID { return ids }, func(t *testing.T, c *pushover.Client) {
		if b, err := c.Download(t.Context()); err != nil || b.Settled != ids[0] {
			t.Errorf("got %v settled (%v), want %v", b.Settled, err, ids[0])
		}
	})
}

const noDate = 1000 * time.Hour

// A message settles four seconds after it was first seen, however often the queue
// is read meanwhile, and not sooner because of one that was there before.
func TestSettlingCountsFromTheFirstSight(t *testing.T) {
	var ids []pushover.MessageID
	listing(t, func() string { return "" }, func() []pushover.MessageID { return ids }, func(t *testing.T, c *pushover.Client) {
		for i, want := range []time.Duration{4000, 3500, 3000, 4000, 3500} {
			if i == 0 || i == 3 {
				ids = append(ids, idOf(time.Now(), 1))
			}
			b, err := c.Download(t.Context())
			if err != nil || b.SettlesIn != want*time.Millisecond {
				t.Errorf("download %d: settles in %s (%v), want %s", i+1, b.SettlesIn, err, want*time.Millisecond)
			}
			time.Sleep(500 * time.Millisecond)
		}
	})
}

// A device that somebody floods is looked at again and again, and what is
// remembered of it stays small; the messages settle all the same.
func TestFloodSettles(t *testing.T) {
	var ids []pushover.MessageID
	listing(t, func() string { return "" }, func() []pushover.MessageID { return ids }, func(t *testing.T, c *pushover.Client) {
		for i := range 500 {
			ids = append(ids, idOf(time.Now(), int64(i)))
			if _, err := c.Download(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		for range 2 {
			b, err := c.Download(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(b.SettlesIn)
		}
		if b, err := c.Download(t.Context()); err != nil || b.Settled != slices.Max(ids) {
			t.Errorf("got %v settled (%v), want all through %v", b.Settled, err, slices.Max(ids))
		}
	})
}

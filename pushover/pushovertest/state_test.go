package pushovertest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// A test that waits looks at the state after every request: the price of a
// look must not be that of the backlog.
func TestLookingAtTheStateDoesNotCostTheBacklog(t *testing.T) {
	s := pushovertest.New(pushovertest.Options{})
	s.AddDevice("n")
	look := func() float64 {
		s.State()
		return testing.AllocsPerRun(10, func() {
			if got := s.Waiting("n"); got != len(s.State().Device("n").Queue) {
				t.Errorf("got %d waiting, want as many as the state has", got)
			}
		})
	}
	empty := look()
	s.SendN(5000, pushovertest.Outgoing{Message: "x"})
	if full := look(); full > empty+10 {
		t.Errorf("a look at 5000 messages allocates %v times, at none %v times", full, empty)
	}
}

// A state stays what it was, and appending to its queue changes no other.
func TestStatesAreIndependentOfWhatComesLater(t *testing.T) {
	bubble(t, pushovertest.Options{PageSize: 2, Retention: time.Hour}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		want := all(s.SendN(3, pushovertest.Outgoing{Message: "x"}))
		old := s.State().Device("n").Queue
		for range 3 {
			before := s.State().Device("n").Queue
			want = append(want, all(s.SendN(1, pushovertest.Outgoing{Message: "x"}))...)
			s.State()
			_ = append(before, "not an id")
			if got := s.State().Device("n").Queue; !slices.Equal(got, want) || !slices.Equal(old, want[:3]) {
				t.Errorf("after sending: got %v and the earlier %v, want %v", got, old, want)
			}
		}
		c.download(d)
		c.deleteThrough(d, want[1])
		if got := s.State().Device("n").Queue; !slices.Equal(got, want[2:]) || !slices.Equal(old, want[:3]) {
			t.Errorf("after a deletion: got %v and the earlier %v, want %v", got, old, want[2:])
		}
		mine := s.Queue("n")
		slices.Reverse(mine)
		if got := s.Queue("n"); !slices.Equal(got, want[2:]) {
			t.Errorf("after the caller turned its queue: got %v, want %v", got, want[2:])
		}
		pass(time.Hour)
		if got := s.State().Device("n").Queue; len(got) != 0 || s.Waiting("n") != 0 {
			t.Errorf("after the retention: got %v, %d waiting", got, s.Waiting("n"))
		}
		want = all(s.SendN(2, pushovertest.Outgoing{Message: "x"}))
		if got := s.Queue("n"); !slices.Equal(got, want) || s.Waiting("n") != 2 {
			t.Errorf("refilled: got %v, want %v", got, want)
		}
	})
}

func TestNothingWaitsForAnUnknownDevice(t *testing.T) {
	s := pushovertest.New(pushovertest.Options{})
	if got := s.Waiting("nowhere"); got != 0 {
		t.Errorf("got %d", got)
	}
}

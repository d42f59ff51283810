package connector

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// emergencyLife is the longest that an emergency can ask for acknowledgement:
// senders may set an expiry of 10800 seconds at most (pushover.net/api).
// Receivers are not told the value a sender chose.
const emergencyLife = 3 * time.Hour

// maxEmergencies bounds the memory an unheard-of flood of emergencies takes;
// beyond it the oldest are forgotten. Nothing but their display is lost.
const maxEmergencies = 10_000

// An Emergency is an emergency message that nobody is known to have
// acknowledged.
type Emergency struct {
	Receipt   string    `json:"receipt"`
	MessageID string    `json:"message_id"`
	App       string    `json:"app"`
	Since     time.Time `json:"since"`
	ExpiresBy time.Time `json:"expires_by"` // at the latest
}

// emergencies tracks the outstanding emergencies from the messages seen. It is
// safe for concurrent use.
type emergencies struct {
	mu    sync.Mutex
	open  map[string]Emergency
	gauge prometheus.Gauge
}

func newEmergencies(gauge prometheus.Gauge) *emergencies {
	return &emergencies{open: make(map[string]Emergency), gauge: gauge}
}

// seen takes note of a message. One that was acknowledged elsewhere closes its
// emergency.
func (s *emergencies) seen(m pushover.Message, now time.Time) {
	if m.Receipt == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.count()
	receipt := string(m.Receipt)
	if m.Acked {
		delete(s.open, receipt)
		return
	}
	since := heardAt(m, now)
	expires := since.Add(emergencyLife)
	if !expires.After(now) {
		return
	}
	if _, known := s.open[receipt]; known {
		return // a retry of the service; its life began with the first
	}
	if len(s.open) >= maxEmergencies {
		oldest := slices.MinFunc(s.sorted(), bySince)
		delete(s.open, oldest.Receipt)
	}
	s.open[receipt] = Emergency{
		Receipt: receipt, MessageID: m.ID.String(), App: m.App, Since: since, ExpiresBy: expires,
	}
}

// close removes an emergency that has been acknowledged.
func (s *emergencies) close(receipt string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, receipt)
	s.count()
}

// list returns the outstanding emergencies, oldest first, and forgets those
// that have expired.
func (s *emergencies) list(now time.Time) []Emergency {
	s.expire(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sorted()
}

// expire forgets those that cannot be alive any more. It is called now and then,
// so that the metric is right though nobody asks for the list.
func (s *emergencies) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for receipt, e := range s.open {
		if !e.ExpiresBy.After(now) {
			delete(s.open, receipt)
		}
	}
	s.count()
}

func (s *emergencies) sorted() []Emergency {
	all := make([]Emergency, 0, len(s.open))
	for _, e := range s.open {
		all = append(all, e)
	}
	slices.SortFunc(all, bySince)
	return all
}

func (s *emergencies) count() { s.gauge.Set(float64(len(s.open))) }

func bySince(a, b Emergency) int {
	return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Receipt, b.Receipt))
}

// heardAt is when the service had the message, by its own clock where it says
// so. The date field is no help: senders choose it.
func heardAt(m pushover.Message, now time.Time) time.Time {
	for _, t := range []time.Time{m.Queued, m.Dispatched} {
		if !t.IsZero() && t.Before(now) {
			return t
		}
	}
	return now
}

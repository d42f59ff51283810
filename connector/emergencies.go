package connector

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// EmergencyLife is the longest that an emergency can ask for acknowledgement:
// senders may set an expiry of 10800 seconds at most (pushover.net/api).
// Receivers are not told the value a sender chose.
const EmergencyLife = 3 * time.Hour

// maxEmergencies bounds the memory that a flood of emergencies takes; beyond it
// the oldest are forgotten, that is not shown, nor recognised when they come again.
const maxEmergencies = 10_000

// An Emergency is an emergency message that is not known to be acknowledged.
type Emergency struct {
	Receipt   string    `json:"receipt"`
	MessageID string    `json:"message_id"` // of its first message
	App       string    `json:"app"`
	Since     time.Time `json:"since"`
	ExpiresBy time.Time `json:"expires_by"` // at the latest
}

// emergencies tracks the emergencies of the last three hours: from the messages
// seen, from the acknowledgements made, and for the time before this process
// from the log. It is safe for concurrent use.
type emergencies struct {
	mu    sync.Mutex
	all   map[string]sighting // by receipt, until they have expired
	known bool                // those from before this process too
	gauge prometheus.Gauge
}

type sighting struct {
	Emergency
	over bool // acknowledged
}

func newEmergencies(gauge prometheus.Gauge) *emergencies {
	return &emergencies{all: make(map[string]sighting), gauge: gauge}
}

// seen takes note of a message. It returns the id of the first message of the
// same emergency if this is a later one: while nobody acknowledges, the service
// may queue it again with another id.
func (s *emergencies) seen(m pushover.Message, now time.Time) (repeatOf string) {
	if m.Receipt == "" {
		return ""
	}
	since := heardAt(m, now)
	return s.note(Emergency{
		Receipt: string(m.Receipt), MessageID: m.ID.String(), App: m.App, Since: since, ExpiresBy: since.Add(EmergencyLife),
	}, m.Acked, now)
}

// note takes note of one message of an emergency. The emergency's life begins
// with the first.
func (s *emergencies) note(e Emergency, acked bool, now time.Time) (repeatOf string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.count()
	known, again := s.all[e.Receipt]
	if again {
		if e.Since.After(known.Since) {
			e.Since, e.ExpiresBy = known.Since, known.ExpiresBy
		}
		if known.MessageID != "" && known.MessageID != e.MessageID {
			repeatOf, e.MessageID = known.MessageID, known.MessageID
		}
	}
	if !e.ExpiresBy.After(now) {
		delete(s.all, e.Receipt)
		return repeatOf
	}
	if len(s.all) >= maxEmergencies {
		s.forgetOldest()
	}
	s.all[e.Receipt] = sighting{e, acked || known.over}
	return repeatOf
}

// forgetOldest makes room for many, since finding the oldest takes a while.
func (s *emergencies) forgetOldest() {
	byAge := make([]Emergency, 0, len(s.all))
	for _, e := range s.all {
		byAge = append(byAge, e.Emergency)
	}
	slices.SortFunc(byAge, bySince)
	for _, e := range byAge[:len(byAge)/10] {
		delete(s.all, e.Receipt)
	}
}

// close records that an emergency has been acknowledged, which may be known
// before any message of it was seen.
func (s *emergencies) close(receipt string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, known := s.all[receipt]
	if !known {
		e.Emergency = Emergency{Receipt: receipt, Since: now, ExpiresBy: now.Add(EmergencyLife)}
	}
	e.over = true
	s.all[receipt] = e
	s.count()
}

// outstanding reports whether a receipt is that of an emergency that is not known
// to be over.
func (s *emergencies) outstanding(receipt string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, known := s.all[receipt]
	return known && !e.over
}

// status returns the outstanding emergencies, oldest first.
func (s *emergencies) status(now time.Time) EmergenciesStatus {
	s.expire(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	out := EmergenciesStatus{Known: s.known, Outstanding: []Emergency{}}
	for _, e := range s.all {
		if !e.over {
			out.Outstanding = append(out.Outstanding, e.Emergency)
		}
	}
	slices.SortFunc(out.Outstanding, bySince)
	return out
}

// expire forgets those that can no longer be alive. It is called regularly, so
// that the metric is right even if nobody asks for the list.
func (s *emergencies) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for receipt, e := range s.all {
		if !e.ExpiresBy.After(now) {
			delete(s.all, receipt)
		}
	}
	s.count()
}

func (s *emergencies) count() {
	if !s.known {
		s.gauge.Set(math.NaN())
		return
	}
	n := 0
	for _, e := range s.all {
		if !e.over {
			n++
		}
	}
	s.gauge.Set(float64(n))
}

func bySince(a, b Emergency) int {
	return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Receipt, b.Receipt))
}

// recallTimeout is how long a start waits for the log to be read. After that,
// reading goes on alongside the delivery.
const recallTimeout = 5 * time.Second

// recallEmergencies reads the emergencies of the last three hours from the log,
// so that one that is still alive is known after a restart, and a message of it
// that comes again is recognised.
func (c *Connector) recallEmergencies(ctx context.Context, log Reader, tasks *sync.WaitGroup) {
	first := make(chan struct{})
	tasks.Go(func() {
		pace := syncPace()
		for said := ""; ; {
			err := c.recallOnce(ctx, log)
			if err == nil && said != "" {
				c.log.Info("reading emergencies recovered")
			}
			if err == nil || ctx.Err() != nil {
				break
			}
			wait := pace.NextBackOff()
			if err.Error() != said {
				said = err.Error()
				c.log.Warn("reading emergencies failed, retrying", slog.Any("error", err), slog.Duration("retry_in", wait))
			}
			if !pause(ctx, wait) {
				break
			}
		}
		close(first)
	})
	select {
	case <-first:
	case <-time.After(recallTimeout):
	}
}

// recallOnce reads the log once. Events of other devices in it are not ours to
// show.
func (c *Connector) recallOnce(ctx context.Context, log Reader) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	source := Source(c.commands.deviceName())
	began := make(map[string]time.Time)
	err := log.Read(ctx, Query{
		Classes: []Class{ClassMessage, ClassResult}, Priority: pushover.PriorityEmergency.String(),
		// A message may come again until the end of its life, with a life that ended
		// long ago if its own time were that of the first.
		Since: time.Now().Add(-2 * EmergencyLife),
	}, func(e Stored) error {
		c.recall(e, source, began)
		return nil
	})
	if err != nil {
		return err
	}
	c.emergencies.mu.Lock()
	defer c.emergencies.mu.Unlock()
	c.emergencies.known = true
	c.emergencies.count()
	return nil
}

// recall takes note of one event of the log. One that cannot be read was not
// written by a connector of this version, and is passed over. began has the
// beginning of each emergency read so far, by receipt, also of those that are over.
func (c *Connector) recall(e Stored, source string, began map[string]time.Time) {
	var data struct {
		ID       string       `json:"id"`
		App      string       `json:"app"`
		Receipt  string       `json:"receipt"`
		Acked    bool         `json:"acked"`
		RepeatOf string       `json:"repeat_of"`
		Queued   time.Time    `json:"queued_at"`
		Status   ResultStatus `json:"status"`
	}
	if json.Unmarshal(e.Data, &data) != nil || data.Receipt == "" {
		return
	}
	now := time.Now()
	switch {
	case e.Class == ClassResult && data.Status == StatusAcknowledged:
		c.emergencies.close(data.Receipt, now)
	case e.Class == ClassMessage && e.Source == source:
		since := e.At
		if !data.Queued.IsZero() && data.Queued.Before(since) {
			since = data.Queued
		}
		if first, ok := began[data.Receipt]; ok && first.Before(since) {
			since = first
		}
		began[data.Receipt] = since
		c.emergencies.note(Emergency{
			Receipt: data.Receipt, MessageID: cmp.Or(data.RepeatOf, data.ID), App: data.App,
			Since: since, ExpiresBy: since.Add(EmergencyLife),
		}, data.Acked, now)
	}
}

// heardAt is when the service had the message, by its own clock where it says
// so. The date field does not help: senders choose it.
func heardAt(m pushover.Message, now time.Time) time.Time {
	for _, t := range []time.Time{m.Queued, m.Dispatched} {
		if !t.IsZero() && t.Before(now) {
			return t
		}
	}
	return now
}

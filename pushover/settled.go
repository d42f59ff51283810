package pushover

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

// idEpoch is what the seconds in the upper half of an id count from. Nothing
// documents it; captured ids agree with their queued_date to the second.
var idEpoch = time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	// settleTime is how long after a message has been seen, or after its id's
	// second has begun, a lower id may still turn up: what is left of that second,
	// and three more for makers of ids whose clocks differ and for a queue that
	// shows a message late.
	settleTime = 4 * time.Second

	// idsAhead is how far the second of an id may be ahead of the service's clock.
	// One further ahead is not a time, and messages to come will have lower ids.
	idsAhead = time.Minute

	// maxSightings bounds what is remembered. Beyond it a message settles later.
	maxSightings = 64
)

// A settler finds out through which id nothing can come in any more. There are
// two ways to know. By the clock: the second in the id is long enough ago, by the
// service's Date and by our own clock, so that either may be ahead. And without
// one: an id that has been seen, or a higher one, long enough before a download
// began. The first lets an old backlog go at once, the second holds whatever the
// clocks say.
type settler struct {
	mu        sync.Mutex
	through   MessageID
	sightings []sighting // of ever higher ids
}

// A sighting says that id was in the queue at that time.
type sighting struct {
	id MessageID
	at time.Time
}

// settle fills in what a download that began then says about deleting.
func (s *settler) settle(b *Batch, begun time.Time, h http.Header) {
	now := time.Now()
	date, err := http.ParseTime(h.Get("Date"))
	known := err == nil && date.After(idEpoch)
	byClock, possible := endOfSecond(idEpoch), MessageID(1<<63-1)
	if known {
		service := date
		if now.Before(date) {
			service = now
		}
		// The list may be as old as the request.
		byClock = max(byClock, endOfSecond(service.Add(-now.Sub(begun)-settleTime)))
		possible = endOfSecond(date.Add(idsAhead))
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.sightings) > 0 && begun.Sub(s.sightings[0].at) >= settleTime {
		s.through = max(s.through, s.sightings[0].id)
		s.sightings = s.sightings[1:]
	}
	b.Settled = b.lastUpTo(max(byClock, min(s.through, possible)))
	last := b.lastUpTo(possible)
	if last <= b.Settled {
		return
	}
	i := slices.IndexFunc(s.sightings, func(g sighting) bool { return g.id >= last })
	switch {
	case i >= 0:
		b.SettlesIn = max(1, settleTime-now.Sub(s.sightings[i].at)) // the download itself may have taken longer
		return
	case len(s.sightings) < maxSightings:
		s.sightings = append(s.sightings, sighting{last, now})
	}
	b.SettlesIn = settleTime
}

// endOfSecond is the highest id of the second of t, small ids included.
func endOfSecond(t time.Time) MessageID {
	seconds := max(0, int64(t.Sub(idEpoch)/time.Second))
	return MessageID((seconds+1)<<32 - 1)
}

// lastUpTo returns the highest id of the batch that is not above limit, 0 if
// there is none.
func (b *Batch) lastUpTo(limit MessageID) MessageID {
	for i := len(b.Messages) - 1; i >= 0; i-- {
		if id := b.Messages[i].ID; id <= limit {
			return id
		}
	}
	return 0
}

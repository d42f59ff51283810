package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

// handBackMin and handBackMax pace a command whose handler failed without
// saying when to try again.
const (
	handBackMin = time.Second
	handBackMax = 30 * time.Second
)

// hand queues a command behind those with the same key, and starts a worker for
// the key if there is none.
func (s *server) hand(ctx context.Context, it item) {
	key := connector.CommandKey(it.body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues[key] = append(s.queues[key], it)
	if len(s.queues[key]) == 1 {
		s.workers.Go(func() { s.work(ctx, key) })
	}
}

// work carries out the commands of one key, in order, until there are none.
func (s *server) work(ctx context.Context, key string) {
	for it := s.front(key); s.carryOut(ctx, it); {
		it.settled <- it.offset
		var more bool
		if it, more = s.advance(key); !more {
			return
		}
	}
}

// front is the command of a key that is in hand.
func (s *server) front(key string) item {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queues[key][0]
}

// advance takes the next command of a key in hand, if there is one. If there is
// none, the next to come finds no worker and starts one: both is decided under
// one lock, so that a key never has two.
func (s *server) advance(key string) (next item, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queues[key] = s.queues[key][1:]; len(s.queues[key]) > 0 {
		return s.queues[key][0], true
	}
	delete(s.queues, key)
	return item{}, false
}

// carryOut hands one command over as often as it takes. It returns false when
// ctx ended first.
func (s *server) carryOut(ctx context.Context, it item) bool {
	pause := newBackOff(handBackMin, handBackMax)
	for {
		_, err := s.handler(ctx, connector.Command{
			ID: placeName(s.bus.config.ControlTopic, s.partition, it.offset), Body: it.body, Time: it.time,
		})
		if err == nil {
			return true
		}
		wait := pause.NextBackOff()
		var again *connector.RetryError
		if errors.As(err, &again) {
			wait = again.After
		}
		if sleep(ctx, wait) != nil {
			return false
		}
	}
}

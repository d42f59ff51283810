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

// carryOut hands one command over as often as it takes, and says so, unless ctx
// ends first.
func (s *server) carryOut(ctx context.Context, it item) {
	pause := newBackOff(handBackMin, handBackMax)
	for {
		_, err := s.handler(ctx, connector.Command{
			ID: placeName(s.config.ControlTopic, s.partition, it.offset), Body: it.body, Time: it.time, Arrived: it.arrived,
		})
		if err == nil {
			it.settled <- it.offset
			return
		}
		wait := pause.NextBackOff()
		var again *connector.RetryError
		if errors.As(err, &again) {
			wait = again.After
		}
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

package kafka_test

import (
	"testing"
)

func TestPublishedEventsStandInTheTopicOnceAndInOrder(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		o := optionsFor(t, c)
		b := open(t, c, o)
		events := messages(o.Source, 1, 3000)
		mustPublish(t, b, events[:1])
		mustPublish(t, b, events[:2000])
		mustPublish(t, b, events[1000:])
		again := open(t, c, o)
		mustPublish(t, again, events)
		for _, committed := range []bool{false, true} {
			wantIDs(t, brokers, c.Topic, committed, idsOf(events))
		}
		if n, err := again.Holds(waitContext(t), events); n != len(events) || err != nil {
			t.Errorf("Holds: got %d, %v", n, err)
		}
	})
}

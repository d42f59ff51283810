package nats_test

import (
	"testing"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/nats"
)

// A stream whose window covers everything has nothing read back, and then no event of a
// batch needs its key for that.
func TestNothingReadBackCostsNothing(t *testing.T) {
	events := make([]connector.Event, 100)
	for i := range events {
		events[i] = connector.Event{Source: "pushover://device/a-name-of-some-length", ID: "1234567890123456789"}
	}
	got := testing.AllocsPerRun(10, func() {
		if n := nats.Leading(events, nil, false); n != len(events) {
			t.Errorf("got %d events that are not stored, want all %d", n, len(events))
		}
		if n := nats.Leading(events, nil, true); n != 0 {
			t.Errorf("got %d events that are stored, want none", n)
		}
	})
	if got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}

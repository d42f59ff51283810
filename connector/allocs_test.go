package connector_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

// Collecting what is allocated takes a good part of the time that a backlog takes, and
// unlike times the number is exact. Raise it only for a reason.
func TestAllocationsOfAMessage(t *testing.T) {
	const most = 21
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	event := connector.MessageEvents("nas-1", now)
	m := pushover.Message{
		ID: 1234567890123456789, UMID: 42, AppID: 7, App: "Backup of the NAS", Title: "Backup", Text: "42 files in 17 seconds",
		Icon: "backup", Sound: "po", Sent: now, Queued: now, Dispatched: now,
		Raw: json.RawMessage(`{"id":1234567890123456789,"app":"Backup of the NAS","message":"42 files in 17 seconds"}`),
	}
	got := testing.AllocsPerRun(100, func() {
		e, err := event(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := e.Encode(connector.ModeStructured, connector.Binding{}); err != nil {
			t.Fatal(err)
		}
	})
	if got > most {
		t.Errorf("got %v allocations a message, want %d at most", got, most)
	}
}

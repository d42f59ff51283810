package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

var receipt = strings.Repeat("r", 30)

// traced is a log with an emergency, its repeat, the command that acknowledged
// it, and a message of another application, from at on. The bus's clock is behind.
func traced(at time.Time) *memoryLog {
	event := func(class connector.Class, place string, after time.Duration, format string, args ...any) connector.Stored {
		recorded := at.Add(after + 300*time.Microsecond).Format(time.RFC3339Nano)
		return connector.Stored{Place: place, At: at.Add(after), Event: connector.Event{
			Class: class, Data: fmt.Appendf(nil, format, args...), Extensions: []connector.Extension{{Name: "recordedtime", Value: recorded}},
		}}
	}
	stamp := at.Format(time.RFC3339)
	return &memoryLog{events: []connector.Stored{
		event(connector.ClassMessage, "S#1", time.Second,
			`{"id":"1","app":"Keller","device":"nas-1","priority_name":"emergency","receipt":%q,"queued_at":%q}`, receipt, stamp),
		event(connector.ClassMessage, "S#2", 2*time.Second, `{"id":"9","app":"Dach","priority_name":"low"}`),
		event(connector.ClassMessage, "S#3", time.Minute, `{"id":"2","priority_name":"emergency","receipt":%q,"repeat_of":"1"}`, receipt),
		event(connector.ClassResult, "S#4", 2*time.Minute,
			`{"receipt":%q,"status":"acknowledged","device":"nas-1","command_id":"mine","attempts":1,"commanded_at":%q}`, receipt, stamp),
	}}
}

func TestTraceFindsAllOfAnEmergency(t *testing.T) {
	log := traced(time.Now().Add(-time.Hour))
	for wanted, want := range map[string]string{
		"1": "S#1 S#3 S#4", "2": "S#1 S#3 S#4", receipt: "S#1 S#3 S#4", "9": "S#2", "3": "",
	} {
		found, err := findEvents(t.Context(), &bus{read: log.read}, wanted)
		var places []string
		for _, e := range found {
			places = append(places, e.Place)
		}
		if got := strings.Join(places, " "); err != nil || got != want {
			t.Errorf("found for %s: %q, %v, want %q", wanted, got, err, want)
		}
	}
}

func TestTraceTellsTheLifeOfAMessage(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.Local)
	log := traced(at).events
	found := []connector.Stored{log[0], log[2], log[3]}
	status := connector.Status{
		Recent:      connector.Recent{Events: []connector.RecentEvent{{ID: "2"}, {ID: "1", Cleared: true}}},
		Emergencies: connector.EmergenciesStatus{Outstanding: []connector.Emergency{{Receipt: receipt, Since: at, ExpiresBy: at.Add(3 * time.Hour)}}},
	}
	want := `emergency message from "Keller" to device nas-1
2026-11-26 12:00:00.000  queued        message 1 at Pushover
2026-11-26 12:00:01.000  downloaded    message 1
2026-11-26 12:00:01.000  stored        S#1, 1s after it was queued
                         cleared       deleted on Pushover
2026-11-26 12:01:00.000  downloaded    message 2
2026-11-26 12:01:00.000  repeat        stored at S#3; of message 1
                         cleared       not yet deleted on Pushover, which takes a few seconds
2026-11-26 12:02:00.000  acknowledged  by device nas-1 for command mine of 2026-11-26 12:00:00, calls to Pushover: 1; stored at S#4
Outstanding for 1h00m, ends within 2h00m. To acknowledge it: pushover-connector ack ` + receipt + "\n"
	var out bytes.Buffer
	printTrace(&out, found, status, nil, at.Add(time.Hour))
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	printTrace(&out, found[:1], connector.Status{}, errors.New("nobody"), at)
	if !strings.Contains(out.String(), "cleared       not known: no running connector could be asked\n") {
		t.Errorf("got\n%s\nwant it to say that nobody could be asked", out.String())
	}
}

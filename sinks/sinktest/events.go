package sinktest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

var priorities = []string{"lowest", "low", "normal", "high", "emergency"}

// Messages returns n message events of a device, with consecutive ids from
// first, over all priorities and some applications.
func Messages(device string, first, n int) []connector.Event {
	events := make([]connector.Event, n)
	for i := range events {
		events[i] = Message(device, first+i)
	}
	return events
}

// Message returns a message event.
func Message(device string, id int) connector.Event {
	source := "pushover://device/" + device
	return connector.Event{
		ID:      strconv.Itoa(id),
		Source:  source,
		Type:    "net.pushover.message.received",
		Subject: "Grüße %d \"quoted\"",
		Time:    time.Date(2026, 3, 1, 12, 0, id%60, 0, time.UTC),
		Extensions: []connector.Extension{
			{Name: "sequence", Value: fmt.Sprintf("%020d", id)},
			{Name: "severitynumber", Value: int32(9)},
		},
		Data: json.RawMessage(fmt.Sprintf(`{"id":"%d","title":"Größe","message":"text of message %d","priority_name":%q}`,
			id, id, priorities[id%len(priorities)])),
		Class: connector.ClassMessage,
		Route: []string{"messages", priorities[id%len(priorities)], "app-" + strconv.Itoa(id%3)},
		Key:   source,
	}
}

// Result returns a result event for a receipt.
func Result(device string, command int) connector.Event {
	source := "pushover://device/" + device
	receipt := fmt.Sprintf("r%029d", command)
	return connector.Event{
		ID:     fmt.Sprintf("PUSHOVER_CONTROL#%d", command),
		Source: source,
		Type:   "net.pushover.emergency.acknowledged",
		Data:   json.RawMessage(fmt.Sprintf(`{"receipt":%q,"status":"acknowledged"}`, receipt)),
		Class:  connector.ClassResult,
		Route:  []string{"results", "acknowledged"},
		Key:    receipt,
	}
}

// DeadLetter returns the dead letter that stands for a message.
func DeadLetter(message connector.Event) connector.Event {
	message.Class = connector.ClassDeadLetter
	message.Route = []string{"deadletter"}
	message.Extensions = append([]connector.Extension{{Name: "deadletterreason", Value: "too large"}}, message.Extensions...)
	message.Data = json.RawMessage(`{"reason":"too large"}`)
	return message
}

// sized returns a copy of e whose data is n bytes long.
func sized(e connector.Event, n int) connector.Event {
	const frame = `{"message":""}`
	e.Data = json.RawMessage(`{"message":"` + strings.Repeat("x", max(0, n-len(frame))) + `"}`)
	return e
}

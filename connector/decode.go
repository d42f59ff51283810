package connector

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// errNotAnEvent says that a record of a log is not a CloudEvents event.
var errNotAnEvent = errors.New("not a CloudEvents event")

// Decode reads an event that [Event.Encode] wrote in either content mode. header
// returns the value of the protocol's header of that exact name, "" if there is
// none. Route and Key stay empty; Class follows from the type, so that events of
// others are an error.
func (b Binding) Decode(header func(name string) string, body []byte) (Event, error) {
	attrs := make(map[string]json.RawMessage)
	if strings.HasPrefix(header(b.ContentType), "application/cloudevents+json") {
		if err := json.Unmarshal(body, &attrs); err != nil {
			return Event{}, fmt.Errorf("%w: %w", errNotAnEvent, err)
		}
	} else {
		for _, name := range append([]string{"specversion", "id", "source", "type", "dataschema", "subject", "time"}, extensionNames...) {
			if value := header(b.Prefix + name); value != "" {
				attrs[name] = b.unescape(value)
			}
		}
		attrs["data"] = body
	}
	return eventOf(attrs)
}

// unescape returns the JSON string of a header's value.
func (b Binding) unescape(value string) json.RawMessage {
	if b.PercentEncode {
		if plain, err := url.PathUnescape(value); err == nil {
			value = plain
		}
	}
	return appendQuoted(nil, value)
}

func eventOf(attrs map[string]json.RawMessage) (Event, error) {
	text := func(name string) string {
		var s string
		_ = json.Unmarshal(attrs[name], &s) // absent is empty
		return s
	}
	e := Event{
		ID: text("id"), Source: text("source"), Type: text("type"), Subject: text("subject"), Data: attrs["data"],
	}
	if text("specversion") != specVersion || e.ID == "" || e.Source == "" {
		return Event{}, errNotAnEvent
	}
	if name, ok := strings.CutPrefix(text("dataschema"), schemaPrefix); ok {
		e.Schema, _, _ = strings.Cut(name, ":")
	}
	if t, err := time.Parse(time.RFC3339Nano, text("time")); err == nil {
		e.Time = t
	}
	for _, name := range extensionNames {
		if value := attrs[name]; value != nil {
			e.Extensions = append(e.Extensions, Extension{name, extensionValue(name, value)})
		}
	}
	switch {
	case e.Type == TypeMessage && attrs[deadLetterReason] != nil:
		e.Class = ClassDeadLetter
	case e.Type == TypeMessage:
		e.Class = ClassMessage
	case strings.HasPrefix(e.Type, "net.pushover.emergency."), strings.HasPrefix(e.Type, "net.pushover.command."):
		e.Class = ClassResult
	default:
		return Event{}, fmt.Errorf("%w of a connector: type %q", errNotAnEvent, e.Type)
	}
	return e, nil
}

// extensionNames are those that events of ours have, in the order in which they
// are encoded.
var extensionNames = []string{
	deadLetterReason, "sequence", "severitytext", severityNumber, "expirytime", "recordedtime", "causationid", correlationID,
}

// correlationID is the receipt of the emergency that an event belongs to.
const correlationID = "correlationid"

// severityNumber is the one extension that is a number. Headers do not show types.
const severityNumber = "severitynumber"

func extensionValue(name string, value json.RawMessage) any {
	var s string
	if json.Unmarshal(value, &s) != nil {
		s = string(value)
	}
	if n, err := strconv.ParseInt(s, 10, 32); err == nil && name == severityNumber {
		return int32(n)
	}
	return s
}

// ResultOf reads the result that a result event carries, and reports whether it
// answers the command with this id: the place of the command on the bus, see
// [Command.ID]. A sender's own id proves nothing, since others may use the same.
func ResultOf(e Event, commandID string) (Result, bool) {
	if e.Class != ClassResult || !strings.HasPrefix(e.ID, commandID+"@") {
		return Result{}, false
	}
	var r Result
	if err := json.Unmarshal(e.Data, &r); err != nil {
		return Result{}, false
	}
	return r, true
}

package connector

import (
	"encoding/json"
	"fmt"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// deadLetters makes the letters that stand in for refused events, smaller from
// one form to the next.
type deadLetters struct {
	device  string
	message pushover.MessageID // whose event was refused last
	refused Event              // that event
	form    int                // of its next letter
}

// next returns the letter to publish in place of e, which the bus refused. It
// returns false when the last form was refused too.
func (l *deadLetters) next(e Event, m pushover.Message, reason error) (Event, bool, error) {
	if l.form == 0 || l.message != m.ID {
		l.message, l.refused, l.form = m.ID, e, 0
	}
	if l.form == deadLetterForms {
		return Event{}, false, nil
	}
	letter, err := deadLetter(l.refused, m, l.device, reason, l.form)
	l.form++
	return letter, true, err
}

// deadLetterReason is the extension that says why a message is a dead letter.
const deadLetterReason = "deadletterreason"

// deadLetter returns what is published in place of an event that the bus will
// not take. A bus mostly refuses size, so each form is smaller than the one
// before: without raw, then without the text.
func deadLetter(e Event, m pushover.Message, device string, reason error, form int) (Event, error) {
	m = readable(m)
	data := map[string]any{
		"id": m.ID.String(), "device": device, "app": truncate(m.App, 200),
		"priority": int(clampPriority(m.Priority)), "priority_name": clampPriority(m.Priority).String(),
		"size": len(e.Data),
	}
	if m.Receipt != "" {
		data["receipt"] = string(m.Receipt)
	}
	if sent := rfc3339(m.Sent); sent != "" {
		data["sent_at"] = sent
	}
	if form == 0 {
		data["title"], data["message"] = truncate(m.Title, 1000), truncate(m.Text, 4000)
	}
	encoded, err := json.Marshal(data)
	if err != nil {
		return Event{}, fmt.Errorf("encode dead letter %s: %w", m.ID, err)
	}
	d := e
	d.Class, d.Route, d.Data, d.Schema = ClassDeadLetter, []string{"deadletter"}, encoded, SchemaDeadLetter
	d.Subject = truncate(e.Subject, 200)
	d.Extensions = append([]Extension{{deadLetterReason, truncate(reason.Error(), 300)}}, e.Extensions...)
	return d, nil
}

// deadLetterForms is how many forms deadLetter knows.
const deadLetterForms = 2

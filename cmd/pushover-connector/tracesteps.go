package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/pushover-connector/pushover-connector/cmd/internal/eventline"
	"github.com/pushover-connector/pushover-connector/connector"
)

// A step is one thing that happened to a message.
type step struct {
	at    time.Time // zero if that is not known
	order time.Time // its place among the others
	what  string
	text  string
}

// printTrace prints in the order of time what the events say, and what the
// running connector adds: asked is why it could not be asked.
func printTrace(w io.Writer, found []connector.Stored, s connector.Status, asked error, now time.Time) {
	var steps []step
	for _, e := range found {
		if e.Class == connector.ClassResult {
			steps = append(steps, resultStep(e))
			continue
		}
		if len(steps) == 0 {
			d := eventline.DataOf(e)
			fmt.Fprintf(w, "%s message from %q to device %s\n", eventline.Printable(d.Priority), eventline.Printable(d.App), eventline.Printable(d.Device))
		}
		steps = append(steps, messageSteps(e, cleared(eventline.DataOf(e).ID, s, asked))...)
	}
	slices.SortStableFunc(steps, func(a, b step) int { return a.order.Compare(b.order) })
	for _, step := range steps {
		at := ""
		if !step.at.IsZero() {
			at = step.at.Local().Format("2006-01-02 15:04:05.000")
		}
		fmt.Fprintf(w, "%-23s  %-12s  %s\n", at, step.what, step.text)
	}
	for _, o := range s.Emergencies.Outstanding {
		if slices.ContainsFunc(found, func(e connector.Stored) bool { return eventline.DataOf(e).Receipt == o.Receipt }) {
			fmt.Fprintf(w, "Outstanding for %s, ends within %s. To acknowledge it: pushover-connector ack %s\n",
				span(now.Sub(o.Since)), span(o.ExpiresBy.Sub(now)), eventline.Printable(o.Receipt))
		}
	}
}

// messageSteps tells the life of one message as its event has it, and cleared.
// The steps stay in their order whatever the clocks of those who noted them say.
func messageSteps(e connector.Stored, cleared string) []step {
	d := eventline.DataOf(e)
	var steps []step
	var order time.Time
	add := func(at time.Time, what, text string) {
		if !at.IsZero() {
			if at.After(order) {
				order = at
			}
			steps = append(steps, step{at, order, what, text})
		}
	}
	id := "message " + eventline.Printable(d.ID)
	add(d.Sent, "sent", id+", by the sender's clock")
	order = time.Time{} // which may be any
	add(d.Queued, "queued", id+" at Pushover")
	downloaded := id
	if d.Acked {
		downloaded += ", acknowledged already"
	}
	if d.Stale {
		downloaded += ", older than an emergency can live"
	}
	if recorded, err := time.Parse(time.RFC3339Nano, extension(e, "recordedtime")); err == nil {
		add(recorded, "downloaded", downloaded)
	}
	what, text := "stored", eventline.Printable(e.Place)
	if d.RepeatOf != "" {
		what, text = "repeat", fmt.Sprintf("stored at %s; of message %s", text, eventline.Printable(d.RepeatOf))
	}
	if e.Class == connector.ClassDeadLetter {
		what, text = "refused", fmt.Sprintf("by the bus: %s; a dead letter was stored at %s",
			eventline.Printable(cmp.Or(extension(e, "deadletterreason"), "no reason given")), text)
	}
	if !d.Queued.IsZero() {
		text += fmt.Sprintf(", %v after it was queued", max(0, e.At.Sub(d.Queued)).Round(time.Millisecond))
	}
	add(e.At, what, text)
	return append(steps, step{time.Time{}, order, "cleared", cleared})
}

// cleared says whether a message was deleted on Pushover. Only the running
// connector knows, and only of its last messages.
func cleared(id string, s connector.Status, asked error) string {
	if asked != nil {
		return "not known: no running connector could be asked"
	}
	for _, r := range s.Recent.Events {
		switch {
		case r.ID != id:
		case r.Cleared:
			return "deleted on Pushover"
		default:
			return "not yet deleted on Pushover, which takes a few seconds"
		}
	}
	return fmt.Sprintf("not known: not among the last %d messages of the running connector", len(s.Recent.Events))
}

// resultStep is the end of an acknowledge command.
func resultStep(e connector.Stored) step {
	var r connector.Result
	if err := json.Unmarshal(e.Data, &r); err != nil {
		return step{e.At, e.At, "result", "cannot be read: " + err.Error()}
	}
	text := fmt.Sprintf("by device %s for command %s of %s, calls to Pushover: %d; stored at %s",
		eventline.Printable(r.Device), eventline.Printable(r.CommandID), r.CommandedAt.Local().Format(time.DateTime), r.Attempts, eventline.Printable(e.Place))
	if r.Reason != "" {
		text = eventline.Printable(r.Reason) + "; " + text
	}
	return step{e.At, e.At, eventline.Printable(string(r.Status)), text}
}

func extension(e connector.Stored, name string) string {
	for _, x := range e.Extensions {
		if text, ok := x.Value.(string); ok && x.Name == name {
			return text
		}
	}
	return ""
}

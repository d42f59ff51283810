// Package eventline shows events of the log to a person, one line each.
package eventline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Data is what is shown of an event's data. Message and result have different
// fields; what the event does not have is empty.
type Data struct {
	ID       string    `json:"id"`
	Device   string    `json:"device"`
	App      string    `json:"app"`
	Title    string    `json:"title"`
	Message  string    `json:"message"`
	Text     string    `json:"text"` // the message without markup, if it has some
	Priority string    `json:"priority_name"`
	Receipt  string    `json:"receipt"`
	Acked    bool      `json:"acked"`
	Stale    bool      `json:"stale"`
	RepeatOf string    `json:"repeat_of"`
	Sent     time.Time `json:"sent_at"`
	Queued   time.Time `json:"queued_at"`

	Command string `json:"command"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
}

// DataOf reads an event's data. What cannot be read stays empty: an event of
// another version is shown as far as it is understood.
func DataOf(e connector.Stored) Data {
	var d Data
	_ = json.Unmarshal(e.Data, &d)
	return d
}

// Of returns an event as one line, without a line break, that cannot steer a
// terminal: local time, priority, application, title and text of a message, or
// the outcome of a command.
func Of(e connector.Stored) string {
	d := DataOf(e)
	if e.Class == connector.ClassResult {
		return resultLine(e, d)
	}
	at := d.Queued // when the service had it: what waited is stored much later
	if at.IsZero() || d.RepeatOf != "" {
		at = e.At
	}
	text := Printable(cmp.Or(d.Text, d.Message))
	if title := Printable(d.Title); title != "" {
		text = title + ": " + text
	}
	line := row(at, d.Priority, Printable(d.App)+"  "+text)
	if d.Receipt != "" {
		line += "  [" + Printable(d.Receipt) + "]"
	}
	if marks := marksOf(e, d); len(marks) > 0 {
		line += "  (" + strings.Join(marks, ", ") + ")"
	}
	return line
}

func row(at time.Time, what, text string) string {
	return fmt.Sprintf("%s  %-9s  %s", at.Local().Format(time.DateTime), Printable(what), text)
}

func resultLine(e connector.Stored, d Data) string {
	text := Printable(d.Status) + " by device " + Printable(d.Device)
	switch {
	case d.Receipt != "":
		text += "  [" + Printable(d.Receipt) + "]"
	case d.Command != "":
		text = Printable(d.Command) + " " + text
	}
	if d.Reason != "" {
		text += "  (" + Printable(d.Reason) + ")"
	}
	return row(e.At, "result", text)
}

func marksOf(e connector.Stored, d Data) []string {
	var marks []string
	mark := func(is bool, text string) {
		if is {
			marks = append(marks, text)
		}
	}
	mark(e.Class == connector.ClassDeadLetter, "dead letter")
	mark(d.Acked, "acknowledged")
	mark(d.Stale, "stale")
	mark(d.RepeatOf != "", "repeat of "+Printable(d.RepeatOf))
	return marks
}

// Printable returns text that strangers wrote as one line that cannot steer a
// terminal: white space becomes one blank, and what is invisible (escape
// sequences, overrides of the writing direction) is shown as an escape.
func Printable(s string) string {
	var b strings.Builder
	for _, r := range strings.Join(strings.Fields(s), " ") {
		// U+200D joins emoji and steers nothing.
		if unicode.IsPrint(r) || r == '\u200d' {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}

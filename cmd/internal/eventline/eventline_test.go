package eventline_test

import (
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/cmd/internal/eventline"
	"github.com/pushover-connector/pushover-connector/connector"
)

func TestPrintableCannotSteerATerminal(t *testing.T) {
	for text, want := range map[string]string{
		"Wärme über 80 °C 🔥":          "Wärme über 80 °C 🔥",
		"two\nlines\tand\r\n more":    "two lines and more",
		"\x1b[2J\x1b]0;title\a":       `\x1b[2J\x1b]0;title\a`,
		"abc\u202edcba":               `abc\u202edcba`,
		"c1 \u009b31m":                `c1 \u009b31m`,
		"👩\u200d🚒":                    "👩\u200d🚒",
		"bad \xff utf-8":              "bad \ufffd utf-8",
		"hidden \u2066x\u2069 \ufeff": `hidden \u2066x\u2069 \ufeff`,
	} {
		if got := eventline.Printable(text); got != want {
			t.Errorf("Printable(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestOf(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.Local)
	for _, c := range []struct {
		class connector.Class
		data  string
		want  string
	}{
		{
			connector.ClassMessage,
			`{"id":"2","app":"Keller","title":"Wasser\u001b[2J","message":"auf\ndem Boden","priority_name":"emergency",` +
				`"receipt":"r","acked":true,"stale":true,"repeat_of":"1"}`,
			`emergency  Keller  Wasser\x1b[2J: auf dem Boden  [r]  (acknowledged, stale, repeat of 1)`,
		},
		{ // a repeat is not as old as the emergency
			connector.ClassMessage, `{"app":"Keller","message":"x","priority_name":"low","repeat_of":"1","queued_at":"2026-11-26T09:00:00Z"}`,
			"low        Keller  x  (repeat of 1)",
		},
		{
			connector.ClassMessage, `{"app":"Keller","message":"<b>x</b>","text":"x","html":true,"priority_name":"low"}`,
			"low        Keller  x",
		},
		{connector.ClassDeadLetter, `{"app":"Keller","message":"x","priority_name":"low"}`, "low        Keller  x  (dead letter)"},
		{connector.ClassResult, `{"receipt":"r","status":"acknowledged","device":"nas-1"}`, "result     acknowledged by device nas-1  [r]"},
		{
			connector.ClassResult, `{"receipt":"r","status":"rejected","reason":"Pushover: no\u001b","device":"nas-1"}`,
			`result     rejected by device nas-1  [r]  (Pushover: no\x1b)`,
		},
		{connector.ClassResult, `{"command":"sync","status":"done","device":"nas-1"}`, "result     sync done by device nas-1"},
		{connector.ClassMessage, `nonsense`, "             "},
	} {
		e := connector.Stored{At: at, Event: connector.Event{Class: c.class, Data: []byte(c.data)}}
		if got, want := eventline.Of(e), "2026-11-26 12:00:00  "+c.want; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

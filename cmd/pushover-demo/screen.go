package main

import (
	"fmt"
	"io"
)

// screen writes the tour: 80 columns at most, colour only where it is wanted.
type screen struct {
	w      io.Writer
	colour bool
}

func newScreen(w io.Writer, colour bool) *screen { return &screen{w, colour} }

// Colours by their ANSI codes.
const (
	bold   = "1"
	faint  = "2"
	green  = "32"
	yellow = "33"
	red    = "31"
)

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) printf(format string, args ...any) { fmt.Fprintf(s.w, format, args...) }

func (s *screen) title() {
	s.printf("%s\nA simulated Pushover, a NATS server and the connector, all in this process.\n", s.paint(bold, "pushover-demo"))
}

func (s *screen) stage(st *stage) {
	s.heading("On stage")
	s.step("pushover", st.simulator.APIURL()+"  (simulated; one account, one device)")
	s.step("nats", st.bus.URL()+"  (embedded; JetStream on disk)")
	s.step("connector", "logged in as device \""+deviceName+"\", listening on the push stream")
	s.step("page", st.page+"  (the connector's status)")
}

func (s *screen) heading(text string) { s.printf("\n%s\n", s.paint(bold, text)) }

func (s *screen) step(what, text string) {
	s.printf("  %s %s %s\n", s.paint(green, "✓"), s.paint(faint, fmt.Sprintf("%-9s", what)), text)
}

func (s *screen) sent(n notice) {
	s.printf("  %s %s %s: %s\n", s.paint(faint, "→"), s.priority(n.name), n.title, n.message)
}

func (s *screen) received(a arrival) {
	s.printf("  %s %s %s: %s\n    %s\n", s.paint(green, "←"), s.priority(a.Data.PriorityName),
		a.Data.Title, a.Data.Message, s.paint(faint, a.subject+"  id "+a.ID))
}

func (s *screen) priority(name string) string {
	padded := fmt.Sprintf("%-9s", name)
	switch name {
	case "emergency":
		return s.paint(red, padded)
	case "high":
		return s.paint(yellow, padded)
	default:
		return padded
	}
}

// yourTurn prints the lines to try things by hand. They stand unbroken, so that
// they can be copied.
func (s *screen) yourTurn(st *stage) {
	account := st.simulator.Account()
	s.heading("Your turn (Ctrl-C ends it)")
	s.printf(`
Look at the status page:

  %[5]s

Send a message from another terminal, and see it arrive here:

  curl -F token=%[3]s \
       -F user=%[4]s \
       -F message=Hello %[2]s/1/messages.json

Send an emergency:

  curl -F token=%[3]s \
       -F user=%[4]s \
       -F priority=2 -F retry=60 -F expire=3600 \
       -F message=Fire %[2]s/1/messages.json

Acknowledge it with the connector's own commands; "emergencies" prints the line:

  go install ./cmd/pushover-connector
  export NATS_URL=%[1]s
  pushover-connector emergencies
  pushover-connector ack RECEIPT

Look at the state, at new events, and at the simulator's complaints:

  pushover-connector status
  pushover-connector tail -f
  curl %[2]s/sim/violations

What arrives from now on:

`, st.bus.URL(), st.simulator.APIURL(), account.AppToken, account.UserKey, st.page)
}

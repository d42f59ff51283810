package examples_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// autoackers are the programs that acknowledge a class of alerts.
var autoackers = map[string]func(t *testing.T, app, title string) []string{
	"Go": func(t *testing.T, app, title string) []string {
		return []string{program(t, "autoack-go"), "-app", app, "-title", title}
	},
	"Python": func(t *testing.T, app, title string) []string {
		return []string{python(t, "nats", "nats-py"), "autoack_nats.py", app, title}
	},
}

// A consumer acknowledges what its rule matches and nothing else, also what
// arrived while it was down. Two of them with different rules leave each other
// their events.
func TestAcknowledgeAClassOfAlerts(t *testing.T) {
	for name, command := range autoackers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two := command(t, "Backup", "^retry [0-9]+ failed"), command(t, "Mail", "^retry")
			w := newWorld(t)
			url, js := w.natsServer()
			w.connect("NATS_URL=" + url)
			send := func(app, title string) string {
				receipt := w.sim.Send(pushovertest.Outgoing{App: app, Title: title, Message: "see the log", Priority: 2}).Receipt
				w.await("the emergency to be on the bus", func(s pushovertest.State) bool { return len(s.Device(device).Queue) == 0 })
				return receipt
			}
			want := map[string]string{ // by whom
				send("Backup", "retry 1 failed"): device, send("Mail", "retry 1 failed"): device,
				send("Cellar", "retry 1 failed"): "", send("Backup", "disk on fire"): "",
			}
			for range 2 { // of a kind that share the work
				w.background([]string{"NATS_URL=" + url}, one[0], one[1:]...)
			}
			w.background([]string{"NATS_URL=" + url}, two[0], two[1:]...)
			for range 3 {
				want[send("Backup", "retry 2 failed")] = device
				want[send("Mail", "retry 2 failed")] = device
			}
			w.await("the matching emergencies to be acknowledged", func(s pushovertest.State) bool {
				for receipt, by := range want {
					if by != "" && !s.Receipt(receipt).Acknowledged {
						return false
					}
				}
				return true
			})
			w.wantConsumed(js, 2, 8)
			for receipt, by := range want {
				if state, _ := w.sim.Receipt(receipt); state.AcknowledgedByDevice != by {
					t.Errorf("emergency %s was acknowledged by %q, want %q", receipt, state.AcknowledgedByDevice, by)
				}
			}
		})
	}
}

// What is over is left alone, and one emergency gets one command, however often
// its event comes.
func TestOnlyABurningEmergencyIsActedOn(t *testing.T) {
	for name, command := range autoackers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := command(t, "Backup", "^retry")
			w := newWorld(t)
			url, js := w.natsServer()
			w.connect("NATS_URL=" + url)
			now, old := time.Now(), time.Now().Add(-4*time.Hour)
			for i, event := range []struct {
				more     string
				receipt  byte
				recorded time.Time
			}{
				{`"acked":true`, 'a', now},
				{`"acked":false,"stale":true`, 'b', now},
				{`"acked":false,"repeat_of":"1"`, 'c', now},
				{`"acked":false`, 'd', old},
				{`"acked":false`, 'e', now},
				{`"acked":false`, 'e', now},
			} {
				body := fmt.Sprintf(`{"id":"%d","recordedtime":%q,"data":{"id":"%[1]d","app":"Backup","title":"retry","receipt":%[3]q,%[4]s}}`,
					i+100, event.recorded.UTC().Format(time.RFC3339Nano), strings.Repeat(string(event.receipt), 30), event.more)
				if _, err := js.Publish(w.within(), "pushover.messages.emergency.backup", []byte(body)); err != nil {
					t.Fatal(err)
				}
			}
			w.background([]string{"NATS_URL=" + url}, args[0], args[1:]...)
			w.wantConsumed(js, 1, 1)
			stream, err := js.Stream(w.within(), "PUSHOVER_CONTROL")
			if err != nil {
				t.Fatal(err)
			}
			m, err := stream.GetLastMsgForSubject(w.within(), "pushover.control.ack")
			if err != nil {
				t.Fatal(err)
			}
			var got, want struct{ Receipt, ID string }
			want.Receipt, want.ID = strings.Repeat("e", 30), "autoack-104"
			if err := json.Unmarshal(m.Data, &got); err != nil || got != want {
				t.Errorf("the command is %s (%v), want %+v", m.Data, err, want)
			}
		})
	}
}

// wantConsumed waits until so many consumers of the examples have settled every
// event, so that none comes again at their next start, and looks for the commands
// that they have published.
func (w *world) wantConsumed(js jetstream.JetStream, consumers int, commands uint64) {
	w.t.Helper()
	events, err := js.Stream(w.within(), "PUSHOVER")
	if err != nil {
		w.t.Fatal(err)
	}
	settled := func() bool {
		n := 0
		list := events.ListConsumers(w.within())
		for info := range list.Info() {
			if strings.HasPrefix(info.Name, "autoack-") && info.NumPending == 0 && info.NumAckPending == 0 && info.Delivered.Consumer > 0 {
				if info.Config.InactiveThreshold != 30*24*time.Hour {
					w.t.Errorf("consumer %s is forgotten after %v", info.Name, info.Config.InactiveThreshold)
				}
				n++
			}
		}
		if err := list.Err(); err != nil {
			w.t.Fatal(err)
		}
		return n == consumers
	}
	w.eventually("all events to be settled", settled)
	stream, err := js.Stream(w.within(), "PUSHOVER_CONTROL")
	if err != nil {
		w.t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != commands {
		w.t.Errorf("%d commands were published, want %d", got, commands)
	}
}

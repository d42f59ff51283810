package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// ackCommands is how many emergencies and commands each proof uses.
const ackCommands = 100

// The forms a command may have, in turn.
func commandFor(i int, receipt string) []byte {
	if i%2 == 0 {
		return []byte(receipt)
	}
	return fmt.Appendf(nil, `{"command":"ack","receipt":%q,"id":%q}`, receipt, commandID("command", i))
}

func TestCommandsSentWhileTheConnectorIsDownAreAllCarriedOut(t *testing.T) {
	t.Parallel()
	w := newAckWorld(t)
	w.emergencies(ackCommands)
	for i, receipt := range w.receipts {
		w.command(commandFor(i, receipt))
	}
	if by := w.acknowledgedBy(w.receipts[0]); by != "" {
		t.Fatalf("acknowledged by %q although the connector is down", by)
	}
	d := w.start(w.nats.ClientURL())
	w.awaitSettled()
	d.stop()
	w.wantAcknowledged(ackCommands, 1)
}

func TestEachOfThreeEqualCommandsHasItsResultButPushoverHearsOne(t *testing.T) {
	t.Parallel()
	w := newAckWorld(t)
	w.emergencies(ackCommands)
	for range 3 {
		for _, receipt := range w.receipts {
			w.command([]byte(receipt))
		}
	}
	d := w.start(w.nats.ClientURL())
	w.awaitSettled()
	d.stop()
	w.wantAcknowledged(3*ackCommands, 1)
	if n := w.sim.Requests("POST acknowledge"); n != ackCommands {
		t.Errorf("%d calls to Pushover for %d commands, want %d: one per receipt", n, 3*ackCommands, ackCommands)
	}
}

// An outage of Pushover's is waited out. A whole minute of it passes in
// [TestCommandsOutlastAMinuteOfOutage], in virtual time.
func TestCommandsOutlastAnOutageOfPushover(t *testing.T) {
	t.Parallel()
	w := newAckWorld(t)
	w.emergencies(ackCommands)
	for i, receipt := range w.receipts {
		w.command(commandFor(i, receipt))
	}
	d := w.start(w.nats.ClientURL())
	w.sim.Fault(pushovertest.Fault{On: "POST acknowledge", Status: http.StatusServiceUnavailable, For: 12 * time.Second})
	w.awaitSettled()
	d.stop()
	w.wantAcknowledged(ackCommands, 1)
}

// Wherever kill -9 falls between Pushover's acknowledgement and the bus's, the
// command is carried out again and its result is there once.
func TestKillBetweenTheCallAndTheSettlementLeavesOneResult(t *testing.T) {
	t.Parallel()
	const before = 40 // commands that end in the ordinary way
	for _, test := range []struct {
		name string

		// prepare returns where the program finds NATS, and what waits until it is
		// in the middle of the moment.
		prepare func(*testing.T, *ackWorld) (url string, reached func())
	}{
		{"before Pushover's answer has come", func(t *testing.T, w *ackWorld) (string, func()) {
			w.sim.Fault(pushovertest.Fault{On: "POST acknowledge", Drop: "stall", Skip: before})
			return w.nats.ClientURL(), func() {
				err := w.sim.Wait(w.within(), func(s pushovertest.State) bool {
					return acknowledged(s) > before && s.Requests["POST acknowledge"] > before
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"before the bus's confirmation of the result has come", func(t *testing.T, w *ackWorld) (string, func()) {
			g := openGate(t, w.nats.Addr().String(), "PUB pushover.results.", before, true)
			return g.url(), func() {
				<-g.hit
				w.eventually("the result to be stored", func() bool { return len(w.stored("pushover.results.>")) > before })
			}
		}},
		{"before the command was settled", func(t *testing.T, w *ackWorld) (string, func()) {
			g := openGate(t, w.nats.Addr().String(), "\r\n+ACK\r\n", before, false)
			return g.url(), func() { <-g.hit }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newAckWorld(t)
			w.emergencies(ackCommands)
			for i, receipt := range w.receipts {
				w.command(commandFor(i, receipt))
			}
			url, reached := test.prepare(t, w)
			d := w.start(url)
			reached()
			d.kill()
			if done, settled := acknowledged(w.sim.State()), ackCommands-w.unsettled(); done <= settled {
				t.Errorf("%d emergencies acknowledged and %d commands settled at the kill, want more acknowledged", done, settled)
			}
			w.sim.ClearFaults()
			d = w.start(w.nats.ClientURL())
			w.awaitSettled()
			d.stop()
			w.wantAcknowledged(ackCommands, 2)
			if w.calledTwice() == 0 {
				t.Error("no command was carried out again: the kill missed its moment")
			}
		})
	}
}

func acknowledged(s pushovertest.State) int {
	n := 0
	for _, r := range s.Receipts {
		if r.Acknowledged {
			n++
		}
	}
	return n
}

// What is not a command is rejected with a reason, marked as poison on the bus with
// the same reason, and never reaches Pushover.
func TestGarbageOnTheControlSubjectIsRejectedWithoutARequest(t *testing.T) {
	t.Parallel()
	w := newAckWorld(t)
	w.emergencies(1)
	receipt := w.receipts[0]
	garbage := []string{
		"", " \r\n", strings.Repeat("x", 1<<20), "\xff\xfe\xfd" + receipt[3:], "\x00",
		receipt[:29], receipt + "x", receipt[:14] + "/" + receipt[15:], "../../1/messages.json/////////",
		"[]", "[" + receipt + "]", "{", "null", "17", "true", `{}`, `{"receipt":17}`, `{"receipt":null}`, `{"receipt":{"id":"x"}}`,
		`{"receipt":""}`, fmt.Sprintf(`{"receipt":%q}`, receipt[:29]), fmt.Sprintf(`{"receipt":%q}`, receipt+"x"),
		fmt.Sprintf(`{"receipt":%q} {}`, receipt), fmt.Sprintf(`{"command":"delete","receipt":%q}`, receipt),
		fmt.Sprintf(`{"data":{"receipt":%q}}`, receipt), `{"specversion":"1.0","id":"1","data":{"message":"hello"}}`,
	}
	for _, body := range garbage {
		w.command([]byte(body))
	}
	terminated, err := w.nc.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.PUSHOVER_CONTROL.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	d := w.start(w.nats.ClientURL())
	reasons := map[string]string{} // by the command's place on the bus
	for range garbage {
		place, reason := advisory(t, terminated)
		reasons[place] = reason
	}
	w.awaitSettled()
	d.stop()

	results := w.stored("pushover.results.>")
	if len(results) != len(garbage) || len(reasons) != len(garbage) {
		t.Errorf("%d results and %d terminated commands of %d pieces of garbage", len(results), len(reasons), len(garbage))
	}
	for _, e := range results {
		r := e.Data
		if e.Subject != "pushover.results.rejected" || r.Status != connector.StatusRejected || r.Reason == "" || r.Attempts != 0 || r.Receipt != "" {
			t.Errorf("result on %s is %+v, want rejected with a reason, without a call", e.Subject, r)
		}
		place, _, _ := strings.Cut(e.ID, "@")
		if reasons[place] != r.Reason {
			t.Errorf("command %s was terminated because of %q, its result says %q", place, reasons[place], r.Reason)
		}
		if len(r.Reason) > 200 {
			t.Errorf("a reason of %d bytes repeats the garbage", len(r.Reason))
		}
	}
	if n := w.sim.Requests("POST acknowledge") + w.sim.Requests("unknown"); n != 0 {
		t.Errorf("garbage caused %d requests, want none", n)
	}
	if by := w.acknowledgedBy(receipt); by != "" {
		t.Errorf("garbage acknowledged an emergency in the name of %s", by)
	}
	w.wantManners()
}

// advisory returns what the next advisory says about a command that the program
// has terminated: which one, and why.
func advisory(t *testing.T, s *nats.Subscription) (place, reason string) {
	t.Helper()
	m, err := s.NextMsg(patience)
	if err != nil {
		t.Fatalf("waiting for an advisory: %v", err)
	}
	var said struct {
		Stream   string `json:"stream"`
		Sequence uint64 `json:"stream_seq"`
		Consumer string `json:"consumer"`
		Reason   string `json:"reason"`
	}
	if err := json.Unmarshal(m.Data, &said); err != nil || said.Consumer != "pushover-connector" || said.Reason == "" {
		t.Errorf("advisory %s: %v, want the consumer and the reason", m.Data, err)
	}
	return fmt.Sprintf("%s#%d", said.Stream, said.Sequence), said.Reason
}

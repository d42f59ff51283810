package connector_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

func TestEncodedEventsDecodeToThemselves(t *testing.T) {
	sent := time.Date(2026, 11, 26, 1, 2, 3, 0, time.UTC)
	m := pushover.Message{ID: 1175816417220301065, App: "Wärme & \"Söhne\" 100%", Text: "text", Sent: sent, Expires: sent, Priority: 2, Receipt: "r"}
	message, err := connector.MessageEvent("nas-1", m, "", sent)
	if err != nil {
		t.Fatal(err)
	}
	letter, err := connector.DeadLetter(message, m, "nas-1", connector.ErrRejected, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := connector.Command{ID: "C#1", Time: sent}
	result, err := connector.ResultEvent(cmd, connector.Result{Device: "nas-1", Status: connector.StatusAcknowledged, Receipt: "r", CommandID: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]connector.Binding{"nats": likeNATS, "kafka": likeKafka} {
		for _, mode := range []connector.Mode{connector.ModeStructured, connector.ModeBinary} {
			for _, want := range []connector.Event{message, letter, result} {
				headers, body, err := want.Encode(mode, b)
				if err != nil {
					t.Fatal(err)
				}
				got, err := b.Decode(func(name string) string {
					for _, h := range headers {
						if h.Name == name {
							return h.Value
						}
					}
					return ""
				}, body)
				if err != nil {
					t.Errorf("%s %s %s: %v", name, mode, want.Class, err)
					continue
				}
				want.Route, want.Key = nil, ""
				if diff := cmp.Diff(got, want); diff != "" {
					t.Errorf("%s %s %s: decoded (-got +want):\n%s", name, mode, want.Class, diff)
				}
			}
		}
	}
	if r, ok := connector.ResultOf(result, "C#1"); !ok || r.Status != connector.StatusAcknowledged {
		t.Errorf("the result of C#1 is %+v, %v; want acknowledged", r, ok)
	}
	if _, ok := connector.ResultOf(result, "C#"); ok {
		t.Error("a result is taken for that of another command whose id is a prefix")
	}
	if _, err := likeNATS.Decode(func(string) string { return "" }, bytes.Repeat([]byte("x"), 10)); err == nil {
		t.Error("a record that is not an event was decoded")
	}
}

package connector_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

// Whatever a sender writes, the event is JSON in valid UTF-8 on one line, and
// its text is what was sent.
func FuzzMessageEvent(f *testing.F) {
	f.Add("grafana", "Disk", "full", []byte(`{"id":7}`))
	f.Add("", "\x00\x1f\"\\", "<b>&amp;</b>\u2028\x7f", []byte("{\"a\" :\n[1,\t2],\r\n \"b\":\"\xff\"}"))
	f.Add("Z\u00fcrich", "\xed\xa0\x80", "\xff\xfe", []byte(`{"device_id" : "x", "deep":{"secret":":"}}`))
	f.Add("a", "b", "c", []byte(`{"s\u0065cret":1,"id":2}`))
	f.Fuzz(func(t *testing.T, app, title, text string, raw []byte) {
		if !json.Valid(raw) || !bytes.HasPrefix(raw, []byte("{")) {
			raw = []byte("{}")
		}
		m := pushover.Message{ID: 7, App: app, Title: title, Text: text, URL: text, Raw: raw}
		e, err := connector.MessageEvent("nas", m, "", time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		_, body, err := e.Encode(connector.ModeStructured, likeNATS)
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(body) || bytes.ContainsAny(body, "\n\r") {
			t.Errorf("not one line of UTF-8: %q", body)
		}
		var got struct {
			Data struct {
				App, Title, Message, URL string
				Raw                      map[string]any
			}
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatalf("%v in %q", err, body)
		}
		for name, pair := range map[string][2]string{
			"app": {got.Data.App, app}, "title": {got.Data.Title, title},
			"message": {got.Data.Message, text}, "url": {got.Data.URL, text},
		} {
			if want := strings.ReplaceAll(string([]rune(pair[1])), "\x00", "\uFFFD"); pair[0] != want {
				t.Errorf("%s: got %q, want %q", name, pair[0], want)
			}
		}
		for _, name := range []string{"secret", "device_id", "device_uuid", "password", "twofa"} {
			if v, ok := got.Data.Raw[name]; ok {
				t.Errorf("raw has %s: %v", name, v)
			}
		}
	})
}

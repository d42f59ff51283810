package pushover_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// FuzzMessageList holds the decoder of downloads against encoding/json: it
// accepts the same documents, and finds the same messages, texts and ids.
func FuzzMessageList(f *testing.F) {
	for _, seed := range []string{
		list(fullMessage), list(), list(`{"id":1}`, `{"id":2,"title":"\ud83d\u0041\ud83d"}`),
		`{"status":1,"request":"5f1e","messages":[{"id":1,"umid":2,"message":"Welcome to Pushover!","app":"Pushover","aid":1,` +
			`"icon":"pushover","date":1409600000,"priority":0,"acked":0}],"user":{"quiet_hours":false,"is_desktop_licensed":true},` +
			`"device":{"name":"nas-1","encryption_enabled":false}}`,
		`{"status":0,"request":"7c0a","secret":"invalid","errors":["secret is invalid"]}`,
		`{"errors":{"name":["has already been taken"]},"status":0,"request":"x"}`,
		`{"status":1,"messages":[{"id":12345678901234567890}]}`, "<html>", `{"messages":[{"id":1,"x":[[{}],-0.0E+1]}`, "\xff",
		list("{\"id\":1,\"title\":\"\xff\xfe\"}"),
		`{"status":1,"messages":[{"id":7,"id_str":5}]}`, `{"status":1,"messages":[],"message\u0073":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := pushover.ReadBatch(bytes.NewReader(doc), 1<<30, 1<<30)
		var oracle struct {
			Messages []json.RawMessage `json:"messages"`
		}
		members := make(map[string]json.RawMessage)
		oracleErr := json.Unmarshal(doc, &members)
		if err == nil && oracleErr != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", oracleErr)
		}
		if oracleErr == nil {
			oracleErr = json.Unmarshal(members["messages"], &oracle.Messages)
		}
		if err != nil {
			if oracleErr == nil && allHaveIDs(oracle.Messages) && string(members["status"]) == "1" &&
				listsIn(doc) == 1 && !deep(doc) && !errors.Is(err, pushover.ErrTooLarge) {
				t.Fatalf("refused what encoding/json accepts: %v", err)
			}
			return
		}
		for _, m := range got.Messages {
			compareWithOracle(t, m)
		}
	})
}

// listsIn counts the members of that name, however it is escaped: encoding/json
// takes the last of several, which are refused here.
func listsIn(doc []byte) (n int) {
	d := json.NewDecoder(bytes.NewReader(doc))
	_, _ = d.Token() // the brace; doc is an object
	for d.More() {
		name, _ := d.Token()
		if name == "messages" {
			n++
		}
		var skipped json.RawMessage
		if d.Decode(&skipped) != nil {
			return n
		}
	}
	return n
}

// deep says that brackets nest deeper than is accepted, or may.
func deep(doc []byte) bool { return bytes.Count(doc, []byte("["))+bytes.Count(doc, []byte("{")) > 150 }

func allHaveIDs(messages []json.RawMessage) bool {
	for _, raw := range messages {
		m := make(map[string]json.RawMessage)
		if json.Unmarshal(raw, &m) != nil || m == nil {
			return false
		}
		var id int64
		if json.Unmarshal(m["id"], &id) != nil || id <= 0 || string(m["id"]) == "null" {
			return false
		}
	}
	return true
}

func compareWithOracle(t *testing.T, m pushover.Message) {
	want := make(map[string]any)
	d := json.NewDecoder(bytes.NewReader(m.Raw))
	d.UseNumber()
	if err := d.Decode(&want); err != nil {
		t.Fatalf("Raw %q is not an object: %v", m.Raw, err)
	}
	for name, got := range map[string]string{
		"app": m.App, "title": m.Title, "message": m.Text, "icon": m.Icon, "sound": m.Sound, "url": m.URL,
		"url_title": m.URLTitle, "receipt": string(m.Receipt),
	} {
		switch v := want[name].(type) {
		case string:
			if got != v {
				t.Errorf("%s of %q: got %q, want %q", name, m.Raw, got, v)
			}
		case json.Number:
			if got != v.String() {
				t.Errorf("%s of %q: got %q, want %q", name, m.Raw, got, v)
			}
		default:
			if got != "" {
				t.Errorf("%s of %q: got %q, want nothing", name, m.Raw, got)
			}
		}
	}
	for _, name := range []string{"id_str", "id"} {
		var digits string
		switch v := want[name].(type) {
		case string:
			digits = v
		case json.Number:
			digits = v.String()
		}
		if id, err := pushover.ParseMessageID(digits); err == nil {
			if m.ID != id {
				t.Errorf("id of %q: got %s, want %s", m.Raw, m.ID, id)
			}
			return
		}
	}
	t.Errorf("id of %q: got %s, where there is none", m.Raw, m.ID)
}

package pushover_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/pushover"
)

func decode(t *testing.T, doc string) *pushover.Batch {
	t.Helper()
	b, err := pushover.ReadBatch(strings.NewReader(doc), 5000, 8<<20)
	if err != nil {
		t.Fatalf("%.300s: %v", doc, err)
	}
	return b
}

func list(messages ...string) string {
	return `{"status":1,"messages":[` + strings.Join(messages, ",") + `]}`
}

const fullMessage = `{"id":380698801670733800,"id_str":"380698801670733827","umid":502550228871720100,` +
	`"umid_str":"502550228871720147","title":"Backup \"nas-1\"","message":"42 files \u2714\n\ud83d\ude00","app":"Backup",` +
	`"aid":1234567890123456700,"aid_str":"1234567890123456789","icon":"k2a9x0q4v7b1c3d","date":1700000000,` +
	`"queued_date":1700000001,"dispatched_date":1700000002,"expiration_date":1700003600,"priority":2,"sound":"po",` +
	`"url":"tel:+123","url_title":"call","html":1,"monospace":0,"acked":0,"receipt":"rAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",` +
	`"subscription":7,"subscription_str":"77","encrypted":1,"new_member":{"a":[1,2.5e3,null]}}`

func TestEveryFieldOfAMessageIsDecoded(t *testing.T) {
	got := decode(t, list(fullMessage)).Messages
	want := []pushover.Message{{
		ID: 380698801670733827, UMID: 502550228871720147, AppID: 1234567890123456789,
		App: "Backup", Title: `Backup "nas-1"`, Text: "42 files ✔\n😀", Icon: "k2a9x0q4v7b1c3d", Sound: "po",
		URL: "tel:+123", URLTitle: "call",
		Sent: time.Unix(1700000000, 0).UTC(), Queued: time.Unix(1700000001, 0).UTC(),
		Dispatched: time.Unix(1700000002, 0).UTC(), Expires: time.Unix(1700003600, 0).UTC(),
		Priority: pushover.PriorityEmergency, HTML: true, Encrypted: true,
		Receipt: "rAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Subscription: "77", Raw: json.RawMessage(fullMessage),
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("message (-want +got):\n%s", d)
	}
}

func TestUserAndDeviceAreDecodedAndMayBeMissing(t *testing.T) {
	b := decode(t, `{"user":{"quiet_hours":true,"quick_quiet_until":1700000000,"is_android_licensed":true,`+
		`"is_desktop_licensed":false,"is_ios_licensed":null,"email":"me@example.org","created_at":1409600000,`+
		`"first_email_alias":"abc123","show_tipjar":"1"},"device":{"name":"nas-1","eid":"e","encryption_enabled":false,`+
		`"default_sound":"po","always_use_default_sound":true,"default_high_priority_sound":"si",`+
		`"always_use_default_high_priority_sound":1,"dismissal_sync_enabled":"1"},"sounds":{"po":"Pushover","x":5},`+
		`"messages":[],"request":"r","status":1,"unknown":{"a":1}}`)
	yes, no := true, false
	want := &pushover.Batch{
		User: pushover.User{
			QuietHours: true, QuietUntil: time.Unix(1700000000, 0).UTC(), AndroidLicensed: &yes, DesktopLicensed: &no,
			Created: time.Unix(1409600000, 0).UTC(), Email: "me@example.org", EmailAlias: "abc123",
		},
		Device: pushover.Device{
			Name: "nas-1", EID: "e", DefaultSound: "po", AlwaysUseDefaultSound: true, DefaultHighPrioritySound: "si",
			AlwaysUseDefaultHighPrioritySound: true, DismissalSync: true,
		},
		Sounds: map[string]string{"po": "Pushover", "x": "5"},
	}
	if d := cmp.Diff(want, b); d != "" {
		t.Errorf("batch (-want +got):\n%s", d)
	}
	for _, doc := range []string{
		`{"status":1,"messages":[]}`, `{"status":"1","messages":null}`, ` { "status" : 1 , "messages" : [ ] } ` + "\n",
		`{"messages":[],"status":1,"user":null,"device":[]}`, `{"messages":[],"status":1,"user":5,"device":"x","sounds":[1]}`,
	} {
		if d := cmp.Diff(&pushover.Batch{}, decode(t, doc)); d != "" {
			t.Errorf("%s (-want +got):\n%s", doc, d)
		}
	}
}

// Odd fields of one message cost nothing but themselves.
func TestOddFieldsCountAsAbsent(t *testing.T) {
	for _, tc := range []struct {
		members string
		want    pushover.Message
	}{
		{`"title":null,"icon":null,"url":null`, pushover.Message{}},
		{`"title":{"a":1},"message":[1],"app":true`, pushover.Message{}},
		{`"title":12,"message":-1.5e3`, pushover.Message{Title: "12", Text: "-1.5e3"}},
		{`"html":"1","monospace":true,"acked":"true","encrypted":2`, pushover.Message{HTML: true, Monospace: true, Acked: true}},
		{`"html":false,"monospace":null,"acked":"0","encrypted":{}`, pushover.Message{}},
		{`"priority":"1"`, pushover.Message{Priority: 1}},
		{`"priority":-2`, pushover.Message{Priority: -2}},
		{`"priority":99`, pushover.Message{Priority: 99}},
		{`"priority":1.5`, pushover.Message{}},
		{`"priority":99999999999999999999`, pushover.Message{}},
		{`"date":"1700000000"`, pushover.Message{Sent: time.Unix(1700000000, 0).UTC()}},
		{`"date":-1`, pushover.Message{Sent: time.Unix(-1, 0).UTC()}},
		{`"date":-9223372036854775807,"queued_date":9223372036854775807,"expiration_date":253402300800`, pushover.Message{}},
		{`"date":1e9,"queued_date":1.5,"dispatched_date":[],"expiration_date":"soon"`, pushover.Message{}},
		{`"date":253402300799`, pushover.Message{Sent: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}},
		{`"subscription":1`, pushover.Message{Subscription: "1"}},
		{`"umid":5,"aid":"1"`, pushover.Message{UMID: 5, AppID: 1}},
		{`"umid":5.5,"umid_str":"x","aid_str":null,"aid":3`, pushover.Message{AppID: 3}},
		{`"title":"a","title":"b"`, pushover.Message{Title: "b"}},
		{`"\u0074itle":"escaped key"`, pushover.Message{Title: "escaped key"}},
		{`"Title":"other case"`, pushover.Message{}},
	} {
		raw := `{"id":7,` + tc.members + `}`
		got := decode(t, list(`{"id_str":"3"}`, raw)).Messages
		tc.want.ID, tc.want.Raw = 7, json.RawMessage(raw)
		if d := cmp.Diff([]pushover.Message{{ID: 3, Raw: json.RawMessage(`{"id_str":"3"}`)}, tc.want}, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", raw, d)
		}
	}
}

func TestIDsAreExactOrRefused(t *testing.T) {
	for members, want := range map[string]pushover.MessageID{
		`"id":1`:                   1,
		`"id":"319"`:               319,
		`"id":380698801670733827`:  380698801670733827,
		`"id":9223372036854775807`: 1<<63 - 1,
		`"id":380698801670733800,"id_str":"380698801670733827"`: 380698801670733827,
		`"id":3.8e17,"id_str":"380698801670733827"`:             380698801670733827,
		`"id":5,"id_str":null`:                                  5,
		`"id":5,"id_str":""`:                                    5,
		`"id":5,"id_str":"five"`:                                5,
		`"id":null`:                                             0,
		`"id":0`:                                                0,
		`"id":-5`:                                               0,
		`"id":1e3`:                                              0,
		`"id":1.0`:                                              0,
		`"id":9223372036854775808`:                              0,
		`"id":true`:                                             0,
		`"id":[5]`:                                              0,
		`"ID":5`:                                                0,
		`"title":"no id"`:                                       0,
	} {
		b, err := pushover.ReadBatch(strings.NewReader(list(`{`+members+`}`)), 10, 1<<20)
		switch {
		case want == 0 && (err == nil || !strings.Contains(err.Error(), "no readable id") || pushover.Retryable(err)):
			t.Errorf("%s: got %v, want an error that names the id and is not retryable", members, err)
		case want != 0 && (err != nil || b.Messages[0].ID != want):
			t.Errorf("%s: got %v, want id %d", members, err, want)
		}
	}
}

func TestWhatIsNoMessageListIsRefused(t *testing.T) {
	deep := strings.Repeat("[", 300) + strings.Repeat("]", 300)
	for name, doc := range map[string]string{
		"empty": "", "space": " \n", "HTML": "<!DOCTYPE html><html></html>", "text": "OK", "list": "[]", "null": "null",
		"cut":         `{"status":1,"messages":[{"id":1},{"id":2`,
		"cut in text": `{"status":1,"messages":[{"id":1,"title":"a`,
		"tail":        list() + "x", "two documents": list() + list(),
		"no list": `{"status":1}`, "list is a text": `{"status":1,"messages":"none"}`,
		"no status": `{"messages":[]}`, "two lists": `{"status":1,"messages":[],"messages":[]}`,
		"trailing comma": list(`{"id":1},`), "no comma": list(`{"id":1}{"id":2}`), "no colon": list(`{"id" 1}`),
		"bad escape": list(`{"id":1,"title":"\x"}`), "control character": list("{\"id\":1,\"title\":\"\n\"}"),
		"bad number": list(`{"id":01}`), "bad literal": list(`{"id":1,"x":nul}`), "too deep": list(`{"id":1,"x":` + deep + `}`),
		"mismatched": list(`{"id":1,"x":[}]}`), "key is not a string": `{1:2}`, "unquoted": `{status:1}`, "empty value": `{"status":,"messages":[]}`,
	} {
		if b, err := pushover.ReadBatch(strings.NewReader(doc), 10, 1<<20); err == nil {
			t.Errorf("%s: got %v, want an error", name, b)
		}
	}
}

func TestSizesAreBounded(t *testing.T) {
	huge := strings.Repeat("x", 1<<20)
	for name, doc := range map[string]string{
		"message":        list(`{"id":1,"message":"` + huge + `"}`),
		"other member":   `{"status":1,"messages":[],"x":"` + huge + `"}`,
		"many members":   `{"a":"` + huge[:700000] + `","b":"` + huge[:700000] + `","status":1,"messages":[]}`,
		"key":            `{"` + huge + `":1}`,
		"endless number": list(`{"id":1` + strings.Repeat("0", 1<<20) + `}`),
	} {
		if _, err := pushover.ReadBatch(strings.NewReader(doc), 10, 1<<20); !errors.Is(err, pushover.ErrTooLarge) {
			t.Errorf("%s of 1 MiB: got error %v, want ErrTooLarge", name, err)
		}
	}
	almost := `{"id":1,"message":"` + huge[:1<<20-100] + `"}`
	if got := decode(t, list(almost)).Messages; len(got) != 1 || len(got[0].Text) != 1<<20-100 {
		t.Errorf("a message just below the limit: got %d messages, want it", len(got))
	}
}

func TestListIsSortedAndWithoutRepetition(t *testing.T) {
	got := ids(decode(t, list(`{"id":9}`, `{"id_str":"380698801670733827"}`, `{"id":2}`, `{"id":9}`, `{"id":10}`)))
	if d := cmp.Diff([]pushover.MessageID{2, 9, 10, 380698801670733827}, got); d != "" {
		t.Errorf("ids (-want +got):\n%s", d)
	}
}

func ids(b *pushover.Batch) []pushover.MessageID {
	var out []pushover.MessageID
	for _, m := range b.Messages {
		out = append(out, m.ID)
	}
	return out
}

// Whatever the order and the limits, what is kept is a prefix of the sorted
// queue: only then may it be deleted through its last id.
func TestKeptMessagesAreAlwaysTheLowest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		n := 1 + rng.IntN(60)
		all := make([]pushover.MessageID, n)
		docs := make([]string, n)
		for i := range all {
			all[i] = pushover.MessageID(1 + rng.IntN(80)) // with repetitions
			docs[i] = fmt.Sprintf(`{"id":%d,"message":"%s"}`, all[i], strings.Repeat("x", rng.IntN(50)))
		}
		maxMessages, maxBytes := 1+rng.IntN(70), 1+rng.IntN(3000)
		b, err := pushover.ReadBatch(strings.NewReader(list(docs...)), maxMessages, maxBytes)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		all = slices.Compact(all)
		got, size := ids(b), 0
		for _, m := range b.Messages {
			size += len(m.Raw)
		}
		switch {
		case len(got) == 0 || len(got) > maxMessages || size > maxBytes && len(got) > 1:
			t.Fatalf("round %d: kept %d messages of %d bytes, limits %d, %d", round, len(got), size, maxMessages, maxBytes)
		case !slices.Equal(got, all[:len(got)]):
			t.Fatalf("round %d: kept %v, want a prefix of %v", round, got, all)
		case len(got) < len(all) && !b.More:
			t.Fatalf("round %d: kept %d of %d, but More is not set", round, len(got), len(all))
		}
	}
	if b := decode(t, list(`{"id":1}`, `{"id":2}`)); b.More {
		t.Error("More is set although everything was kept")
	}
}

func TestDecodingDoesNotDependOnHowBytesArrive(t *testing.T) {
	doc := list(fullMessage, `{"id":5,"message":"\\\\\" \\"}`, `{"id":6,"message":"`+strings.Repeat(`\\\"`, 20000)+`"}`)
	want := decode(t, doc)
	got, err := pushover.ReadBatch(iotest.OneByteReader(strings.NewReader(doc)), 5000, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(want, got) { // cmp takes long for long slices
		t.Errorf("byte by byte: got %+v, want %+v", got, want)
	}
	got, err = pushover.ReadBatch(iotest.DataErrReader(bytes.NewReader([]byte(doc))), 5000, 8<<20)
	if err != nil || !reflect.DeepEqual(want, got) {
		t.Errorf("data together with the end: got %v, want the same batch", err)
	}
	if _, err = pushover.ReadBatch(iotest.TimeoutReader(iotest.HalfReader(strings.NewReader(doc))), 10, 1<<20); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("reader that fails: got %v, want its error", err)
	}
}

func TestHeadingFallsBackToApp(t *testing.T) {
	for want, m := range map[string]pushover.Message{
		"title": {Title: "title", App: "app"}, "app": {App: "app"},
	} {
		if got := m.Heading(); got != want {
			t.Errorf("Heading of %+v: got %q, want %q", m, got, want)
		}
	}
}

func TestRawIsACopy(t *testing.T) {
	b := decode(t, list(`{"id":1}`, `{"id":2}`))
	b.Messages[0].Raw[1] = 'X'
	if got := string(b.Messages[1].Raw); got != `{"id":2}` {
		t.Errorf("Raw of the second message: got %s", got)
	}
}

// What is thrown out makes room, so that one overflow does not shrink the batch to
// a message.
func TestBatchStaysFullAfterAnOverflow(t *testing.T) {
	var docs []string
	for id := 60; id > 0; id-- { // each throws a later one out
		docs = append(docs, fmt.Sprintf(`{"id":%d,"id_str":"%[1]d","umid":1,"message":"%s"}`, id, strings.Repeat("x", 50)))
	}
	b, err := pushover.ReadBatch(strings.NewReader(list(docs...)), 1000, 10*len(docs[0]))
	if err != nil || len(b.Messages) < 10 || b.Messages[0].ID != 1 || !b.More {
		t.Errorf("got %d messages, %v, want the 10 oldest, and more", len(b.Messages), err)
	}
}

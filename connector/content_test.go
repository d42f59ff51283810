package connector_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func TestHTMLMessagesHaveAPlainText(t *testing.T) {
	for markup, want := range map[string]string{
		`<b>98 %</b> on <i>nas-1</i>`:                                       "98 % on nas-1",
		`5 &lt; 6 &amp; 7 &gt; 6 &eacute;`:                                  "5 < 6 & 7 > 6 é",
		`see <a href="https://example.org/?a=1&amp;b=2">the log</a> now`:    "see the log (https://example.org/?a=1&b=2) now",
		`<a href="https://example.org">https://example.org</a>`:             "https://example.org",
		`<a name="x">no link</a>`:                                           "no link",
		`one<br>two<br/>three` + "\n" + `four`:                              "one\ntwo\nthree\nfour",
		`<p>one</p><p>two</p>`:                                              "one\ntwo",
		`<ul><li>one<li>two</ul>three`:                                      "one\ntwo\nthree",
		`<font color="#ff0000">red</font>`:                                  "red",
		`<script>alert("x")</script>a<style>b{}</style><!-- c -->`:          "a",
		`<scr<script>ipt>x</script>`:                                        "ipt>x",
		`a <b`:                                                              "a",
		`<a href="x">never closed`:                                          "never closed (x)",
		`<title>t</title>5 < 6`:                                             "5 < 6",
		strings.Repeat("<b>", 10_000) + "deep" + strings.Repeat("<b>", 100): "deep",
		``: "",
	} {
		e, err := connector.MessageEvent("nas-1", pushover.Message{ID: 1, App: "x", Text: markup, HTML: true}, "", recordedAt)
		if err != nil {
			t.Fatal(err)
		}
		var data struct{ Text *string }
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		if data.Text == nil || *data.Text != want {
			t.Errorf("text of %.80q is %v, want %q", markup, data.Text, want)
		}
		validate(t, compileSchema(t, connector.SchemaMessage), e.Data)
	}
	e, err := connector.MessageEvent("nas-1", pushover.Message{ID: 1, App: "x", Text: "5 < 6"}, "", recordedAt)
	if err != nil || strings.Contains(string(e.Data), `"text"`) {
		t.Errorf("a message without markup has a text besides: %s, %v", e.Data, err)
	}
}

func FuzzTextOf(f *testing.F) {
	for _, s := range []string{"<b>a</b>", "<a href=x>y", "<script>", "&#0;", "</", "<a <a href='", "<br><p></p>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, markup string) {
		e, err := connector.MessageEvent("nas-1", pushover.Message{ID: 1, App: "x", Text: markup, HTML: true}, "", recordedAt)
		if err != nil {
			t.Fatal(err)
		}
		var data struct{ Text string }
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatalf("%v in %q", err, e.Data)
		}
		if len(data.Text) > 4*len(markup)+8 { // entities and U+FFFD grow a little
			t.Errorf("%d bytes of text from %d of markup", len(data.Text), len(markup))
		}
	})
}

// raw is passed on byte by byte, but for what strict readers of JSON refuse.
func TestRawIsReadByStrictReaders(t *testing.T) {
	for raw, want := range map[string]string{
		`{"a":"\u0000"}`:                      `{"a":"\ufffd"}`,
		`{"a":"x\ud83d"}`:                     `{"a":"x\ufffd"}`,
		`{"a":"\ud83dx"}`:                     `{"a":"\ufffdx"}`,
		`{"a":"\udd25\ud83d"}`:                `{"a":"\ufffd\ufffd"}`,
		`{"a":"\ud83d\ud83d\udd25"}`:          `{"a":"\ufffd\ud83d\udd25"}`,
		`{"a":"\uD83D\uDD25 \u00e9"}`:         `{"a":"\uD83D\uDD25 \u00e9"}`,
		`{"a":"\\u0000 \\\u0000"}`:            `{"a":"\\u0000 \\\ufffd"}`,
		`{"\u0000k":1}`:                       `{"\ufffdk":1}`,
		"{\"a\":\"\xff\"}":                    "{\"a\":\"\uFFFD\"}",
		`{"n":502550228871720147,"a":"\"\\"}`: `{"n":502550228871720147,"a":"\"\\"}`,
	} {
		e, err := connector.MessageEvent("nas-1", pushover.Message{ID: 1, App: "a\x00b", Text: "t\x00", Raw: json.RawMessage(raw)}, "", recordedAt)
		if err != nil {
			t.Fatal(err)
		}
		var data struct{ Raw json.RawMessage }
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		if string(data.Raw) != want {
			t.Errorf("raw %s is passed on as %s, want %s", raw, data.Raw, want)
		}
		if s := string(mustStructured(t, e)); strings.Contains(strings.ReplaceAll(s, `\\u0000`, ""), `\u0000`) || strings.Contains(s, "\x00") {
			t.Errorf("the event holds U+0000: %s", s)
		}
	}
}

// received lets a message through a connector and returns its event's data.
func received(t *testing.T, setUp func(*rig), m pushovertest.Outgoing) (data map[string]any) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pushovertest.Options{})
		setUp(r)
		r.send(1, m)
		run := r.start()
		r.drained()
		run.stop()
		r.wantManners()
		e := r.log.all()[0]
		validate(t, compileSchema(t, connector.SchemaMessage), e.Data)
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
	})
	return data
}

func TestCustomSoundHasItsName(t *testing.T) {
	data := received(t, func(r *rig) { r.sim.AddSound("doorbell", "Door bell") }, pushovertest.Outgoing{Sound: "doorbell"})
	if data["sound"] != "c1" || data["sound_name"] != "doorbell" {
		t.Errorf("sound %v, name %v; want c1, doorbell", data["sound"], data["sound_name"])
	}
	data = received(t, func(*rig) {}, pushovertest.Outgoing{Sound: "siren"})
	if data["sound"] != "si" || data["sound_name"] != "siren" {
		t.Errorf("sound %v, name %v; want si, siren", data["sound"], data["sound_name"])
	}
}

func TestQuietHoursLowerTheEffectivePriority(t *testing.T) {
	begins := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC) // the rig
	for name, tt := range map[string]struct {
		hours    bool
		until    time.Time
		priority int
		want     float64
	}{
		"none":                {false, time.Time{}, 0, 0},
		"quiet hours":         {true, time.Time{}, 0, -1},
		"quiet for a while":   {false, begins.Add(time.Hour), 0, -1},
		"quiet until earlier": {false, begins.Add(-time.Hour), 0, 0},
		"high gets through":   {true, time.Time{}, 1, 1},
		"lowest stays":        {true, time.Time{}, -2, -2},
	} {
		data := received(t, func(r *rig) { r.sim.SetQuiet(tt.hours, tt.until) }, pushovertest.Outgoing{Priority: tt.priority})
		if data["effective_priority"] != tt.want || data["priority"] != float64(tt.priority) {
			t.Errorf("%s: priority %v, effective %v; want %d, %v", name, data["priority"], data["effective_priority"], tt.priority, tt.want)
		}
	}
}

// What came in the clear beside ciphertext is shown and named; what no key opens is
// absent, alone; and the log says which it was.
func TestEncryptedMessagesAreShownByField(t *testing.T) {
	var output *syncBuffer
	keys := func(r *rig) { r.opts.Keys, output = []pushover.E2EEKey{vaultKey()}, r.output }
	data := received(t, keys, pushovertest.Outgoing{Message: ciphertext, Encrypted: true})
	if data["message"] != "Backup of “nas-1” finished: 42 files ✔" || data["title"] != "Simulator" || data["decrypted"] != true ||
		!slices.Equal(data["plain_fields"].([]any), []any{"title"}) {
		t.Errorf("title of the service: got %v", data)
	}
	if strings.Contains(output.String(), "decrypted") {
		t.Errorf("the log speaks of trouble:\n%s", output)
	}
	broken := "A" + ciphertext[1:]
	data = received(t, keys, pushovertest.Outgoing{Message: broken, Title: "Fire", URL: broken, Encrypted: true})
	if data["message"] != "(end-to-end encrypted; none of the configured keys can decrypt it)" || data["title"] != "Fire" ||
		data["url"] != nil || data["decrypted"] != false {
		t.Errorf("no key: got %v", data)
	}
	if want := "message cannot be decrypted: no key fits message, url"; !strings.Contains(output.String(), want) {
		t.Errorf("the log has no %q:\n%s", want, output)
	}
}

package connector_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var (
	sentAt     = time.Unix(1_764_000_000, 0)
	recordedAt = time.Unix(1_764_000_005, 0)
)

// Bindings like those of the sinks.
var (
	likeNATS = connector.Binding{
		Prefix: "ce-", ContentType: "Content-Type", DataContentType: "ce-datacontenttype",
		StructuredType: "application/cloudevents+json", PercentEncode: true,
	}
	likeKafka = connector.Binding{
		Prefix: "ce_", ContentType: "content-type", DataContentType: "content-type",
		StructuredType: "application/cloudevents+json; charset=UTF-8",
	}
)

const receipt = "rExampleExampleExampleExample1"

// ciphertext is the test vector in the description of the protocol.
const ciphertext = "8PHy8/T19vf4+fr7/P3+/7IeVeuVNjtGe+jjvoCV5TMR5Al2385gxbkhZ/f81zTQm3//Ee2/JVUqWfOaRulfaeIWVRb+SjdXud17O0yi8hr9uxt55EWwAOCATqcCg5MhE0ZaisW8yug8Y2A4tem3bA=="

// vaultKey opens it.
func vaultKey() pushover.E2EEKey {
	key, err := pushover.ParseE2EEKey("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	if err != nil {
		panic(err)
	}
	return key
}

// sampleMessages are what the golden events are made of.
func sampleMessages() map[string]pushover.Message {
	encrypted := pushover.Message{
		ID: 502550228871720150, App: "Vault", Text: ciphertext, Sent: sentAt, Encrypted: true,
		Raw: json.RawMessage(`{"id":502550228871720150,"message":"` + ciphertext + `","encrypted":1}`),
	}
	decrypted, err := encrypted.Decrypt([]pushover.E2EEKey{vaultKey()})
	if err != nil {
		panic(err)
	}
	encrypted, err = encrypted.Decrypt(nil)
	if !errors.Is(err, pushover.ErrUndecryptable) {
		panic(err)
	}
	return map[string]pushover.Message{
		"plain": {
			ID: 502550228871720147, App: "Backup", Text: "42 files", Sent: sentAt,
			Raw: json.RawMessage(`{"id":502550228871720147,"id_str":"502550228871720147","app":"Backup","message":"42 files"}`),
		},
		"full": {
			ID: 502550228871720148, UMID: 502550228871720100, AppID: 9007199254740993, App: "Grafana — Küche",
			Title: "Alert \"CPU\"\nhigh", Text: "<b>98 %</b>", Icon: "gRaFaNa12", Sound: "si", HTML: true, Monospace: false,
			URL: "https://grafana.example.org/d/1?a=b&c=d", URLTitle: "Dashboard", Priority: pushover.PriorityHigh,
			Sent: sentAt, Queued: sentAt.Add(time.Second), Dispatched: sentAt.Add(2 * time.Second), Expires: sentAt.Add(time.Hour),
			Raw: json.RawMessage(`{"id":502550228871720148,"future_field":{"kept":true}}`),
		},
		"emergency": {
			ID: 502550228871720149, App: "Cellar", Text: "water", Priority: pushover.PriorityEmergency,
			Receipt: receipt, Sent: sentAt, Raw: json.RawMessage(`{"id":502550228871720149}`),
		},
		"encrypted": encrypted,
		"decrypted": decrypted,
	}
}

// Every golden event holds against the embedded schema and against the
// CloudEvents SDK as an independent reader, in both modes and both bindings.
func TestGoldenMessageEvents(t *testing.T) {
	schema := compileSchema(t, connector.SchemaMessage)
	for name, m := range sampleMessages() {
		t.Run(name, func(t *testing.T) {
			e, err := connector.MessageEvent("nas-1", m, "", recordedAt)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "message-"+name+".json", indent(t, mustStructured(t, e)))
			validate(t, schema, e.Data)
			checkBothModes(t, e)
		})
	}
}

func TestGoldenResultEvents(t *testing.T) {
	schema := compileSchema(t, connector.SchemaResult)
	for _, result := range []connector.Result{
		{Receipt: receipt, Status: connector.StatusAcknowledged, Attempts: 2},
		{Status: connector.StatusRejected, Reason: "command is empty", Malformed: true},
		{Receipt: receipt, Status: connector.StatusExpired, Reason: "too late"},
	} {
		t.Run(string(result.Status), func(t *testing.T) {
			result.Device, result.CommandID = "nas-1", "PUSHOVER_CONTROL#17"
			result.CommandedAt, result.CompletedAt = sentAt.UTC(), recordedAt.UTC()
			e, err := connector.ResultEvent(connector.Command{ID: "PUSHOVER_CONTROL#17", Time: sentAt}, result)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "result-"+string(result.Status)+".json", indent(t, mustStructured(t, e)))
			validate(t, schema, e.Data)
			checkBothModes(t, e)
		})
	}
}

func TestGoldenDeadLetters(t *testing.T) {
	schema := compileSchema(t, connector.SchemaDeadLetter)
	m := sampleMessages()["full"]
	e, err := connector.MessageEvent("nas-1", m, "", recordedAt)
	if err != nil {
		t.Fatal(err)
	}
	for form, name := range []string{"deadletter-text.json", "deadletter-bare.json"} {
		d, err := connector.DeadLetter(e, m, "nas-1", errors.New("too large"), form)
		if err != nil {
			t.Fatal(err)
		}
		if d.DedupKey() == e.DedupKey() || d.ID != e.ID {
			t.Errorf("dead letter has id %q and key %q; want the message's id and a key of its own", d.ID, d.DedupKey())
		}
		golden(t, name, indent(t, mustStructured(t, d)))
		validate(t, schema, d.Data)
		checkBothModes(t, d)
	}
}

// checkBothModes reads the event back with the CloudEvents SDK.
func checkBothModes(t *testing.T, e connector.Event) {
	t.Helper()
	for name, b := range map[string]struct {
		binding     connector.Binding
		prefix      string
		contentType string
		unescape    func(string) (string, error)
	}{
		"nats":  {likeNATS, "ce-", "ce-datacontenttype", url.PathUnescape},
		"kafka": {likeKafka, "ce_", "content-type", func(s string) (string, error) { return s, nil }},
	} {
		structured := event.New()
		_, body, err := e.Encode(connector.ModeStructured, b.binding)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(body, &structured); err != nil {
			t.Fatalf("%s: the SDK cannot read the structured event: %v", name, err)
		}
		headers, body, err := e.Encode(connector.ModeBinary, b.binding)
		if err != nil {
			t.Fatal(err)
		}
		binary := event.New()
		for _, h := range headers {
			value, err := b.unescape(h.Value)
			if err != nil {
				t.Fatalf("%s: header %s: %v", name, h.Name, err)
			}
			switch attr := strings.TrimPrefix(h.Name, b.prefix); {
			case h.Name == b.contentType:
				binary.SetDataContentType(value)
			case attr == "id":
				binary.SetID(value)
			case attr == "source":
				binary.SetSource(value)
			case attr == "type":
				binary.SetType(value)
			case attr == "dataschema":
				binary.SetDataSchema(value)
			case attr == "subject":
				binary.SetSubject(value)
			case attr == "specversion":
				binary.SetSpecVersion(value)
			case attr == "time":
				at, err := time.Parse(time.RFC3339Nano, value)
				if err != nil {
					t.Fatal(err)
				}
				binary.SetTime(at)
			case attr == "severitynumber":
				// The SDK reads the integer from JSON as one; a header is text.
				var n int32
				if err := json.Unmarshal([]byte(value), &n); err != nil {
					t.Fatal(err)
				}
				binary.SetExtension(attr, n)
			default:
				binary.SetExtension(attr, value)
			}
		}
		if err := binary.SetData("application/json", json.RawMessage(body)); err != nil {
			t.Fatal(err)
		}
		for mode, got := range map[string]event.Event{"structured": structured, "binary": binary} {
			if err := got.Validate(); err != nil {
				t.Errorf("%s %s: the SDK finds it invalid: %v", name, mode, err)
			}
		}
		if diff := cmp.Diff(structured.String(), binary.String()); diff != "" {
			t.Errorf("%s: structured and binary differ (-structured +binary):\n%s", name, diff)
		}
	}
}

func TestRawKeepsWhatWasReceivedLessCredentials(t *testing.T) {
	e, err := connector.MessageEvent("nas-1", pushover.Message{
		ID: 1, Raw: json.RawMessage(`{"id":1,"new_thing":[1,2],"secret":"s3cr3t","device_id":"d3v1c3"}`),
	}, "", recordedAt)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(e.Data); !strings.Contains(s, `"new_thing":[1,2]`) || strings.Contains(s, "s3cr3t") || strings.Contains(s, "d3v1c3") {
		t.Errorf("data is %s; want new_thing kept and the credentials gone", s)
	}
}

func TestPriorityOutsideTheDocumentedRangeIsClamped(t *testing.T) {
	for priority, want := range map[pushover.Priority]string{-9: "lowest", 7: "emergency"} {
		e, err := connector.MessageEvent("nas-1", pushover.Message{ID: 1, App: "x", Priority: priority}, "", recordedAt)
		if err != nil {
			t.Fatal(err)
		}
		if e.Route[1] != want {
			t.Errorf("priority %d goes to %v, want %s", priority, e.Route, want)
		}
	}
}

func TestAbsurdDatesAreLeftOut(t *testing.T) {
	for _, sent := range []int64{-1 << 62, 1 << 62, 253402300800} {
		e, err := connector.MessageEvent("nas-1", pushover.Message{ID: 1, App: "x", Sent: time.Unix(sent, 0)}, "", recordedAt)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(mustStructured(t, e)), "sent_at") || !e.Time.IsZero() {
			t.Errorf("date %d is in the event: %s", sent, mustStructured(t, e))
		}
	}
}

func TestAppSlugIsALegalToken(t *testing.T) {
	for name, want := range map[string]string{
		"Grafana":               "grafana",
		"Home Assistant (2)":    "home-assistant-2",
		"a.b*c>d e":             "a-b-c-d-e",
		"--x--":                 "x",
		"Wärme & Söhne":         "waerme-soehne",
		"Küche":                 "kueche",
		"Ku\u0308che":           "kueche", // decomposed
		"Köche":                 "koeche",
		"Kuche":                 "kuche",
		"Straße 5":              "strasse-5",
		"Łódź":                  "lodz",
		"İstanbul ılık":         "istanbul-ilik",
		"Кухня":                 "kukhnia",
		"🔥 Fire":                "fire",
		"日本":                    "app-77",
		"NAS 日本":                "nas-app-77",
		strings.Repeat("ж", 40): strings.Repeat("zh", 32),
		strings.Repeat("a", 99): strings.Repeat("a", 64),
	} {
		if got := connector.AppSlug(pushover.Message{App: name, AppID: 77}); got != want {
			t.Errorf("slug of %q is %q, want %q", name, got, want)
		}
	}
	if got := connector.AppSlug(pushover.Message{App: "日本"}); got != "unknown" {
		t.Errorf("slug of a name without letters and without id is %q, want unknown", got)
	}
}

func TestEncodeRefusesWhatCloudEventsForbids(t *testing.T) {
	good := connector.Event{ID: "1", Source: "s", Type: "t", Data: json.RawMessage(`{}`)}
	for name, change := range map[string]func(*connector.Event){
		"no id":          func(e *connector.Event) { e.ID = "" },
		"no source":      func(e *connector.Event) { e.Source = "" },
		"no type":        func(e *connector.Event) { e.Type = "" },
		"data":           func(e *connector.Event) { e.Data = json.RawMessage(`{`) },
		"extension name": func(e *connector.Event) { e.Extensions = []connector.Extension{{Name: "Not-Legal", Value: "x"}} },
		"extension type": func(e *connector.Event) { e.Extensions = []connector.Extension{{Name: "big", Value: int64(1)}} },
	} {
		e := good
		change(&e)
		if _, _, err := e.Encode(connector.ModeBinary, likeNATS); err == nil {
			t.Errorf("%s: Encode gave no error", name)
		}
	}
}

func mustStructured(t *testing.T, e connector.Event) []byte {
	t.Helper()
	_, body, err := e.Encode(connector.ModeStructured, likeNATS)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func indent(t *testing.T, doc []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, doc, "", "  "); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// golden compares got with a file in testdata, or rewrites that with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not as recorded; if that is meant, run the tests with -update (-want +got):\n%s", name, diff)
	}
}

func compileSchema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(connector.Schema(name)))
	if err != nil {
		t.Fatalf("schema %s: %v", name, err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource(name, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(name)
	if err != nil {
		t.Fatalf("schema %s: %v", name, err)
	}
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, doc []byte) {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("not valid by its schema: %v\n%s", err, doc)
	}
}

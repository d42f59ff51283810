package interop

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	ckafka "github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	cnats "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	gregdel "github.com/gregdel/pushover"
	"github.com/nats-io/nats.go"
	"github.com/nicholas-fedor/shoutrrr"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// data is what the tests look at in an event.
type data struct {
	ID                string
	Title, Message    string
	URL, Receipt      string
	Decrypted         bool
	PlainFields       []string `json:"plain_fields"`
	EffectivePriority *int     `json:"effective_priority"`
}

// A sender sends messages to the simulator, and says how many.
type sender struct {
	name     string
	messages int
	send     func(t *testing.T, w *world)
}

func python(name, key string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		t.Helper()
		script(t, nil, "send.py", name, w.APIURL(), w.Account().AppToken, w.Account().UserKey, key)
	}
}

// throughTLS has programs that speak to the service by its real name reach the
// simulator.
func throughTLS(t *testing.T, w *world) {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, w.TLSAddr())
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: w.CertPool(), MinVersion: tls.VersionTLS12}
	before := http.DefaultTransport
	http.DefaultTransport = transport
	t.Cleanup(func() { http.DefaultTransport = before })
}

// Three independent encrypters: each sends a message with a title, and one without,
// where the service puts the application's name in.
var encrypters = []sender{
	{"apprise (Python)", 2, python("apprise", key)},
	{"shoutrrr (Go)", 2, func(t *testing.T, w *world) {
		throughTLS(t, w)
		for _, title := range []string{"&title=Cellar", ""} {
			u := fmt.Sprintf("pushover://shoutrrr:%s@%s/?encryptionkey=%s%s", w.Account().AppToken, w.Account().UserKey, key, title)
			if err := shoutrrr.Send(u, "pump failed"); err != nil {
				t.Fatal(err)
			}
		}
	}},
	{"this test's own", 2, func(t *testing.T, w *world) {
		for _, title := range []string{"Cellar", ""} {
			form := url.Values{
				"token": {w.Account().AppToken}, "user": {w.Account().UserKey}, "message": {encrypt("pump failed")}, "encrypted": {"1"},
				"url": {encrypt("https://example.org")}, "url_title": {encrypt("open")},
			}
			if title != "" {
				form.Set("title", encrypt(title))
			}
			response, err := http.PostForm(w.APIURL()+"/1/messages.json", form)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Fatal(response.Status)
			}
		}
	}},
}

func encrypt(text string) string {
	secret, _ := hex.DecodeString(key) // it is a constant
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(text)) // into memory
	_ = z.Close()
	n := aes.BlockSize - packed.Len()%aes.BlockSize
	packed.Write(bytes.Repeat([]byte{byte(n)}, n))
	block, _ := aes.NewCipher(secret)
	out := make([]byte, aes.BlockSize+packed.Len())
	_, _ = rand.Read(out[:aes.BlockSize]) // never fails, see crypto/rand
	cipher.NewCBCEncrypter(block, out[:aes.BlockSize]).CryptBlocks(out[aes.BlockSize:], packed.Bytes())
	mac := hmac.New(sha256.New, secret)
	mac.Write(out)
	return base64.StdEncoding.EncodeToString(mac.Sum(out))
}

// Senders as they are, without encryption.
var plain = []sender{
	{"pushover-notifications (JavaScript)", 3, func(t *testing.T, w *world) {
		u, err := url.Parse(w.APIURL())
		if err != nil {
			t.Fatal(err)
		}
		script(t, nil, "send.js", u.Hostname(), u.Port(), w.Account().AppToken, w.Account().UserKey)
	}},
	{"pushover_complete (Python)", 2, python("pushover_complete", "")},
	{"gregdel/pushover (Go)", 2, func(t *testing.T, w *world) {
		throughTLS(t, w)
		app, to := gregdel.New(w.Account().AppToken), gregdel.NewRecipient(w.Account().UserKey)
		if _, err := app.SendMessage(gregdel.NewMessageWithTitle("pump failed", "Cellar"), to); err != nil {
			t.Fatal(err)
		}
		fire := &gregdel.Message{Message: "pump failed", Priority: gregdel.PriorityEmergency, Retry: 60e9, Expire: 600e9}
		if _, err := app.SendMessage(fire, to); err != nil {
			t.Fatal(err)
		}
	}},
}

func TestMessagesOfForeignEncryptersAreDecrypted(t *testing.T) {
	for _, bus := range []string{"nats", "kafka"} {
		t.Run(bus, func(t *testing.T) {
			w := newWorld(t, bus, "structured")
			total := 0
			for _, s := range encrypters {
				t.Run(s.name, func(t *testing.T) { s.send(t, w) })
				total += s.messages
			}
			if t.Failed() {
				return
			}
			for i, e := range read(t, "go", bus, w.records(total)) {
				want, plain := "Cellar", "[]"
				switch {
				case i == 1: // apprise always sets a title
					want = "Apprise Notifications"
				case i%2 == 1:
					want, plain = "Simulator", "[title]"
				}
				if e.Message != "pump failed" || !e.Decrypted || e.Title != want || fmt.Sprint(e.PlainFields) != plain {
					t.Errorf("%s: got %+v, want it decrypted, title %s, plain fields %s", encrypters[i/2].name, e.data, want, plain)
				}
			}
		})
	}
}

func TestForeignSendersReachTheBus(t *testing.T) {
	w := newWorld(t, "nats", "structured")
	total, emergencies := 0, 0
	for _, s := range plain {
		t.Run(s.name, func(t *testing.T) { s.send(t, w) })
		total += s.messages
	}
	if t.Failed() {
		return
	}
	for _, e := range read(t, "go", "nats", w.records(total)) {
		if e.Message != "pump failed" {
			t.Errorf("got %+v", e.data)
		}
		if e.Receipt != "" {
			emergencies++
		}
	}
	if emergencies != len(plain) {
		t.Errorf("%d emergencies, want one of each sender", emergencies)
	}
}

// An event is what a reader makes of a record.
type event struct {
	ID, Source, Type, Subject string
	DataSchema, CorrelationID string
	SeverityText              string
	data                      `json:"-"`
	Data                      json.RawMessage
}

// read has an SDK read records, by its own detection of the mode.
func read(t *testing.T, language, bus string, records []record) []event {
	t.Helper()
	var out []byte
	switch language {
	case "python":
		out = script(t, lines(records), "read.py", bus)
	case "javascript":
		out = script(t, lines(records), "read.js", bus)
	default:
		for _, r := range records {
			var m binding.Message = cnats.NewMessage(natsMessage(r))
			if bus == "kafka" {
				m = ckafka.NewMessageFromConsumerMessage(kafkaMessage(r))
			}
			e, err := binding.ToEvent(t.Context(), m)
			if err != nil {
				t.Fatalf("the SDK for Go: %v\n%v", err, r)
			}
			line, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			out = append(append(out, line...), '\n')
		}
	}
	var events []event
	for line := range strings.Lines(string(out)) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if err := json.Unmarshal(e.Data, &e.data); err != nil {
			t.Fatalf("%v in %s", err, e.Data)
		}
		events = append(events, e)
	}
	if len(events) != len(records) {
		t.Fatalf("%d events of %d records", len(events), len(records))
	}
	return events
}

func natsMessage(r record) *nats.Msg {
	m := &nats.Msg{Header: nats.Header{}, Data: []byte(r.Body)}
	for name, value := range r.Headers {
		m.Header[name] = []string{value}
	}
	return m
}

func kafkaMessage(r record) *sarama.ConsumerMessage {
	m := &sarama.ConsumerMessage{Value: []byte(r.Body)}
	for name, value := range r.Headers {
		m.Headers = append(m.Headers, &sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
	}
	return m
}

func TestEventsAreReadByAnySDK(t *testing.T) {
	for _, bus := range []string{"nats", "kafka"} {
		for _, mode := range []string{"structured", "binary"} {
			t.Run(bus+" "+mode, func(t *testing.T) {
				w := newWorld(t, bus, mode)
				first := w.Send(pushovertest.Outgoing{App: "Grafana", Title: "CPU", Message: "98 % – hot"})
				second := w.Send(pushovertest.Outgoing{App: "Grafana", Message: "fire", Priority: 2})
				records := w.records(2)
				for _, language := range []string{"go", "python", "javascript"} {
					t.Run(language, func(t *testing.T) {
						events := read(t, language, bus, records)
						for i, sent := range []pushovertest.Sent{first, second} {
							e := events[i]
							if e.ID != sent.IDs[0] || e.Source != "pushover://device/nas-1" || e.Type != "net.pushover.message.received" ||
								e.Subject != "Grafana" || e.DataSchema != "urn:pushover-connector:schema:message:1" ||
								e.CorrelationID != sent.Receipt || e.data.ID != sent.IDs[0] {
								t.Errorf("got %+v", e)
							}
						}
						if events[0].Message != "98 % – hot" || events[1].SeverityText != "FATAL" {
							t.Errorf("got %+v", events)
						}
					})
				}
			})
		}
	}
}

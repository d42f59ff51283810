package examples_test

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// An alert of Grafana's becomes an emergency, an event on the bus, a command and
// an acknowledgement that Grafana's application token can ask for. When the alert
// is resolved, it is not an emergency any more.
func TestGrafanaAlertIsAcknowledgedOverTheBus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, js := w.natsServer()
	w.connect("NATS_URL=" + url)
	settings := contactPoint(t)

	receipt := w.grafana(settings, false)
	if len(receipt) != 30 {
		t.Fatalf("the firing alert has the receipt %q: the contact point makes no emergency", receipt)
	}
	event := w.nextEvent(js, "pushover.messages.emergency.>")
	if event.Receipt != receipt || event.Title != "[FIRING:1] DiskFull" || event.URL != "https://grafana.example/alerting/list" || !event.HTML {
		t.Errorf("the event is %+v, want Grafana's alert with receipt %s", event, receipt)
	}
	if said := w.run([]string{"NATS_URL=" + url}, true, program(t, "ack-go"), event.Receipt); strings.TrimSpace(said) != "acknowledged" {
		t.Errorf("the acknowledgement says %q", said)
	}
	w.wantAcknowledged(receipt)

	if receipt := w.grafana(settings, true); receipt != "" {
		t.Errorf("the resolved alert has the receipt %q, want none", receipt)
	}
	if event := w.nextEvent(js, "pushover.messages.low.>"); event.Title != "[RESOLVED] DiskFull" || event.Receipt != "" {
		t.Errorf("the resolved alert's event is %+v", event)
	}
}

// contactPoint reads the scalar settings from the example, which is flat.
func contactPoint(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("grafana/contact-point.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(text), "settings:\n")
	if !ok {
		t.Fatal("contact-point.yaml has no settings")
	}
	settings := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^ {10}(\w+): ["']?(.*?)["']?$`).FindAllStringSubmatch(block, -1) {
		settings[m[1]] = m[2]
	}
	return settings
}

// grafana posts what Grafana posts: a multipart form with the fields that its
// Pushover integration writes, in its order (grafana/alerting,
// receivers/pushover). It returns the receipt, if there is one.
func (w *world) grafana(settings map[string]string, resolved bool) string {
	w.t.Helper()
	environment := map[string]string{
		"$PUSHOVER_APP_TOKEN": w.sim.Account().AppToken, "$PUSHOVER_USER_KEY": w.sim.Account().UserKey,
	}
	priority, sound, title := settings["priority"], settings["sound"], "[FIRING:1] DiskFull"
	if resolved {
		priority, sound, title = settings["okPriority"], settings["okSound"], "[RESOLVED] DiskFull"
	}
	fields := [][2]string{
		{"user", environment[settings["userKey"]]}, {"token", environment[settings["apiToken"]]}, {"priority", priority},
	}
	if priority == "2" {
		fields = append(fields, [2]string{"retry", settings["retry"]}, [2]string{"expire", settings["expire"]})
	}
	fields = append(fields, [][2]string{
		{"title", title}, {"url", "https://grafana.example/alerting/list"}, {"url_title", "Show alert rule"},
		{"message", "Value: A=97\nLabels:\n - instance = nas-1"}, {"sound", sound}, {"html", "1"},
	}...)
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, f := range fields {
		if err := form.WriteField(f[0], f[1]); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		w.t.Fatal(err)
	}
	response, err := http.Post(w.sim.APIURL()+"/1/messages.json", form.FormDataContentType(), &body)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Status  int
		Receipt string
		Errors  []string
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != 1 {
		w.t.Fatalf("Pushover refuses what Grafana sends: HTTP %d, %v, %v", response.StatusCode, answer.Errors, err)
	}
	return answer.Receipt
}

type message struct {
	Title, URL, Receipt string
	HTML                bool
}

// nextEvent waits for the first event on a subject.
func (w *world) nextEvent(js jetstream.JetStream, subject string) message {
	w.t.Helper()
	consumer, err := js.OrderedConsumer(w.within(), "PUSHOVER", jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := consumer.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		w.t.Fatalf("waiting for an event on %s: %v", subject, err)
	}
	var event struct{ Data message }
	if err := json.Unmarshal(m.Data(), &event); err != nil {
		w.t.Fatal(err)
	}
	return event.Data
}

// eventually waits for a condition on the bus, which cannot wake anybody.
func (w *world) eventually(what string, cond func() bool) {
	w.t.Helper()
	ctx := w.within()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatalf("waited too long for %s", what)
		}
	}
}

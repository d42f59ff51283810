package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// What "nats micro ls", "nats micro info pushover" and "nats micro stats
// pushover" ask for is there, and its schemas say what is really answered.
func TestServiceIsFoundDescribedAndCounted(t *testing.T) {
	t.Parallel()
	w := newAckWorld(t)
	w.emergencies(2)
	d := w.start(w.nats.ClientURL())
	if err := w.sim.Wait(w.within(), func(s pushovertest.State) bool { return s.Device(ackDevice).Connected }); err != nil {
		t.Fatal(err)
	}

	var ping micro.Ping
	w.discover("$SRV.PING", &ping)
	if ping.Name != "pushover" || ping.ID == "" || ping.Type != micro.PingResponseType {
		t.Errorf("ping: got %+v", ping)
	}
	var info micro.Info
	w.discover("$SRV.INFO.pushover", &info)
	if info.ID != ping.ID || info.Type != micro.InfoResponseType || info.Description == "" {
		t.Errorf("info: got %+v", info)
	}
	subjects, schemas := map[string]string{}, map[string]*jsonschema.Schema{}
	for _, e := range info.Endpoints {
		subjects[e.Name] = e.Subject
		if e.Metadata["description"] == "" {
			t.Errorf("endpoint %s has no description", e.Name)
		}
		for _, direction := range []string{"request_schema", "response_schema"} {
			schemas[e.Name+" "+direction] = compile(t, e.Metadata[direction])
		}
	}
	for name, want := range map[string]string{
		"ack": "pushover.rpc.ack", "status": "pushover.rpc.status", "sync": "pushover.rpc.sync", "resume": "pushover.rpc.resume",
	} {
		if subjects[name] != want {
			t.Errorf("endpoint %s is on %q, want %s; there are %v", name, subjects[name], want, subjects)
		}
	}

	command := []byte(`{"receipt":"` + w.receipts[0] + `","id":"mine"}`)
	conforms(t, schemas["ack request_schema"], command)
	for _, request := range []struct {
		endpoint string
		body     []byte
		code     string // of the error, as the service protocol has it
		answered bool   // the answer is the endpoint's document
	}{
		{"ack", command, "", true},
		{"ack", []byte(w.receipts[1]), "", true},
		{"ack", []byte("garbage"), "400", true},
		{"ack", []byte(`{"receipt":"aaaaaaaaaabbbbbbbbbbcccccccccc"}`), "404", true},
		{"status", nil, "", true},
		{"sync", []byte("{}"), "", true},
		{"resume", nil, "409", false},
	} {
		m, err := w.nc.Request(subjects[request.endpoint], request.body, patience)
		if err != nil {
			t.Fatalf("%s %s: %v", request.endpoint, request.body, err)
		}
		if code := m.Header.Get(micro.ErrorCodeHeader); code != request.code {
			t.Errorf("%s %s: error code %q %q, want %q", request.endpoint, request.body, code, m.Header.Get(micro.ErrorHeader), request.code)
		}
		if (m.Header.Get(micro.ErrorHeader) == "") != (request.code == "") {
			t.Errorf("%s %s: error %q with code %q", request.endpoint, request.body, m.Header.Get(micro.ErrorHeader), request.code)
		}
		if request.answered {
			conforms(t, schemas[request.endpoint+" response_schema"], m.Data)
		}
	}
	for _, receipt := range w.receipts {
		if by := w.acknowledgedBy(receipt); by != ackDevice {
			t.Errorf("acknowledged by %q, want %s", by, ackDevice)
		}
	}

	var stats micro.Stats
	requests, answers := map[string]int{}, map[string]string{}
	w.eventually("the requests to be counted", func() bool { // after they are answered
		w.discover("$SRV.STATS.pushover", &stats)
		for _, e := range stats.Endpoints {
			requests[e.Name], answers[e.Name] = e.NumRequests, string(e.Data)
		}
		return requests["ack"] == 4 && requests["status"] == 1 && requests["sync"] == 1 && requests["resume"] == 1
	})
	if stats.ID != ping.ID || stats.Started.IsZero() {
		t.Errorf("stats: got %+v", stats)
	}
	for name, want := range map[string]string{
		"ack": `{"answered":4,"failed":2}`, "status": `{"answered":1,"failed":0}`, "resume": `{"answered":1,"failed":1}`,
	} {
		if answers[name] != want {
			t.Errorf("stats of %s: got data %s, want %s", name, answers[name], want)
		}
	}
	d.stop()
	if _, err := w.nc.Request("$SRV.PING.pushover", nil, time.Second); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("after the end: %v, want no responders", err)
	}
	// Requests have results too, each one.
	var statuses []connector.ResultStatus
	for _, e := range w.stored("pushover.results.>") {
		statuses = append(statuses, e.Data.Status)
	}
	want := []connector.ResultStatus{connector.StatusAcknowledged, connector.StatusAcknowledged, connector.StatusRejected, connector.StatusRejected}
	if !slices.Equal(statuses, want) {
		t.Errorf("results of the requests: got %v, want %v", statuses, want)
	}
	w.wantManners()
}

// discover asks the service protocol until the service is announced with all
// its endpoints.
func (w *ackWorld) discover(subject string, answer any) {
	w.t.Helper()
	w.eventually("an answer to "+subject, func() bool {
		m, err := w.nc.RequestWithContext(w.within(), subject, nil)
		if errors.Is(err, nats.ErrNoResponders) {
			return false
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if err := json.Unmarshal(m.Data, answer); err != nil {
			w.t.Fatalf("%s: %v", subject, err)
		}
		info, described := answer.(*micro.Info)
		return !described || len(info.Endpoints) == 4
	})
}

func compile(t *testing.T, text string) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(text)))
	if err != nil {
		t.Fatalf("schema %q: %v", text, err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("urn:here", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("urn:here")
	if err != nil {
		t.Fatalf("schema %q: %v", text, err)
	}
	return schema
}

func conforms(t *testing.T, schema *jsonschema.Schema, body []byte) {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Errorf("%s is no JSON: %v", body, err)
		return
	}
	if err := schema.Validate(document); err != nil {
		t.Errorf("%s does not conform to the schema announced for it: %v", body, err)
	}
}

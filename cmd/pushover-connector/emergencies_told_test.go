package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/connector"
)

func (s *scene) status() (connector.Status, error) {
	var status connector.Status
	_, body, err := s.get("/status.json")
	if err == nil {
		err = json.Unmarshal([]byte(body), &status)
	}
	return status, err
}

func (s *scene) results() []ackEvent {
	s.t.Helper()
	if s.brokers != nil {
		return kafkaEvents(s.t, s.brokers, "pushover.results")
	}
	return s.stored("pushover.results.>")
}

// settled reports nil when all messages are on the bus and all commands have ended.
func (s *scene) settled() error {
	if err := s.ready(); err != nil {
		return err
	}
	acknowledged := 0
	for _, r := range s.sim.State().Receipts {
		if r.AcknowledgedByDevice == s.device {
			acknowledged++
		}
	}
	status, err := s.status()
	switch {
	case err != nil:
		return err
	case !status.Emergencies.Known:
		return errors.New("the emergencies from before the start are not known")
	case acknowledged < s.commanded():
		return fmt.Errorf("%d commands carried out", acknowledged)
	}
	if got := len(s.results()); got < s.commanded() {
		return fmt.Errorf("%d results", got)
	}
	return nil
}

func (s *scene) commanded() (n int) {
	for i := range s.receipts {
		if i%fates == byCommand || i%fates == byCommandToo {
			n++
		}
	}
	return n
}

// wantEmergencies asserts that each message and each result is on the bus once, and
// that the command, the document, the metric and the page tell the same emergencies:
// those that the service says nobody has acknowledged, and those that somebody else
// acknowledged after their message was downloaded, whose event says so.
func (s *scene) wantEmergencies() {
	s.t.Helper()
	if got := s.arrived(); !slices.Equal(got, s.sent) {
		s.t.Errorf("the bus holds %d messages, want the %d that were sent, once each and in order", len(got), len(s.sent))
	}
	ended, acked := map[string]int{}, map[string]bool{}
	for _, e := range s.results() {
		ended[e.Data.Receipt]++
		if e.Data.Status != connector.StatusAcknowledged || e.Data.Device != s.device {
			s.t.Errorf("result %+v, want acknowledged by %s", e.Data, s.device)
		}
	}
	for _, e := range s.messages() {
		acked[e.Data.Receipt] = e.Acked
	}
	var want []string
	counts := map[string]int{}
	for i, receipt := range s.receipts {
		results := 0
		state, _ := s.sim.Receipt(receipt)
		by := state.AcknowledgedByDevice
		if i%fates == byCommand || i%fates == byCommandToo {
			results = 1
		}
		if ended[receipt] != results || (results == 1) != (by == s.device) {
			s.t.Errorf("emergency %d has %d results and was acknowledged by %q, want %d results", i, ended[receipt], by, results)
		}
		switch {
		case by == "":
			counts["by nobody"]++
			want = append(want, receipt)
		case by == s.device:
			counts["by command"]++
		case acked[receipt]:
			counts["on the phone before the download"]++
		default:
			counts["on the phone after the download"]++
			want = append(want, receipt)
		}
	}
	s.t.Logf("%d emergencies acknowledged: %v; so %d outstanding as far as a receiver can know", len(s.receipts), counts, len(want))
	for _, kind := range []string{"by nobody", "by command", "on the phone before the download", "on the phone after the download"} {
		if counts[kind] == 0 {
			s.t.Errorf("no emergency was acknowledged %s: the test does not show what it should", kind)
		}
	}

	var told connector.EmergenciesStatus
	text, code := s.run("emergencies", "-json")
	s.must(json.Unmarshal([]byte(text), &told))
	if code != 0 || !told.Known {
		s.t.Errorf("emergencies -json ends with code %d, known %v", code, told.Known)
	}
	status, err := s.status()
	s.must(err)
	slices.Sort(want)
	for name, e := range map[string]connector.EmergenciesStatus{"emergencies -json": told, "/status.json": status.Emergencies} {
		var got []string
		for _, o := range e.Outstanding {
			got = append(got, o.Receipt)
		}
		slices.Sort(got)
		if diff := cmp.Diff(got, want); diff != "" {
			s.t.Errorf("outstanding in %s (-got +want):\n%s", name, diff)
		}
	}
	_, metrics, err := s.get("/metrics")
	s.must(err)
	if line := fmt.Sprintf("\npushover_connector_emergencies_outstanding %d\n", len(want)); !strings.Contains(metrics, line) {
		s.t.Errorf("the metrics do not say %q", line)
	}
	_, page, err := s.get("/")
	s.must(err)
	heading := fmt.Sprint("Emergencies outstanding: ", len(want))
	if len(want) > 50 { // as many are shown
		heading = fmt.Sprintf("Emergencies outstanding: 50 and %d more<", len(want)-50)
	}
	if !strings.Contains(page, heading) {
		s.t.Errorf("the page does not say %q", heading)
	}
}

// kafkaEvents reads a topic from its start to its end, as a read_committed
// consumer does.
func kafkaEvents(t testing.TB, brokers []string, topic string) []ackEvent {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := t.Context()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	var all []ackEvent
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if r.Attrs.IsControl() {
				return
			}
			e := ackEvent{Subject: topic}
			if err := json.Unmarshal(r.Value, &e); err != nil {
				t.Fatalf("record on %s: %v", topic, err)
			}
			all = append(all, e)
		})
	}
	return all
}

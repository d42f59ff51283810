package main

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// Who acknowledges the i-th emergency.
const (
	byCommand = iota
	onPhone   // before it was downloaded
	byNobody
	byCommandToo
	onPhoneLate // once it was carried to the bus
	byNobodyToo
	fates
)

// A thousand emergencies, a third acknowledged by command, a third by another
// device of the account, a third by nobody, while the program is killed ten times.
// At the end it knows what a receiver can know, wherever one looks. The service
// tells a receiver of somebody else's acknowledgement only in a message that is
// downloaded after it, by the field acked, which is in the event as well.
func TestThousandEmergenciesSurviveKills(t *testing.T) {
	const kills = 10
	n := 1000
	if testing.Short() {
		n = 100
	}
	for name, bus := range map[string]func(*scene){
		"NATS":  (*scene).toNATS,
		"kfake": (*scene).toKafka,
		"Kafka": func(s *scene) { s.toBrokers(kafkatest.Start(s.t, kafkatest.Options{}).Brokers()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			bus(s)
			phone := s.sim.AddDevice("phone")
			s.launch() // which makes the streams or topics
			s.await("start", patience, s.ready)
			s.daemon.kill()
			for range kills {
				s.sendEmergencies(n/kills, phone)
				s.launch()
				s.dieInTheMiddle(phone)
			}
			s.launch()
			s.await("everything carried and settled", patience, s.settled)
			s.wantEmergencies()
			s.wantManners()
		})
	}
}

// sendEmergencies sends some while the program is down, with commands that wait for
// it on the bus.
func (s *scene) sendEmergencies(n int, phone pushovertest.Device) {
	s.t.Helper()
	var commands []string
	for _, sent := range s.sim.SendN(n, pushovertest.Outgoing{
		Device: s.device, Priority: 2, Message: "Water {n}", Retry: 3 * time.Hour, Expire: 3 * time.Hour,
	}) {
		switch len(s.receipts) % fates {
		case byCommand, byCommandToo:
			commands = append(commands, sent.Receipt)
		case onPhone:
			s.acknowledge(sent.Receipt, phone)
		}
		s.sent = append(s.sent, sent.IDs...)
		s.receipts = append(s.receipts, sent.Receipt)
	}
	if s.brokers == nil {
		for _, receipt := range commands {
			s.command([]byte(receipt))
		}
		return
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.DefaultProduceTopic("pushover.control"))
	s.must(err)
	defer client.Close()
	for _, receipt := range commands {
		s.must(client.ProduceSync(s.within(), kgo.StringRecord(receipt)).FirstErr())
	}
}

// dieInTheMiddle kills the program at a random moment of its work. Some of what it
// has carried is acknowledged on the phone before, which it cannot know.
func (s *scene) dieInTheMiddle(phone pushovertest.Device) {
	s.t.Helper()
	before := s.sim.Waiting(s.device)
	until := rand.IntN(before)
	err := s.sim.Wait(s.within(), func(pushovertest.State) bool { return s.sim.Waiting(s.device) <= until })
	if err != nil {
		s.t.Fatalf("no progress from %d messages to %d: %v", before, until, err)
	}
	carried := len(s.receipts) - s.sim.Waiting(s.device)
	for i, receipt := range s.receipts[:carried] {
		if state, _ := s.sim.Receipt(receipt); i%fates == onPhoneLate && !state.Acknowledged {
			s.acknowledge(receipt, phone)
		}
	}
	<-time.After(time.Duration(rand.IntN(40)) * time.Millisecond)
	s.daemon.kill()
}

// acknowledge does what the official app does.
func (s *scene) acknowledge(receipt string, by pushovertest.Device) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.within(), http.MethodPost, s.sim.APIURL()+"/1/receipts/"+receipt+"/acknowledge.json",
		strings.NewReader(url.Values{"secret": {by.Secret}}.Encode()))
	s.must(err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("User-Agent", "phone/1")
	response, err := http.DefaultClient.Do(request)
	s.must(err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		s.t.Fatalf("acknowledge on %s: %s", by.Name, response.Status)
	}
}

// To the service two processes in a row are one client.
func TestRestartInAnOutageKeepsItsManners(t *testing.T) {
	s := newScene(t)
	s.toNATS()
	s.launch()
	s.await("start", patience, s.ready)
	s.sim.Fault(pushovertest.Fault{On: pushovertest.OpDownload, Status: 503})
	s.send()
	note := outageFile{path: s.credentialsFile() + ".outage", log: slog.New(slog.DiscardHandler)}
	for range 2 {
		s.await("a note of the failure", patience, func() error {
			if !note.until().After(time.Now()) {
				return errors.New("no time to come is noted")
			}
			return nil
		})
		s.daemon.kill()
		s.launch()
		asked := s.sim.Requests(pushovertest.OpDownload)
		if err := s.sim.Wait(s.within(), func(pushovertest.State) bool { return s.sim.Requests(pushovertest.OpDownload) > asked }); err != nil {
			t.Fatal(err)
		}
	}
	s.sim.ClearFaults()
	s.await("everything carried", patience, s.ready)
	if got := note.until(); !got.IsZero() {
		t.Errorf("after the outage %s is noted, want nothing", got)
	}
	s.wantManners()
}

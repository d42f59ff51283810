package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

// How soon trouble must show, and how soon all must be well once it is mended. A
// loaded machine may take patient times as long.
const (
	seenWithin = 10 * time.Second
	wellWithin = 15 * time.Second
	patient    = 4
)

// A breakage is one way in which an alarm path breaks.
type breakage struct {
	name   string
	part   connector.Part
	reason connector.Reason

	bus    func(*scene) // where events go
	first  bool         // it is broken before the program starts
	breaks func(*scene)
	mends  func(*scene)
}

var breakages = []breakage{
	{"bus killed", connector.PartBus, connector.ReasonBusUnreachable, (*scene).toNATS, false,
		func(s *scene) { s.bus.kill() },
		func(s *scene) { s.bus.start() }},
	{"bus hung", connector.PartBus, connector.ReasonTimeout, (*scene).toNATS, false,
		func(s *scene) { s.bus.signal(syscall.SIGSTOP) },
		func(s *scene) { s.bus.signal(syscall.SIGCONT) }},
	{"disk full, then freed", connector.PartStore, connector.ReasonDiskFull, (*scene).toSmallDisk, false,
		(*scene).fillDisk,
		func(s *scene) { s.must(os.Remove(s.filler())) }},
	{"wrong secret at start", connector.PartSession, connector.ReasonRefusedSecret, (*scene).toNATS, true,
		func(s *scene) {
			s.replaceCredentials(func(c *pushover.Credentials) { c.Secret = pushover.Secret(strings.Repeat("x", 60)) })
		},
		(*scene).logInAgain},
	{"secret revoked (E)", connector.PartSession, connector.ReasonRefusedSecret, (*scene).toNATS, false,
		func(s *scene) {
			s.sim.RevokeSecret(string(s.credentials().Secret))
		},
		(*scene).logInAgain},
	{"taken over (A), Kafka", connector.PartSession, connector.ReasonTakenOver, (*scene).toKafka, false,
		(*scene).startTwin,
		func(s *scene) {
			s.twin.kill()
			s.send()
			if text, code := s.run("resume"); code != 0 {
				s.t.Errorf("resume ends with code %d: %s", code, text)
			}
		}},
	{"commands' topic gone, Kafka", connector.PartCommands, connector.ReasonBusMisconfigured, (*scene).toKafka, false,
		func(s *scene) {
			s.administer(func(a *kadm.Client) error {
				_, err := a.DeleteTopics(s.within(), "pushover.control")
				return err
			})
		},
		func(s *scene) {
			s.administer(func(a *kadm.Client) error {
				_, err := a.CreateTopic(s.within(), 1, 1, nil, "pushover.control")
				return err
			})
		}},
	{"commands' stream gone, NATS", connector.PartCommands, connector.ReasonBusMisconfigured, (*scene).toNATS, false,
		(*scene).takeControlSubjects,
		func(s *scene) { s.must(s.js.DeleteStream(s.within(), "FOREIGN")) }},
	{"no network at first start", connector.PartSession, connector.ReasonNetwork, (*scene).toNATS, true,
		(*scene).unplug,
		func(s *scene) { s.must(s.sim.StartOn(s.unplugged, "")) }},
}

// Each breakage is told by everything that tells an operator anything, in the same
// words, and its end too. With -v the table of them is printed.
func TestEachBreakageIsSeenEverywhere(t *testing.T) {
	rows := make([]string, len(breakages))
	t.Run("breakages", func(t *testing.T) {
		for i, b := range breakages {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				rows[i] = b.show(t)
			})
		}
	})
	t.Logf("\n| breakage | part | reason | seen in log / readyz / page / status / metric after | ok again after |\n|---|---|---|---|---|\n%s",
		strings.Join(slices.DeleteFunc(rows, func(r string) bool { return r == "" }), "\n"))
}

// show plays the breakage and its end, and returns its row of the table.
func (b breakage) show(t *testing.T) string {
	s := newScene(t)
	b.bus(s)
	if b.first {
		b.breaks(s)
	}
	began := time.Now()
	s.launch()
	if !b.first {
		s.await("start", patience, s.ready)
		began = time.Now()
		b.breaks(s)
	}
	if s.twin == nil && s.unplugged == "" { // the twin would carry it; there is no device yet
		s.send()
	}
	var seen []string
	for i, surface := range surfaces {
		s.await(surface.name, patient*seenWithin, func() error { return s.agrees(i, b.part, b.reason) })
		seen = append(seen, fmt.Sprintf("%.1f", time.Since(began).Seconds()))
	}
	slow := ""
	if time.Since(began) > seenWithin {
		slow = " (late)"
	}
	mended := time.Now()
	b.mends(s)
	if len(s.sent) == 0 {
		s.await("mended", patient*wellWithin, s.ready)
		s.send()
	}
	s.await("mended", patient*wellWithin, s.ready)
	well := time.Since(mended)
	s.await("mended", patient*wellWithin, func() error { return s.recovered(b.part) })
	if got := s.arrived(); !slices.Equal(got, s.sent) {
		t.Errorf("the bus holds the messages %v, want %v", got, s.sent)
	}
	if well > wellWithin {
		slow += " (late to recover)"
	}
	return fmt.Sprintf("| %s | %s | %s | %s s%s | %.1f s |", b.name, b.part, b.reason, strings.Join(seen, " / "), slow, well.Seconds())
}

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/connector"
)

// While things are not known yet, status and emergencies do not say that there
// are none.
func TestStatusOfAStart(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.Local)
	past := now.Add(-time.Second)
	s := connector.Status{Parts: []connector.PartStatus{
		{Part: connector.PartSession, Reason: connector.ReasonStarting, Detail: "starting", Since: now},
		{Part: connector.PartDownload, Reason: connector.ReasonStarting, Detail: "waiting for the session", Since: now},
		{Part: connector.PartBus, Reason: connector.ReasonBusUnreachable, Detail: "refused", Since: now, Attempts: 1, NextAttempt: &past},
	}}
	var out bytes.Buffer
	printStatus(&out, s, now)
	for _, want := range []string{
		"wait  session   since 12:00:00 (0s), starting\nwait  download", "\n      waiting for the session\n",
		"failed attempts: 1, next due now\n", "queue          none known to wait\n", "emergencies    unknown so far, 0 since the start\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %q, want it to say %q", out.String(), want)
		}
	}
	s.Parts[0].OK, s.Parts[1].OK = true, true
	if got, want := queueText(s, now), "empty"; got != want {
		t.Errorf("queueText of a download that works: got %q, want %q", got, want)
	}
}

func TestEmergenciesNotReadYet(t *testing.T) {
	const unknown = "unknown: emergencies from before the start have not been read yet\n"
	now := time.Now()
	var s connector.Status
	var out bytes.Buffer
	if err := printEmergencies(&out, s, now); err != nil || out.String() != unknown {
		t.Errorf("got %q, %v, want %q", out.String(), err, unknown)
	}
	out.Reset()
	s.Emergencies.Outstanding = []connector.Emergency{{Receipt: "r1", Since: now, ExpiresBy: now}}
	if err := printEmergencies(&out, s, now); err != nil || !strings.HasPrefix(out.String(), unknown) || !strings.Contains(out.String(), "ack r1\n") {
		t.Errorf("got %q, %v, want %q and the one that is known", out.String(), err, unknown)
	}
}

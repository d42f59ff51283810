package main

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/pushover-connector/pushover-connector/connector"
)

// A computed message is a constant part of it, set behind each of several words.
type computedMessage struct {
	level    string
	constant string
	words    []string // none if the level alone is computed
}

// computedMessages are those of the functions, named package.function, that
// compute the message or the level of what they log. No other may.
func computedMessages(activities []string) map[string][]computedMessage {
	var parts []string
	for _, p := range connector.Parts() {
		parts = append(parts, string(p))
	}
	return map[string][]computedMessage{
		"connector.sayFailed": {
			{"ERROR", " halted", parts},
			{"WARN", " failed, retrying", parts},
			{"INFO", " failed, retrying", []string{string(connector.PartSession)}},
		},
		"connector.sayRecovered": {{"INFO", " recovered", parts}},
		"pushover.failed":        {{"WARN", " failed, retrying", activities}},
		"pushover.recovered":     {{"INFO", " recovered", activities}},
		"nats.write": {
			{"DEBUG", "embedded NATS server", nil},
			{"WARN", "embedded NATS server", nil},
			{"ERROR", "embedded NATS server", nil},
		},
	}
}

// Operators search and alert on the messages, so each change of one is seen.
func TestLogMessages(t *testing.T) {
	s := readLogging(t)
	lines := s.lines
	for name, all := range computedMessages(s.activities) {
		var constants, levels []string
		for _, c := range all {
			constants, levels = append(constants, c.constant), append(levels, c.level)
			for _, word := range c.words {
				lines = append(lines, c.level+" "+word+c.constant)
			}
			if c.words == nil {
				lines = append(lines, c.level+" "+c.constant)
			}
		}
		found := s.computed[name]
		if got, want := sorted(found.constants), sorted(constants); !slices.Equal(got, want) {
			t.Errorf("%s logs messages with the constant parts %q, want %q", name, got, want)
		}
		if got, want := sorted(found.levels), sorted(levels); !slices.Equal(got, want) {
			t.Errorf("%s logs at the levels %q, want %q", name, got, want)
		}
		delete(s.computed, name)
	}
	for name := range s.computed {
		t.Errorf("%s computes a log message: make it constant, and what varies an attribute", name)
	}

	lines = sorted(lines)
	for _, line := range lines {
		_, message, _ := strings.Cut(line, " ")
		if fault := spellingFault(message); fault != "" {
			t.Errorf("log message %q %s", message, fault)
		}
		if activity, ok := strings.CutSuffix(message, " failed, retrying"); ok && !slices.Contains(lines, "INFO "+activity+" recovered") {
			t.Errorf("log message %q has no counterpart %q", message, activity+" recovered")
		}
	}
	golden(t, "logs.golden", lines)
}

// spellingFault says what is wrong with a message, "" if nothing is.
func spellingFault(message string) string {
	first, _, _ := strings.Cut(message, " ")
	names := []string{"Kafka", "NATS", "JetStream", "Pushover"}
	constant := strings.TrimSuffix(message, " failed, retrying")
	switch {
	case !unicode.IsLower(rune(message[0])) && !slices.Contains(names, first):
		return "does not begin with a small letter"
	case strings.HasSuffix(message, ".") || strings.Contains(message, ";"):
		return "is a sentence; put what happened first, the rest into attributes"
	case strings.Contains(constant, "retry") || strings.Contains(constant, "trying") || strings.Contains(constant, "try again"):
		return `is not spelt "<activity> failed, retrying"`
	}
	return ""
}

func sorted(words []string) []string { return slices.Compact(slices.Sorted(slices.Values(words))) }

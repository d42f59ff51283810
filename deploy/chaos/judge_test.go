package main

import (
	"testing"
)

// good is a history in which nothing is wrong.
func good() history {
	h := history{
		sent: []string{"1", "2", "3"}, messages: []event{{ID: "1"}, {ID: "2"}, {ID: "3"}},
		commands: map[string]string{"c1": "r1", "c2": "r2"}, acknowledged: map[string]bool{"r1": true},
		outstanding: 1, told: 1,
	}
	h.results = []event{result("c1", "r1", "acknowledged"), result("c2", "r2", "rejected")}
	return h
}

func result(command, receipt, status string) (e event) {
	e.Data.CommandID, e.Data.Receipt, e.Data.Status = command, receipt, status
	return e
}

func TestJudge(t *testing.T) {
	for _, v := range judge(good()) {
		if v.broken() {
			t.Errorf("a good history: %s: got %d, want %d", v.What, v.Got, v.Want)
		}
	}
	for want, spoil := range map[string]func(*history){
		"missing":                  func(h *history) { h.messages = h.messages[1:] },
		"twice":                    func(h *history) { h.messages = append(h.messages, event{ID: "3"}) },
		"never sent":               func(h *history) { h.messages = append(h.messages, event{ID: "4"}) },
		"out of order":             func(h *history) { h.messages[0], h.messages[1] = h.messages[1], h.messages[0] },
		"messages in the log once": func(h *history) { h.sent = append(h.sent, "4") },
		"commands with exactly one result": func(h *history) {
			h.results = append(h.results, result("c1", "r1", "acknowledged"))
		},
		"results that the service contradicts": func(h *history) { h.acknowledged["r3"] = true },
		"emergencies said to be outstanding":   func(h *history) { h.told = 0 },
		"rules of manners broken":              func(h *history) { h.manners = []string{"early-retry"} },
	} {
		h := good()
		spoil(&h)
		found := false
		for _, v := range judge(h) {
			found = found || v.What == want && v.broken()
		}
		if !found {
			t.Errorf("%s is not noticed", want)
		}
	}
	h := good()
	delete(h.acknowledged, "r1")
	if v := judge(h)[6]; !v.broken() {
		t.Errorf("%s: an acknowledgement that was not made is not noticed", v.What)
	}
}

func TestLooseIDsOrderSecondsOnly(t *testing.T) {
	h := history{loose: true}
	for _, id := range []string{"4294967299", "4294967297", "8589934592"} { // seconds 1, 1 and 2
		h.messages = append(h.messages, event{ID: id})
	}
	if got := misplaced(h); len(got) != 0 {
		t.Errorf("within a second: got %v misplaced, want none", got)
	}
	h.messages = append(h.messages, event{ID: "4294967298"})
	if got := misplaced(h); len(got) != 1 {
		t.Errorf("a second late: got %v misplaced, want one", got)
	}
}

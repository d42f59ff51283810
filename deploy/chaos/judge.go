package main

import (
	"fmt"
	"slices"
	"strconv"
)

// An event is what is judged of an event in the log.
type event struct {
	ID   string `json:"id"`
	Data struct {
		CommandID string `json:"command_id"`
		Receipt   string `json:"receipt"`
		Status    string `json:"status"`
	} `json:"data"`
}

// A history is what was put in, and what came out.
type history struct {
	sent     []string          // ids of messages
	commands map[string]string // receipts, by the commands' ids
	messages []event           // the log's, in its order
	results  []event

	acknowledged map[string]bool // receipts, according to the service
	outstanding  int             // emergencies that the service holds open
	told         int             // and those that the connector says it does
	manners      []string        // broken rules of the service
	loose        bool            // ids ascend from second to second only
}

// A verdict is one line of the table. It is broken if Got is not Want.
type verdict struct {
	What      string
	Got, Want int
	Which     string // of them, the first few
}

func (v verdict) broken() bool { return v.Got != v.Want }

// judge compares what came out with what was put in.
func judge(h history) []verdict {
	count := map[string]int{}
	for _, e := range h.messages {
		count[e.ID]++
	}
	var once int
	var twice, missing []string
	sent := map[string]bool{}
	for _, id := range h.sent {
		sent[id] = true
		switch n := count[id]; {
		case n == 0:
			missing = append(missing, id)
		case n > 1:
			twice = append(twice, id)
		default:
			once++
		}
	}
	var unasked []string
	for id := range count {
		if !sent[id] {
			unasked = append(unasked, id)
		}
	}

	results := map[string][]event{}
	for _, e := range h.results {
		results[e.Data.CommandID] = append(results[e.Data.CommandID], e)
	}
	var one int
	var odd, lying []string
	for id, receipt := range h.commands {
		got := results[id]
		if len(got) != 1 {
			odd = append(odd, fmt.Sprintf("%s has %d", id, len(got)))
			continue
		}
		one++
		if said := got[0].Data.Status; (said == "acknowledged") != h.acknowledged[receipt] {
			lying = append(lying, fmt.Sprintf("%s: %s", receipt, said))
		}
	}
	commanded := map[string]bool{}
	for _, receipt := range h.commands {
		commanded[receipt] = true
	}
	for receipt := range h.acknowledged {
		if !commanded[receipt] {
			lying = append(lying, receipt+": acknowledged by nobody's command")
		}
	}
	return []verdict{
		{"messages in the log once", once, len(h.sent), ""},
		{"twice", len(twice), 0, some(twice)},
		{"missing", len(missing), 0, some(missing)},
		{"never sent", len(unasked), 0, some(unasked)},
		{"out of order", len(misplaced(h)), 0, some(misplaced(h))},
		{"commands with exactly one result", one, len(h.commands), some(odd)},
		{"results that the service contradicts", len(lying), 0, some(lying)},
		{"emergencies said to be outstanding", h.told, h.outstanding, ""},
		{"rules of manners broken", len(h.manners), 0, some(h.manners)},
	}
}

// misplaced lists the messages with a lower id than one before them. Loose ids order
// seconds only, which their upper halves are.
func misplaced(h history) (ids []string) {
	shift := 0
	if h.loose {
		shift = 32
	}
	var highest uint64
	for _, e := range h.messages {
		n, _ := strconv.ParseUint(e.ID, 10, 64) // one that is not a number was never sent, and counts as that
		if n>>shift < highest {
			ids = append(ids, e.ID)
		}
		highest = max(highest, n>>shift)
	}
	return ids
}

func some(list []string) string {
	const most = 3
	slices.Sort(list)
	if len(list) <= most {
		return fmt.Sprint(list)
	}
	return fmt.Sprint(list[:most], " …")
}

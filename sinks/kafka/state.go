package kafka

import (
	"errors"
	"fmt"
	"sync"
)

// The jobs whose health makes up the bus's.
const (
	jobPublish = "publish"
	jobControl = "control"
)

// A health remembers which jobs fail and tells of changes. It is safe for
// concurrent use; changes are told in order.
type health struct {
	notify func(connected bool, reason string, err error) // may be nil

	mu      sync.Mutex
	failing map[string]error
	told    string // the reason last told of, empty = connected
	ever    bool   // whether anything was told yet
}

// set records how a job fares: nil is well.
func (h *health) set(job string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing == nil {
		h.failing = map[string]error{}
	}
	if err == nil {
		delete(h.failing, job)
	} else {
		h.failing[job] = err
	}
	worst := h.worst()
	reason := ""
	if worst != nil {
		reason = reasonOf(worst)
	}
	if h.ever && reason == h.told {
		return
	}
	h.ever, h.told = true, reason
	if h.notify != nil {
		h.notify(worst == nil, reason, worst)
	}
}

// worst is the failure that stands for all: publishing matters most.
func (h *health) worst() error {
	for _, job := range []string{jobPublish, jobControl} {
		if err := h.failing[job]; err != nil {
			return fmt.Errorf("%s: %w", job, err)
		}
	}
	return nil
}

var errNotYet = errors.New("not connected yet")

// connected returns nil when all jobs are well.
func (h *health) connected() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ever {
		return errNotYet
	}
	return h.worst()
}

package pushovertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A State is a picture of the service at one moment, the same that GET
// /sim/state gives. It holds no secrets.
type State struct {
	Devices  []DeviceState  `json:"devices"`
	Receipts []ReceiptState `json:"receipts"`
	// Requests counts what arrived, by operation.
	Requests   map[Operation]int `json:"requests"`
	Violations int               `json:"violations"`
}

// Device finds a device by name. Without one it returns the zero DeviceState.
func (s State) Device(name string) DeviceState {
	for _, d := range s.Devices {
		if d.Name == name {
			return d
		}
	}
	return DeviceState{}
}

// Receipt finds a receipt. Without one it returns the zero ReceiptState.
func (s State) Receipt(id string) ReceiptState {
	for _, r := range s.Receipts {
		if r.Receipt == id {
			return r
		}
	}
	return ReceiptState{}
}

// A DeviceState is what the dashboard could show of a device.
type DeviceState struct {
	Name string `json:"name"`
	// Account is the e-mail address.
	Account string `json:"account"`
	// Queue holds the ids not deleted yet, ascending. States share it: it is
	// to be read only. [Server.Queue] gives a copy.
	Queue []string `json:"queue"`
	// Connected says that a stream has logged in and is open.
	Connected bool `json:"connected"`
	// Logins counts the streams that logged in so far.
	Logins   int  `json:"logins"`
	Disabled bool `json:"disabled"`
}

// A ReceiptState is what is known about an emergency.
type ReceiptState struct {
	Receipt      string `json:"receipt"`
	Acknowledged bool   `json:"acknowledged"`
	// AcknowledgedAt is zero, and absent in JSON, until somebody did.
	// AcknowledgedBy is a user key.
	AcknowledgedAt       time.Time `json:"acknowledged_at,omitzero"`
	AcknowledgedBy       string    `json:"acknowledged_by"`
	AcknowledgedByDevice string    `json:"acknowledged_by_device"`
	ExpiresAt            time.Time `json:"expires_at"`
	Expired              bool      `json:"expired"`
	Cancelled            bool      `json:"cancelled"`
	CalledBack           bool      `json:"called_back"`
	// Retries counts repeated signals, Calls the acknowledgements received.
	Retries int `json:"retries"`
	Calls   int `json:"calls"`
}

// State returns the state of now.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state()
}

func (s *Server) state() State {
	st := State{
		Devices:    []DeviceState{},
		Receipts:   make([]ReceiptState, 0, len(s.order)),
		Requests:   maps.Clone(s.requests),
		Violations: len(s.manners.violations),
	}
	for _, d := range s.named("") {
		s.expire(d)
		st.Devices = append(st.Devices, DeviceState{
			Name: d.name, Account: d.account.Email, Queue: d.ids(), Connected: d.stream != nil,
			Logins: d.logins, Disabled: !s.usable(d),
		})
	}
	slices.SortStableFunc(st.Devices, func(a, b DeviceState) int { return strings.Compare(a.Name, b.Name) })
	now := time.Now()
	for _, r := range s.order {
		st.Receipts = append(st.Receipts, r.state(now))
	}
	return st
}

// Requests tells how many requests of an operation have arrived, answered or
// not.
func (s *Server) Requests(op Operation) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[op]
}

// Wait returns nil as soon as cond holds. It looks at every change of state
// and never polls; changes that come while cond is working are looked at
// together. What changes by mere passing of time, such as expiry, is seen at
// the next change. It ends with an error when ctx or the server does. A
// look costs the number of devices and receipts, not that of messages.
func (s *Server) Wait(ctx context.Context, cond func(State) bool) error {
	for {
		s.mu.Lock()
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		next, now := s.changed, s.state()
		s.mu.Unlock()
		if cond(now) {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("wait for state of the simulator: %w", context.Cause(ctx))
		case <-s.done:
			return fmt.Errorf("wait for state of the simulator: server closed")
		}
	}
}

// bump tells those who Wait that something changed. The lock is held.
func (s *Server) bump() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

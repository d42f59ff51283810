package pushovertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Control calls that make things happen: messages, frames, faults.

func (s *Server) controlMessages(body []byte) (any, error) {
	in := struct {
		Outgoing
		Count     int `json:"count"`
		TTL       span
		Retry     span
		Expire    span
		Age       span
		Timestamp int64
	}{Count: 1, Outgoing: Outgoing{Message: "message {n}"}}
	if err := decodeControl(body, &in); err != nil {
		return nil, err
	}
	switch {
	case in.Count < 1 || in.Count > maxCount:
		return nil, fmt.Errorf("count: %d is not between 1 and %d", in.Count, maxCount)
	case in.Priority < -2 || in.Priority > 2:
		return nil, fmt.Errorf("priority: %d is not between -2 and 2", in.Priority)
	}
	if err := s.knownDevices(in.To, in.Device); err != nil {
		return nil, err
	}
	m := in.Outgoing
	m.TTL, m.Retry, m.Expire = time.Duration(in.TTL), time.Duration(in.Retry), time.Duration(in.Expire)
	if in.Age > 0 {
		m.Queued = time.Now().Add(-time.Duration(in.Age))
	}
	if in.Timestamp != 0 {
		m.Timestamp = time.Unix(in.Timestamp, 0)
	}
	out := struct {
		IDs      []string `json:"ids"`
		Receipts []string `json:"receipts"`
	}{IDs: []string{}, Receipts: []string{}}
	for _, sent := range s.SendN(in.Count, m) {
		out.IDs = append(out.IDs, sent.IDs...)
		if sent.Receipt != "" {
			out.Receipts = append(out.Receipts, sent.Receipt)
		}
	}
	return out, nil
}

// knownDevices refuses names that the sending side would silently widen to
// all devices: in a script that is a mistake.
func (s *Server) knownDevices(to, names string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	accounts := s.recipients(to)
	if len(accounts) == 0 {
		return fmt.Errorf("to: no account or group %q", to)
	}
	if names == "" {
		return nil
	}
	for name := range strings.SplitSeq(names, ",") {
		if !slices.ContainsFunc(s.named(strings.TrimSpace(name)), func(d *device) bool { return slices.Contains(accounts, d.account) }) {
			return fmt.Errorf("device: no device %q", strings.TrimSpace(name))
		}
	}
	return nil
}

func (s *Server) controlFrames(body []byte) (any, error) {
	var in struct {
		Frame  string `json:"frame"`
		Device string `json:"device"`
		Mode   string `json:"mode"`
		Close  *int   `json:"close"`
		Reason string `json:"reason"`
	}
	if err := decodeControl(body, &in); err != nil {
		return nil, err
	}
	if in.Frame == "" && in.Close == nil {
		return nil, errors.New("frame: is required, one byte for each signal (or close: a close code, 0 for none)")
	}
	if c := in.Close; c != nil && *c != 0 && (*c < 1000 || *c > 4999) {
		return nil, fmt.Errorf("close: %d is not a close code (0, or 1000 to 4999)", *c)
	}
	s.mu.Lock()
	devices := s.named(in.Device)
	connected := 0
	for _, d := range devices {
		if d.stream != nil {
			connected++
		}
	}
	s.mu.Unlock()
	if in.Device != "" && len(devices) == 0 {
		return nil, fmt.Errorf("device: no device %q", in.Device)
	}
	send := s.Signal
	switch in.Mode {
	case "", "binary":
	case "text":
		send = s.SignalText
	case "joined":
		send = s.SignalJoined
	case "split":
		send = s.SignalSplit
	default:
		return nil, fmt.Errorf("mode: %q is none of binary, text, joined, split", in.Mode)
	}
	send(in.Device, in.Frame)
	if in.Close != nil {
		s.CloseStreams(in.Device, *in.Close, in.Reason)
	}
	return struct {
		Streams int `json:"streams"`
	}{connected}, nil
}

func (s *Server) controlFaults(body []byte) (any, error) {
	var in struct {
		Fault
		RetryAfter span `json:"retry_after"`
		Delay      span
		For        span
	}
	if err := decodeControl(body, &in); err != nil {
		return nil, err
	}
	f := in.Fault
	f.RetryAfter, f.Delay, f.For = time.Duration(in.RetryAfter), time.Duration(in.Delay), time.Duration(in.For)
	if err := f.validate(); err != nil {
		return nil, err
	}
	s.addFault(f)
	return done{true}, nil
}

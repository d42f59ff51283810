package pushovertest

import (
	"strings"

	"github.com/gorilla/websocket"
)

// Signal sends each byte of frames as a message of its own on the streams of
// a device, "" meaning all. As the real service does, E and A also end the
// stream; what follows them is not sent. Any byte may be sent.
func (s *Server) Signal(device, frames string) {
	for i := range len(frames) {
		s.signal(device, frameBinary, frames[i:i+1])
	}
}

// SignalText is Signal with text messages.
func (s *Server) SignalText(device, frames string) {
	for i := range len(frames) {
		s.signal(device, frameText, frames[i:i+1])
	}
}

// SignalJoined sends all bytes in one binary message.
func (s *Server) SignalJoined(device, frames string) { s.signal(device, frameBinary, frames) }

// SignalSplit sends all bytes as one binary message in fragments of one byte.
func (s *Server) SignalSplit(device, frames string) { s.signal(device, frameSplit, frames) }

func (s *Server) signal(name string, kind frameKind, payload string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.named(name) {
		st := d.stream
		if st == nil {
			continue
		}
		d.credit += 2 * min(len(payload), 8)
		last := strings.IndexAny(payload, "REA")
		if last >= 0 && payload[last] != 'R' {
			s.manners.tell(st, payload[last])
		}
		st.push(frame{kind: kind, payload: payload})
		if last >= 0 {
			st.parted = true
		}
		if strings.ContainsAny(payload, "EA") {
			st.push(frame{kind: frameClose, code: websocket.CloseNormalClosure})
			st.leave()
		}
	}
	s.bump()
}

// CloseStreams closes the streams of a device, "" meaning all, with a close
// code and reason. Code 0 closes the TCP connection without a word.
func (s *Server) CloseStreams(device string, code int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.named(device) {
		st := d.stream
		if st == nil {
			continue
		}
		if code == 0 {
			st.push(frame{kind: frameAbort})
		} else {
			st.push(frame{kind: frameClose, code: code, payload: reason[:min(len(reason), 123)]})
		}
		st.leave()
	}
}

// StopKeepAlive stops the '#' on all streams, or lets them go on.
func (s *Server) StopKeepAlive(stop bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = stop
}

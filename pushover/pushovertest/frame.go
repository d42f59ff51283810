package pushovertest

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/gorilla/websocket"
)

type frameKind int

const (
	frameBinary frameKind = iota
	frameText
	frameSplit // the message in fragments of one byte, with an empty one at the end
	framePing
	frameClose
	frameAbort // TCP close without a close frame
)

// A frame is one thing to send on a stream. n times, if n is not 0: a hundred
// thousand wake-ups need no memory.
type frame struct {
	kind    frameKind
	payload string
	n       int
	code    int
}

func (f frame) same(g frame) bool {
	return f.kind == g.kind && f.payload == g.payload && f.kind != frameClose && f.kind != frameAbort
}

// appendFrame appends one websocket frame, unmasked as servers send it (RFC
// 6455, 5.2). Frames are built here and not by the websocket library because
// a fault may want fragments, or thousands of frames in one write.
func appendFrame(out []byte, final bool, opcode byte, payload string) []byte {
	if final {
		opcode |= 0x80
	}
	out = append(out, opcode)
	switch n := len(payload); {
	case n < 126:
		out = append(out, byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, 126), uint16(n)) //nolint:gosec // checked
	default:
		out = binary.BigEndian.AppendUint64(append(out, 127), uint64(n)) //nolint:gosec // not negative
	}
	return append(out, payload...)
}

func (f frame) append(out []byte) []byte {
	switch f.kind {
	case frameBinary:
		return appendFrame(out, true, websocket.BinaryMessage, f.payload)
	case frameText:
		return appendFrame(out, true, websocket.TextMessage, f.payload)
	case framePing:
		return appendFrame(out, true, websocket.PingMessage, f.payload)
	case frameClose:
		return appendFrame(out, true, websocket.CloseMessage, string(websocket.FormatCloseMessage(f.code, f.payload)))
	case frameSplit:
		opcode := byte(websocket.BinaryMessage)
		for i := range len(f.payload) {
			out = appendFrame(out, false, opcode, f.payload[i:i+1])
			opcode = 0 // continuation
		}
		return appendFrame(out, true, opcode, "")
	case frameAbort:
	}
	return out
}

const writeTimeout = 10 * time.Second

// write sends frames. Each Write holds whole frames, so that the pongs and
// close frames of the library, which come from another goroutine, fall
// between them.
func (st *stream) write(frames []frame) error {
	for _, f := range frames {
		if f.kind == frameAbort {
			return errAborted
		}
		left := max(f.n, 1)
		for left > 0 {
			var buf []byte
			for left > 0 && len(buf) < 8<<10 {
				buf = f.append(buf)
				left--
			}
			if err := st.raw.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
				return fmt.Errorf("write frame: %w", err)
			}
			if _, err := st.raw.Write(buf); err != nil {
				return fmt.Errorf("write frame: %w", err)
			}
		}
	}
	return nil
}

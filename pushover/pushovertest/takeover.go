package pushovertest

import (
	"errors"
	"io"
	"time"

	"github.com/gorilla/websocket"
)

// A verdict is an E or A that was sent on a stream. It binds the client from
// the moment it surely heard it.
type verdict struct {
	signal byte
	key    fingerprint
	at     time.Time
	heard  bool
	// again says that the same login came before it was known to be heard.
	again bool
	// winner is the stream that displaced this one. Nil if the A was scripted.
	winner *stream
}

func loginKey(deviceID, secret string) fingerprint { return hash("login", deviceID, secret) }

// tell notes that E or A goes out on a stream. After R the client need not
// read on, so what follows does not bind it.
func (m *manners) tell(st *stream, signal byte) {
	if st.parted {
		return
	}
	st.parted = true
	v := &verdict{signal: signal, key: hash(string(st.key[:]), st.client), at: time.Now()}
	st.told = v
	m.prune()
	m.verdicts[v.key] = v
}

// loggingIn judges a login on a stream.
func (m *manners) loggingIn(st *stream, d *device) {
	v := m.verdicts[hash(string(st.key[:]), st.client)]
	if v == nil {
		return
	}
	age := time.Since(v.at)
	switch {
	case v.signal == 'E' && age < afterError:
		m.again(v)
	case v.signal == 'A' && age < afterTakeover:
		w := v.winner
		if w == nil || w.key != st.key {
			m.again(v)
			return
		}
		// The winner has the same credentials, so this could be the winner
		// itself, back after its connection broke. If its connection still
		// has a reader it is not.
		if d != nil && d.stream == w {
			w.onAlive = func() { m.again(v) }
			w.push(frame{kind: framePing, payload: "there?"})
		}
	}
}

// again accuses a client that logs in after E or A.
func (m *manners) again(v *verdict) {
	if !v.heard {
		v.again = true
		return
	}
	rule := RuleReconnectError
	if v.signal == 'A' {
		rule = RuleReconnectTakeover
	}
	m.accuse(rule, "stream login "+time.Since(v.at).Round(time.Millisecond).String()+" after "+string(v.signal))
}

// ended notes how a stream ended. A client that closes in an orderly way
// after E or A was sent has heard it; one that only vanished may not have.
func (m *manners) ended(st *stream, err error) {
	v := st.told
	if v == nil {
		return
	}
	var closing *websocket.CloseError
	if !errors.As(err, &closing) && !errors.Is(err, io.EOF) {
		return
	}
	v.heard = true
	// Without a close frame the client may have hung up before it read.
	if v.again && closing != nil && closing.Code != websocket.CloseAbnormalClosure {
		v.again = false
		m.again(v)
	}
}

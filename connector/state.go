package connector

// State is where a connector's session stands. The set is closed: dashboards
// and alerts are written against these names.
type State string

// The states of a session. Only [StateLive] is ready. The last three need a
// person, or new credentials, and are never left by retrying.
const (
	StateStarting    State = "starting"     // nothing tried yet
	StateConnecting  State = "connecting"   // dialling the push stream
	StateConnected   State = "connected"    // login frame sent, nothing heard yet
	StateLive        State = "live"         // the service has spoken on this connection, or accepted a download and left it open
	StateWaiting     State = "waiting"      // backing off before the next attempt
	StateStopped     State = "stopped"      // shut down
	StateLoginNeeded State = "login_needed" // credentials missing, refused, or the device disabled
	StateTakenOver   State = "taken_over"   // another program logged in as this device
	StateFenced      State = "fenced"       // another connector writes to the log
)

// States lists all states in a fixed order.
func States() []State {
	return []State{
		StateStarting, StateConnecting, StateConnected, StateLive, StateWaiting,
		StateLoginNeeded, StateTakenOver, StateFenced, StateStopped,
	}
}

// halted reports whether the session waits for a person.
func (s State) halted() bool {
	return s == StateLoginNeeded || s == StateTakenOver || s == StateFenced
}

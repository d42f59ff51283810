package connector

import (
	"sync"
	"time"
)

// A Status says where a connector stands. It holds neither secrets nor message
// texts, and is what the status request, the status page and readiness show.
type Status struct {
	Device      string      `json:"device"`
	State       State       `json:"state"`
	Reason      string      `json:"reason,omitempty"`
	Remedy      string      `json:"remedy,omitempty"`
	Since       time.Time   `json:"since"`
	Ready       bool        `json:"ready"`
	Sink        string      `json:"sink"`
	SinkError   string      `json:"sink_error,omitempty"`
	LastSignal  *time.Time  `json:"last_signal,omitempty"`
	LastSync    *time.Time  `json:"last_sync,omitempty"`
	LastPublish *time.Time  `json:"last_publish,omitempty"`
	Emergencies []Emergency `json:"emergencies"`
	Version     string      `json:"version"`
}

// Status returns the present status.
func (c *Connector) Status() Status {
	s := c.board.snapshot()
	s.Device = c.commands.deviceName()
	s.Sink = c.m.sink
	s.Version = c.o.Version
	s.Emergencies = c.emergencies.list(time.Now())
	s.Ready = true
	for _, check := range c.Readiness() {
		s.Ready = s.Ready && check.Err == nil
		if check.Name == "sink" && check.Err != nil {
			s.SinkError = check.Err.Error()
		}
	}
	return s
}

// board is where the session's goroutines write down how they fare, for those
// who ask. It is safe for concurrent use.
type board struct {
	m *Metrics

	mu         sync.Mutex
	status     Status
	publishErr error     // of a publish that is being retried
	aliveUntil time.Time // the loop promises to turn again by then
}

func newBoard(m *Metrics) *board {
	now := time.Now()
	return &board{
		m:          m,
		status:     Status{State: StateStarting, Since: now},
		aliveUntil: now.Add(aliveSlack),
	}
}

// aliveSlack is granted on top of what a step of the loop says it may take.
const aliveSlack = time.Minute

func (b *board) snapshot() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

func (b *board) state() State { return b.snapshot().State }

func (b *board) set(s State, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.status.State != s {
		b.status.Since = time.Now()
	}
	b.status.State, b.status.Reason, b.status.Remedy = s, reason, s.remedy()
	b.m.setState(s)
}

func (b *board) heard() {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.LastSignal = &now
}

func (b *board) downloaded() {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.LastSync = &now
}

func (b *board) published() {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.LastPublish = &now
}

// publishing records how the publish in hand fares; nil means well.
func (b *board) publishing(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publishErr = err
}

func (b *board) publishTrouble() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.publishErr
}

// beat promises that the loop turns again within d.
func (b *board) beat(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.aliveUntil = time.Now().Add(d + aliveSlack)
}

// beating beats for as long as call runs. It is for calls to the service: the
// client bounds each of its requests, but holds one back for as long as the
// service has asked for, which may be hours.
func (b *board) beating(call func() error) error {
	const every = 30 * time.Second
	b.beat(every)
	ended := make(chan struct{})
	var task sync.WaitGroup
	task.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.beat(every)
			case <-ended:
				return
			}
		}
	})
	defer task.Wait()
	defer close(ended)
	return call()
}

// overdue is how long the loop has been expected to turn, 0 or less while it
// is not.
func (b *board) overdue() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Since(b.aliveUntil)
}

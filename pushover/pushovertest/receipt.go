package pushovertest

import (
	"net/http"
	"slices"
	"time"
)

// RetryMode is what happens at each repetition of an emergency. How the real
// service lets an Open Client know is not documented.
type RetryMode string

// The modes.
const (
	// RetrySignal sends another '!'. The default.
	RetrySignal RetryMode = "signal"
	// RetryMessage queues the message again, under a new id and the same umid.
	RetryMessage RetryMode = "message"
)

// Rules of emergencies.
const (
	minRetry       = 30 * time.Second
	maxExpire      = 10800 * time.Second
	maxRetries     = 50
	receiptsLiveOn = 7 * 24 * time.Hour
)

// SetRetryMode chooses what later repetitions do.
func (s *Server) SetRetryMode(m RetryMode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retryMode = m
}

// A receipt is one emergency, whoever it was sent to.
type receipt struct {
	id       string
	app      *application
	accounts []*account
	message  Outgoing
	retry    time.Duration
	created  time.Time
	expires  time.Time
	last     time.Time // last delivery
	timer    *time.Timer
	sent     map[*account]*message

	acknowledged bool
	at           time.Time
	by           *account
	byDevice     string
	cancelled    bool
	calledBack   time.Time
	retries      int
	calls        int
}

func (s *Server) newReceipt(m Outgoing, accounts []*account) *receipt {
	now := time.Now()
	s.forgetOldReceipts(now)
	if m.Retry <= 0 {
		m.Retry = time.Minute
	}
	if m.Expire <= 0 {
		m.Expire = time.Hour
	}
	r := &receipt{
		id: randomText(30), app: m.app, sent: map[*account]*message{}, accounts: slices.Clone(accounts), message: m,
		retry: max(m.Retry, minRetry), created: now, last: now, expires: now.Add(min(m.Expire, maxExpire)),
	}
	s.receipts[r.id] = r
	s.order = append(s.order, r)
	if !s.closed && len(accounts) > 0 {
		r.timer = time.AfterFunc(r.retry, func() { s.repeat(r) })
	}
	return r
}

// forgetOldReceipts drops what can be queried no longer: after one week.
func (s *Server) forgetOldReceipts(now time.Time) {
	n := 0
	for n < len(s.order) && now.Sub(s.order[n].created) > receiptsLiveOn {
		delete(s.receipts, s.order[n].id)
		n++
	}
	clear(s.order[:n])
	s.order = s.order[n:]
}

// repeat is one retry: it rings again on every device until somebody
// acknowledges, the receipt expires, is cancelled or has rung fifty times.
func (s *Server) repeat(r *receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.closed || r.over(now) || r.retries >= maxRetries {
		return
	}
	r.retries++
	r.last = now
	for _, a := range r.accounts {
		devices := s.targets(a, r.message.Device)
		if s.retryMode == RetryMessage && r.sent[a] != nil {
			s.enqueue(r.sent[a], devices, time.Now())
			continue
		}
		for _, d := range devices {
			s.wake(d)
		}
	}
	s.bump()
	r.timer.Reset(r.retry)
}

// over says that there is nothing left to repeat.
func (r *receipt) over(now time.Time) bool {
	return r.acknowledged || r.cancelled || !now.Before(r.expires)
}

func (r *receipt) stop() {
	if r.timer != nil {
		r.timer.Stop()
	}
}

func (r *receipt) state(now time.Time) ReceiptState {
	st := ReceiptState{
		Receipt: r.id, Acknowledged: r.acknowledged, AcknowledgedAt: r.at, AcknowledgedByDevice: r.byDevice,
		ExpiresAt: r.expires, Expired: !now.Before(r.expires), Cancelled: r.cancelled,
		CalledBack: !r.calledBack.IsZero(), Retries: r.retries, Calls: r.calls,
	}
	if r.by != nil {
		st.AcknowledgedBy = r.by.UserKey
	}
	return st
}

// Receipt tells about one emergency. A receipt older than a week is forgotten.
func (s *Server) Receipt(id string) (ReceiptState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.receipts[id]
	if r == nil {
		return ReceiptState{}, false
	}
	return r.state(time.Now()), true
}

// acknowledge is POST receipts/<receipt>/acknowledge.json. The first one
// wins, for a group as well; a later one changes nothing and is not an error. Wire
// reference 2.5.
func (s *Server) acknowledge(c *call) reply {
	se := s.sessions[c.params.Get("secret")]
	if se == nil {
		return s.refuse(http.StatusBadRequest, "secret", "is invalid")
	}
	r := s.receipts[c.arg]
	if r == nil || !slices.Contains(r.accounts, se.account) {
		return s.refuse(http.StatusNotFound, "receipt", "not found; may be invalid or expired")
	}
	r.calls++
	if !r.acknowledged {
		r.acknowledged, r.at, r.by = true, time.Now(), se.account
		if se.device != nil {
			r.byDevice = se.device.name
		}
		r.stop()
		s.callBack(r)
	}
	return s.success(nil)
}

// receiptStatus is GET receipts/<receipt>.json, for senders [receipts].
func (s *Server) receiptStatus(c *call) reply {
	r, refusal := s.receiptOf(c)
	if refusal != nil {
		return *refusal
	}
	unix := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.Unix()
	}
	flag := map[bool]int{true: 1}
	fields := map[string]any{
		"acknowledged": flag[r.acknowledged], "acknowledged_at": unix(r.at), "acknowledged_by": "",
		"acknowledged_by_device": r.byDevice, "last_delivered_at": unix(r.last),
		"expired": flag[!time.Now().Before(r.expires) || r.cancelled], "expires_at": unix(r.expires),
		"called_back": flag[!r.calledBack.IsZero()], "called_back_at": unix(r.calledBack),
	}
	if r.by != nil {
		fields["acknowledged_by"] = r.by.UserKey
	}
	return s.success(fields)
}

// cancel is POST receipts/<receipt>/cancel.json: it ends the repetitions.
func (s *Server) cancel(c *call) reply {
	r, refusal := s.receiptOf(c)
	if refusal != nil {
		return *refusal
	}
	r.cancelled = true
	r.stop()
	return s.success(nil)
}

// cancelByTag is POST receipts/cancel_by_tag/<tag>.json.
func (s *Server) cancelByTag(c *call) reply {
	app := s.apps[c.params.Get("token")]
	if app == nil {
		return s.refuse(http.StatusBadRequest, "token", "is invalid")
	}
	n, now := 0, time.Now()
	for _, r := range s.order {
		if r.app == app && !r.over(now) && slices.Contains(r.message.tags, c.arg) {
			r.cancelled = true
			r.stop()
			n++
		}
	}
	return s.success(map[string]any{"canceled": n})
}

// receiptOf finds the receipt a sender asks for, by the token it was made with.
func (s *Server) receiptOf(c *call) (*receipt, *reply) {
	app := s.apps[c.params.Get("token")]
	if app == nil {
		r := s.refuse(http.StatusBadRequest, "token", "is invalid")
		return nil, &r
	}
	r := s.receipts[c.arg]
	if r == nil || r.app != app || time.Since(r.created) > receiptsLiveOn {
		no := s.refuse(http.StatusNotFound, "receipt", "not found; may be invalid or expired")
		return nil, &no
	}
	return r, nil
}

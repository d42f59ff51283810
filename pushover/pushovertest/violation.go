package pushovertest

import (
	"slices"
	"time"
)

// A Rule names one piece of good manners that the service asks of Open
// Clients. Senders and the control calls under /sim/ are not judged.
//
// A well-behaved client is never accused: where the order in which client and
// server saw two events cannot be known, the client is believed. A bad one
// may therefore be found at its second offence only. A client is an address
// together with a User-Agent.
type Rule string

const (
	// RuleConnections: at most 2 TCP connections to the API at once. Websockets do
	// not count, and a connection counts from its first API request. Broken when
	// three are still open or in use a moment after the third appeared, or when six
	// requests run at once.
	RuleConnections Rule = "connections"
	// RuleRepeated: a request that was answered with 4xx and status other than 1 will
	// never succeed: the same method, path and parameters not again within an hour,
	// unless the cause went away (a device enabled or removed, a licence bought, an
	// account replaced, a scripted fault cleared). A scripted answer counts only if
	// it can be a verdict: not 409, nor a 400 that blames none of the parameters.
	RuleRepeated Rule = "repeated-rejected-request"
	// RuleEarlyRetry: after a 5xx or a connection closed without a whole answer, the
	// same method and path not sooner than 5 s later. The one repetition of a GET that
	// HTTP libraries make by themselves, see [Fault], is excused.
	RuleEarlyRetry Rule = "early-retry"
	// RuleRateLimit: after a 429 no call before Retry-After, or one minute.
	RuleRateLimit Rule = "rate-limit-ignored"
	// RuleUserAgent: a User-Agent that names the program, on REST and websocket, and
	// not only its HTTP library. Accused once per operation.
	RuleUserAgent Rule = "user-agent"
	// RuleUnseenDelete: only ids that a complete download brought to that
	// device may be deleted through, and no message may go with them that it was
	// never given. A rounded id breaks it, and so does a deletion that a message
	// with a lower id came before. 0 and ids that were passed before are harmless.
	RuleUnseenDelete Rule = "delete-undelivered"
	// RuleReconnectError: after 'E' no login with the same device and secret. After
	// five minutes, or once the device was enabled again, one is forgiven. A program
	// that is restarted at once with the same credentials is the same client.
	RuleReconnectError Rule = "reconnect-after-error"
	// RuleReconnectTakeover: after 'A' no such login within a minute: two clients that
	// fight back evict each other for ever.
	RuleReconnectTakeover Rule = "reconnect-after-takeover"
	// RulePolling: more than 90 downloads in an hour that had no reason: no '!', no
	// stream login, no progress by a deletion, no failure before.
	RulePolling Rule = "polling"
	// RulePassword: a password that was refused not again, whatever second factor
	// comes with it, until an account was added or replaced.
	RulePassword Rule = "repeated-password"
)

// A Violation is one broken rule. Detail says what happened without secrets.
type Violation struct {
	Rule   Rule      `json:"rule"`
	Detail string    `json:"detail"`
	At     time.Time `json:"at"`
}

// maxViolations is how many are kept. A client that never stops must not
// fill the memory.
const maxViolations = 10_000

// Violations lists broken rules, oldest first. At most ten thousand are kept.
func (s *Server) Violations() []Violation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.manners.violations)
}

// ClearViolations forgets what was listed so far. What is accused only once
// will be accused once more.
func (s *Server) ClearViolations() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manners.violations = nil
	clear(s.manners.once)
	s.bump()
}

// accuse lists a violation. Server.mu is held.
func (m *manners) accuse(rule Rule, detail string) {
	if len(m.violations) < maxViolations {
		m.violations = append(m.violations, Violation{Rule: rule, Detail: detail, At: time.Now()})
	}
	m.server.log.Warn("bad manners", "rule", string(rule), "detail", detail)
	m.server.bump()
}

// accuseOnce lists a violation the first time only.
func (m *manners) accuseOnce(rule Rule, key, detail string) {
	key = string(rule) + "\x00" + key
	if !m.once[key] && len(m.once) < maxNotes {
		m.once[key] = true
		m.accuse(rule, detail)
	}
}

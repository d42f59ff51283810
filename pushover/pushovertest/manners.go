package pushovertest

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Times of the rules.
const (
	rejectedFor    = time.Hour
	retryPause     = 5 * time.Second
	defaultLimit   = time.Minute
	afterError     = 5 * time.Minute
	afterTakeover  = time.Minute
	pollsPerHour   = 90
	maxNotes       = 10_000
	sureDifference = time.Second
)

type fingerprint [sha256.Size]byte

// manners remembers what clients were told, and so knows who does not listen.
// Its methods are called with Server.mu held.
type manners struct {
	server     *Server
	violations []Violation
	once       map[string]bool
	clock      uint64 // orders connections and answers

	conns    map[string]*conn
	suspects map[*time.Timer]struct{}

	rejected  map[fingerprint]note
	passwords map[fingerprint]note
	failed    map[fingerprint]*note
	limited   map[string]note
	verdicts  map[fingerprint]*verdict
}

// A note is an answer that binds the client.
type note struct {
	at     time.Time
	until  time.Time // of a 429
	order  uint64
	conn   *conn
	script bool // the answer was a fault's
	replay bool // an HTTP library may repeat it once
}

func newManners(s *Server) manners {
	return manners{
		server:    s,
		once:      map[string]bool{},
		conns:     map[string]*conn{},
		suspects:  map[*time.Timer]struct{}{},
		rejected:  map[fingerprint]note{},
		passwords: map[fingerprint]note{},
		failed:    map[fingerprint]*note{},
		limited:   map[string]note{},
		verdicts:  map[fingerprint]*verdict{},
	}
}

func hash(parts ...string) fingerprint {
	return sha256.Sum256([]byte(strings.Join(parts, "\x00")))
}

// knew says whether the client surely had the answer when it sent the
// request: it came on the same connection, on one that was opened later, or
// much later. Two requests on two connections may cross an answer.
func (n note) knew(c *call) bool {
	return c.conn == n.conn || c.conn.tracked && c.conn.order > n.order || c.arrived.Sub(n.at) > sureDifference
}

// arrived judges a request before it is carried out.
func (m *manners) arrived(c *call) {
	if !receiving(c.op) && c.op != OpStream {
		return
	}
	if anonymous(c.agent) {
		m.accuseOnce(RuleUserAgent, c.client+string(c.op), string(c.op)+" with User-Agent "+strconv.Quote(firstWord(c.agent)))
	}
	if c.op == OpStream {
		return
	}
	if n, ok := m.limited[c.client]; ok && c.arrived.Before(n.until) && n.knew(c) {
		m.accuse(RuleRateLimit, string(c.op)+" "+n.until.Sub(c.arrived).Round(time.Second).String()+" too early")
	}
	if n, ok := m.failed[c.target()]; ok && c.arrived.Sub(n.at) < retryPause && n.knew(c) {
		if n.replay {
			n.replay = false
		} else {
			m.accuse(RuleEarlyRetry, string(c.op)+" "+c.arrived.Sub(n.at).Round(time.Millisecond).String()+" after it failed")
		}
	}
	if c.op == OpLogin {
		if n, ok := m.passwords[c.password()]; ok && c.arrived.Sub(n.at) < rejectedFor && n.knew(c) {
			m.accuse(RulePassword, "the same wrong password "+ago(c, n))
			return
		}
	}
	if n, ok := m.rejected[c.whole()]; ok && c.arrived.Sub(n.at) < rejectedFor && n.knew(c) {
		m.accuse(RuleRepeated, string(c.op)+" repeated unchanged "+ago(c, n))
	}
}

func ago(c *call, n note) string {
	return c.arrived.Sub(n.at).Round(time.Millisecond).String() + " after it was refused"
}

// Fingerprints of a call: the operation's target, all of it, and the password.
func (c *call) target() fingerprint { return hash("target", c.client, c.method, c.path) }
func (c *call) whole() fingerprint {
	return hash("whole", c.client, c.method, c.path, c.params.Encode())
}

func (c *call) password() fingerprint {
	return hash("password", c.client, c.params.Get("email"), c.params.Get("password"))
}

// answered notes what the client is about to be told.
func (m *manners) answered(c *call, rep reply, script bool) {
	if !receiving(c.op) {
		return
	}
	n := m.note(c)
	n.script = script
	switch {
	case rep.status == http.StatusTooManyRequests:
		wait := defaultLimit
		if s, err := strconv.Atoi(rep.header["Retry-After"]); err == nil {
			wait = time.Duration(s) * time.Second
		}
		n.until = n.at.Add(wait)
		m.limited[c.client] = n
	case rep.status >= 500:
		m.failed[c.target()] = &n
	case rep.status >= 400 && rep.rejects && script && !c.blamed(rep):
		m.failed[c.target()] = &n
	case rep.status >= 400 && rep.rejects:
		m.reject(c, rep, n)
	case rep.status < 300:
		delete(m.failed, c.target())
	}
}

// blamed says whether a scripted answer is a verdict on the call: only then must
// the call not be repeated unchanged. Anything else may pass, and is treated like
// a failure. Verdicts that name nothing are those on logins and registrations,
// which no program may repeat, a 404 to an acknowledgement, and the statuses that
// refuse a session.
func (c *call) blamed(rep reply) bool {
	switch {
	case c.op == OpLogin, c.op == OpRegister:
		return true
	case rep.status == http.StatusUnauthorized, rep.status == http.StatusForbidden:
		return true
	case rep.status != http.StatusBadRequest && rep.status != http.StatusNotFound:
		return false
	}
	if c.op == OpAcknowledge && rep.status == http.StatusNotFound {
		return true
	}
	return namesOne(rep.body, append(slices.Collect(maps.Keys(c.params)), "device", "user", "receipt"))
}

// namesOne says whether a refusal names one of the parameters, as a key or as
// the first word of an error.
func namesOne(body []byte, params []string) bool {
	var b map[string]any
	if json.Unmarshal(body, &b) != nil {
		return false
	}
	said := slices.Collect(maps.Keys(b))
	switch errs := b["errors"].(type) {
	case map[string]any:
		said = slices.AppendSeq(said, maps.Keys(errs))
	case []any:
		for _, e := range errs {
			if text, ok := e.(string); ok {
				said = append(said, firstWord(text))
			}
		}
	}
	return slices.ContainsFunc(params, func(p string) bool { return slices.Contains(said, p) })
}

func (m *manners) reject(c *call, rep reply, n note) {
	if rep.badPassword {
		if _, known := m.passwords[c.password()]; !known {
			m.passwords[c.password()] = n
		}
		return
	}
	if old, known := m.rejected[c.whole()]; !known || n.at.Sub(old.at) >= rejectedFor {
		m.rejected[c.whole()] = n
	}
}

// unanswered notes a request that got no whole answer.
func (m *manners) unanswered(c *call, bytesSent bool) {
	if !receiving(c.op) {
		return
	}
	n := m.note(c)
	n.replay = !bytesSent && !c.first && c.method == http.MethodGet
	m.failed[c.target()] = &n
	if d := m.server.devices[c.deviceID(false)]; d != nil && c.op == OpDownload {
		d.credit++
	}
}

func (m *manners) note(c *call) note {
	m.prune()
	m.clock++
	return note{at: time.Now(), order: m.clock, conn: c.conn}
}

// prune forgets what is past when there is much.
func (m *manners) prune() {
	now := time.Now()
	past := func(at time.Time) bool { return now.Sub(at) > rejectedFor }
	if len(m.rejected) > maxNotes {
		dropNotes(m.rejected, past)
	}
	if len(m.passwords) > maxNotes {
		dropNotes(m.passwords, past)
	}
	if len(m.limited) > maxNotes {
		dropNotes(m.limited, past)
	}
	if len(m.failed) > maxNotes {
		for k, n := range m.failed {
			if now.Sub(n.at) > retryPause {
				delete(m.failed, k)
			}
		}
	}
	if len(m.verdicts) > maxNotes {
		for k, v := range m.verdicts {
			if now.Sub(v.at) > afterError {
				delete(m.verdicts, k)
			}
		}
	}
}

// dropNotes deletes what is past, and if that was not enough, everything: a
// flood of different requests must not fill the memory.
func dropNotes[K comparable](notes map[K]note, past func(time.Time) bool) {
	for k, n := range notes {
		if past(n.at) {
			delete(notes, k)
		}
	}
	if len(notes) > maxNotes {
		clear(notes)
	}
}

// forgive forgets refusals, after the owner of the account mended something.
func (m *manners) forgive() {
	clear(m.rejected)
	for k, v := range m.verdicts {
		if v.signal == 'E' {
			delete(m.verdicts, k)
		}
	}
}

// forgiveLogins forgets, besides, which passwords were wrong: one of them may
// have become right.
func (m *manners) forgiveLogins() {
	m.forgive()
	clear(m.passwords)
}

// forgiveFaults forgets refusals that were scripted.
func (m *manners) forgiveFaults() {
	for k, n := range m.rejected {
		if n.script {
			delete(m.rejected, k)
		}
	}
}

// downloaded counts a download that there was no reason for.
func (m *manners) downloaded(c *call, d *device) {
	if d.credit > 0 {
		d.credit--
		return
	}
	d.polls = append(slices.DeleteFunc(d.polls, func(t time.Time) bool { return c.arrived.Sub(t) > time.Hour }), c.arrived)
	if len(d.polls) > pollsPerHour {
		m.accuse(RulePolling, strconv.Itoa(len(d.polls))+" downloads of device "+d.name+" in an hour without a reason")
		d.polls = nil
	}
}

// deleting judges the id of a deletion.
func (m *manners) deleting(_ *call, d *device, id int64) {
	through := "device " + d.name + " deletes through " + strconv.FormatInt(id, 10) + ", "
	known := id <= d.cleared
	for _, q := range d.queue {
		if q.id > id {
			break
		}
		if !q.delivered {
			m.accuse(RuleUnseenDelete, through+"and with it "+strconv.FormatInt(q.id, 10)+", which it was never given")
			return
		}
		known = known || q.id == id
	}
	if !known {
		m.accuse(RuleUnseenDelete, through+"which it was never given")
	}
}

// anonymous says that a User-Agent names a library at best: its first product
// is one that HTTP and websocket libraries put there by themselves.
func anonymous(agent string) bool {
	product := strings.TrimSpace(agent)
	if i := strings.IndexAny(product, "/ "); i >= 0 {
		product = product[:i]
	}
	switch strings.ToLower(product) {
	case "", "go-http-client", "python-requests", "python-urllib", "python-urllib3", "python-httpx", "python",
		"websocket-client", "aiohttp", "okhttp", "java", "java-http-client", "apache-httpclient", "axios",
		"node-fetch", "node", "undici", "reqwest", "hyper", "libwww-perl", "ruby", "faraday", "dart", "guzzlehttp",
		"restsharp":
		return true
	}
	return false
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word[:min(len(word), 40)]
}

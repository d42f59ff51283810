package pushovertest

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Outgoing is a message on its way to devices. Nothing is validated: a
// test can send what no sender could. Lengths, ranges and combinations are
// checked by the sending side, POST /1/messages.json, only.
type Outgoing struct {
	Title, Message string
	// Priority is -2 to 2. 2 makes a receipt.
	Priority int
	// App is the application's name; made when it does not exist. Empty
	// means the application of the account.
	App string
	// Sound is a sender's name ("siren"); its code ("si") is delivered. A
	// name without code is delivered as it is. See also [Server.AddSound].
	Sound     string
	URL       string
	URLTitle  string `json:"url_title"`
	HTML      bool
	Monospace bool
	Encrypted bool
	// TTL becomes the field expiration_date. 0 means none; ignored for
	// priority 2. Parts of a second are dropped.
	TTL time.Duration
	// Queued is when the service took the message in: a time in the past makes
	// an old backlog. Zero means now.
	Queued time.Time `json:"-"`
	// Timestamp is what the sender says the time is. Zero means Queued.
	Timestamp time.Time
	// Device is a list of device names separated by commas. Empty means all.
	Device string
	// To is a user key, a group key or an e-mail address. Empty means the
	// first account.
	To string
	// Retry and Expire are for priority 2. 0 means 60 s and 3600 s.
	Retry, Expire time.Duration
	// Callback is a loopback URL that is called when an emergency is
	// acknowledged. Other hosts are never called.
	Callback string `json:"-"`
	// Fields add to or replace fields of the delivered JSON object, of
	// whatever type. Omit leaves fields out.
	Fields map[string]any
	Omit   []string

	app  *application
	tags []string
}

// A Sent says what became of an Outgoing.
type Sent struct {
	// IDs holds the message's id on each device, in decimal.
	IDs []string
	// UMID is common to all devices of one account. Of a message to several
	// accounts it is the first account's.
	UMID string
	// Receipt is empty unless the priority is 2.
	Receipt string
}

// An application is what senders send as.
type application struct {
	name, token, icon string
	aid               int64
	owner             *account
}

// A message is one delivered text, shared by the devices of an account.
type message struct {
	umid int64
	// body holds the fields of the JSON object that all devices share: all
	// but the ids and acked.
	body []byte
	// Set when Fields or Omit speak of that field.
	noID, noIDStr, noAcked bool
	receipt                *receipt
}

// A queued is a message in the queue of a device.
type queued struct {
	id        int64
	at        time.Time
	delivered bool
	acked     bool // in a page only: as of the download
	*message
}

// addApplication makes an application with an icon name of its own.
func (s *Server) addApplication(name, token string, owner *account) *application {
	app := &application{owner: owner, name: name, token: token, icon: randomText(15), aid: s.umids.take(s.rng, time.Now(), false)}
	if name == "Pushover" {
		app.aid, app.icon = 1, "pushover"
	}
	s.apps[token] = app
	s.icons[app.icon] = true
	return app
}

// application finds an application by name and makes it if there is none.
func (s *Server) application(name string) *application {
	for _, app := range s.apps {
		if app.name == name {
			return app
		}
	}
	return s.addApplication(name, "a"+randomText(29), s.accounts[0])
}

// welcome queues the message that every new device finds.
func (s *Server) welcome(d *device) {
	s.deliver(Outgoing{
		app:   s.application("Pushover"),
		Title: "Welcome to Pushover!",
		Message: "Thanks for adding this device. Messages sent to your account will show up here. " +
			"(This is a simulator: nothing leaves it.)",
		Priority: 0,
	}, []*device{d}, nil)
}

// Send delivers a message and signals it to connected devices.
func (s *Server) Send(m Outgoing) Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.send(m)
}

// SendN delivers n messages, "{n}" in title and text replaced by 1 to n. Each
// has a '!' of its own, as the real service sends them.
func (s *Server) SendN(n int, m Outgoing) []Sent {
	out := make([]Sent, 0, n)
	for i := 1; i <= n; i++ {
		one := m
		number := strconv.Itoa(i)
		one.Title = strings.ReplaceAll(m.Title, "{n}", number)
		one.Message = strings.ReplaceAll(m.Message, "{n}", number)
		out = append(out, s.Send(one))
	}
	return out
}

// send works out the recipients and delivers.
func (s *Server) send(m Outgoing) Sent {
	accounts := s.recipients(m.To)
	if m.app == nil {
		switch {
		case m.App != "":
			m.app = s.application(m.App)
		case len(accounts) > 0:
			m.app = s.apps[accounts[0].AppToken]
		default:
			m.app = s.apps[s.accounts[0].AppToken]
		}
	}
	var r *receipt
	if m.Priority == 2 {
		r = s.newReceipt(m, accounts)
	}
	var sent Sent
	for _, a := range accounts {
		one := s.deliver(m, s.targets(a, m.Device), r)
		sent.IDs = append(sent.IDs, one.IDs...)
		if sent.UMID == "" {
			sent.UMID = one.UMID
		}
	}
	if r != nil {
		sent.Receipt = r.id
	}
	return sent
}

// recipients resolves a user key, a group key or an e-mail address.
func (s *Server) recipients(to string) []*account {
	if to == "" {
		return s.accounts[:1]
	}
	if g, ok := s.groups[to]; ok {
		return g
	}
	for _, a := range s.accounts {
		if a.UserKey == to || a.Email == to {
			return []*account{a}
		}
	}
	return nil
}

// targets picks devices by name. If a name is unknown or its device disabled,
// all devices get the message, so that it is not lost.
func (s *Server) targets(a *account, names string) []*device {
	var all, picked []*device
	for _, d := range a.devices {
		if s.usable(d) {
			all = append(all, d)
		}
	}
	if names == "" {
		return all
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(d *device) bool { return d.name == strings.TrimSpace(name) })
		if i < 0 {
			return all
		}
		if !slices.Contains(picked, all[i]) {
			picked = append(picked, all[i])
		}
	}
	return picked
}

// deliver queues one message on devices of one account.
func (s *Server) deliver(m Outgoing, devices []*device, r *receipt) Sent {
	if m.Encrypted && m.Title == "" {
		m.Title = m.app.name // in the clear, as the service does
	}
	if m.Queued.IsZero() {
		m.Queued = time.Now()
	}
	msg := &message{umid: s.takeID(&s.umids, m.Queued), receipt: r}
	s.encode(msg, m)
	if r != nil && len(devices) > 0 {
		r.sent[devices[0].account] = msg
	}
	return s.enqueue(msg, devices, m.Queued)
}

// enqueue gives the message an id on each device, then signals it.
func (s *Server) enqueue(msg *message, devices []*device, at time.Time) Sent {
	sent := Sent{UMID: strconv.FormatInt(msg.umid, 10), IDs: make([]string, 0, len(devices))}
	for _, d := range devices {
		id := s.takeID(&s.ids, at)
		d.insert(queued{id: id, at: at, message: msg})
		sent.IDs = append(sent.IDs, strconv.FormatInt(id, 10))
		s.wake(d)
	}
	s.bump()
	return sent
}

// wake tells a device that there is something to download.
func (s *Server) wake(d *device) {
	if d.stream != nil {
		d.credit += 3 // for it, for one that it is ahead of, and for one before it is deleted
		d.stream.push(frame{kind: frameBinary, payload: "!"})
	}
}

func (s *Server) takeID(c *idClock, at time.Time) int64 {
	if s.omitStrings {
		return s.smallIDs.take(s.rng)
	}
	return c.take(s.rng, at, s.looseIDs)
}

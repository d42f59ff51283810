package pushovertest

import (
	"io"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"time"
)

// Order is the order of the messages inside one download. The real service's
// is not documented.
type Order string

// The orders. Whatever the order, a page holds the lowest ids of the queue.
const (
	Ascending  Order = "ascending"
	Descending Order = "descending"
	Shuffled   Order = "shuffled"
)

// SetOrder chooses the order inside messages[] from now on: Ascending (the
// default), Descending or Shuffled. Anything else means Ascending.
func (s *Server) SetOrder(o Order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrangement = o
}

// OmitStrings makes messages from now on look like captures of before 2020:
// no *_str fields, and small ids.
func (s *Server) OmitStrings(omit bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.omitStrings = omit
}

// LooseIDs lets several makers number the messages from now on, as the real
// service seems to: ids then ascend from one second to the next, but a message
// may get a lower id than one that came before it within the same second.
func (s *Server) LooseIDs(loose bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looseIDs = loose
}

// SetPageSize changes Options.PageSize: the most messages of one download, -1
// for no limit.
func (s *Server) SetPageSize(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n == 0 {
		n = 1000
	}
	s.opts.PageSize = n
}

// Queue lists the ids waiting for a device of the first account that has one
// of that name, ascending.
func (s *Server) Queue(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.named(name) {
		s.expire(d)
		return slices.Clone(d.ids())
	}
	return nil
}

// Waiting is the length of the Queue of that name, 0 without one. It costs the
// same however much waits.
func (s *Server) Waiting(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.named(name) {
		s.expire(d)
		return len(d.queue)
	}
	return 0
}

// ids lists the queue, never nil. Every state shares the list: each id is
// written once, however often a test looks, and nothing of it changes later.
func (d *device) ids() []string {
	if d.listed == nil {
		d.listed = make([]string, 0, len(d.queue))
	}
	for _, q := range d.queue[len(d.listed):] {
		d.listed = append(d.listed, strconv.FormatInt(q.id, 10))
	}
	return slices.Clip(d.listed)
}

// insert puts a message into its place by id, which is nearly always the end.
func (d *device) insert(q queued) {
	i := len(d.queue)
	for i > 0 && d.queue[i-1].id > q.id {
		i--
	}
	d.queue = slices.Insert(d.queue, i, q)
	if i < len(d.listed) {
		d.listed = slices.Clone(d.listed[:i]) // what others hold of it must not change
	}
}

// expire drops what has waited longer than the retention. Ids ascend with the
// seconds of arrival, so it is a prefix.
func (s *Server) expire(d *device) {
	limit := time.Now().Add(-s.opts.Retention)
	n := sort.Search(len(d.queue), func(i int) bool { return d.queue[i].at.After(limit) })
	if n > 0 { // so that deleting them is not mistaken for deleting the unseen
		d.cleared = max(d.cleared, d.queue[n-1].id)
	}
	d.drop(n)
}

func (d *device) drop(n int) {
	clear(d.queue[:n]) // lets the messages go
	d.queue = d.queue[n:]
	d.listed = d.listed[min(n, len(d.listed)):]
	if len(d.queue) == 0 {
		d.queue, d.listed = nil, nil
	}
}

// download is GET messages.json.
func (s *Server) download(c *call) reply {
	d, refusal := s.authorise(c, c.deviceID(s.opts.StrictDeviceID))
	if refusal != nil {
		return *refusal
	}
	s.expire(d)
	n := len(d.queue)
	if limit := s.opts.PageSize; limit > 0 && n > limit {
		n = limit
	}
	p := &page{items: slices.Clone(d.queue[:n])}
	for i := range p.items {
		if r := p.items[i].receipt; r != nil {
			p.items[i].acked = r.acknowledged
		}
	}
	r := s.success(nil)
	p.head = []byte(`{"messages":[`)
	p.tail = append([]byte(`],"user":`), encodeJSON(s.userObject(d.account))...)
	p.tail = append(p.tail, `,"device":`...)
	p.tail = append(p.tail, encodeJSON(deviceObject(d))...)
	if len(s.sounds) > 0 {
		names := map[string]string{}
		for _, one := range s.sounds {
			names[one.code] = one.name
		}
		p.tail = append(append(p.tail, `,"sounds":`...), encodeJSON(names)...)
	}
	p.tail = append(p.tail, ',')
	p.tail = append(p.tail, r.body[1:]...) // status, request and the brace
	given := make([]int64, n)
	for i, q := range p.items {
		given[i] = q.id
	}
	s.arrange(p)
	r.body, r.page = nil, p
	r.received = func() {
		rest := given
		for i := range d.queue { // more may have come, and others gone
			for len(rest) > 0 && rest[0] < d.queue[i].id {
				rest = rest[1:]
			}
			if len(rest) == 0 {
				break
			}
			d.queue[i].delivered = d.queue[i].delivered || d.queue[i].id == rest[0]
		}
	}
	s.manners.downloaded(c, d)
	return r
}

// arrange puts a page into the chosen order.
func (s *Server) arrange(p *page) {
	switch s.arrangement {
	case Descending:
		slices.Reverse(p.items)
	case Shuffled:
		s.rng.Shuffle(len(p.items), func(i, j int) { p.items[i], p.items[j] = p.items[j], p.items[i] })
	case Ascending:
	}
}

// SetQuiet sets the quiet hours of all accounts, and the end of a silence for a
// while; a zero until means that there is none.
func (s *Server) SetQuiet(hours bool, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quietHours, s.quietUntil = hours, until
}

func (s *Server) userObject(a *account) map[string]any {
	var until any
	if !s.quietUntil.IsZero() {
		until = s.quietUntil.Unix()
	}
	return map[string]any{
		"quiet_hours": s.quietHours, "quick_quiet_until": until,
		"is_android_licensed": false, "is_ios_licensed": false, "is_desktop_licensed": a.licensed,
		"email": a.Email, "created_at": a.created.Unix(), "first_email_alias": "sim" + a.UserKey[max(0, len(a.UserKey)-6):],
		"show_tipjar": "1", "show_team_ad": "1",
	}
}

func deviceObject(d *device) map[string]any {
	return map[string]any{
		"name": d.name, "eid": "e" + d.id[:12], "encryption_enabled": false, "default_sound": "po",
		"always_use_default_sound": false, "default_high_priority_sound": "po",
		"always_use_default_high_priority_sound": false, "dismissal_sync_enabled": false,
	}
}

// deleteThrough is POST devices/<id>/update_highest_message.json. Wire
// reference 2.4.
func (s *Server) deleteThrough(c *call) reply {
	d, refusal := s.authorise(c, c.arg)
	if refusal != nil {
		return *refusal
	}
	id, err := strconv.ParseInt(c.params.Get("message"), 10, 64)
	if err != nil || id < 0 {
		return s.refuse(http.StatusBadRequest, "message", "is invalid")
	}
	s.expire(d)
	s.manners.deleting(c, d, id)
	n := sort.Search(len(d.queue), func(i int) bool { return d.queue[i].id > id })
	if n > 0 {
		d.credit++
	}
	d.drop(n)
	d.cleared = max(d.cleared, id)
	return s.success(nil)
}

// A page is the body of one download. It is written from the queue's own
// encoded messages, without building the whole in memory.
type page struct {
	head, tail []byte
	items      []queued
}

// length is what WriteTo will write.
func (p *page) length() int64 {
	var n discarded
	_, _ = p.WriteTo(&n) // discarded takes everything
	return int64(n)
}

type discarded int64

func (d *discarded) Write(b []byte) (int, error) {
	*d += discarded(len(b))
	return len(b), nil
}

// WriteTo writes the whole body in pieces of some tens of kilobytes.
func (p *page) WriteTo(w io.Writer) (int64, error) {
	var written int64
	buf := append(make([]byte, 0, 64<<10), p.head...)
	flush := func() error {
		n, err := w.Write(buf)
		written += int64(n)
		buf = buf[:0]
		return err
	}
	for i := range p.items {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = p.items[i].appendJSON(buf)
		if len(buf) > 48<<10 {
			if err := flush(); err != nil {
				return written, err
			}
		}
	}
	buf = append(buf, p.tail...)
	err := flush()
	return written, err
}

// appendJSON writes the message as this device sees it: the ids are the
// device's own, acked is as of the download, the rest is shared.
func (q *queued) appendJSON(out []byte) []byte {
	out = append(out, '{')
	if !q.noID {
		out = append(out, `"id":`...)
		out = strconv.AppendInt(out, q.id, 10)
		out = append(out, ',')
	}
	if !q.noIDStr {
		out = append(out, `"id_str":"`...)
		out = strconv.AppendInt(out, q.id, 10)
		out = append(out, '"', ',')
	}
	if !q.noAcked {
		if q.acked {
			out = append(out, `"acked":1,`...)
		} else {
			out = append(out, `"acked":0,`...)
		}
	}
	out = append(out, q.body...)
	return append(out, '}')
}

package pushovertest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of the Message API, in characters.
const (
	maxMessage    = 1024
	maxTitle      = 250
	maxURL        = 512
	maxURLTitle   = 100
	maxTags       = 255 // joined; that there is a limit is known, and not which
	maxRecipients = 50
)

// addressees resolves the parameter user: a user key, a group key or up to
// fifty user keys separated by commas.
func (s *Server) addressees(keys string) ([]*account, *reply) {
	var out []*account
	list := strings.Split(keys, ",")
	if len(list) > maxRecipients {
		r := s.refuse(http.StatusBadRequest, "user", "has more than 50 keys")
		return nil, &r
	}
	for _, key := range list {
		key = strings.TrimSpace(key)
		found := s.groups[key]
		for _, a := range s.accounts {
			if a.UserKey == key {
				found = []*account{a}
			}
		}
		if len(found) == 0 {
			r := s.refuse(http.StatusBadRequest, "user", "is not a valid user, group, or subscribed user key")
			return nil, &r
		}
		for _, a := range found {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out, nil
}

// outgoing checks all parameters of a message. The first problem is returned
// with the parameter's name.
func (c *call) outgoing() (m Outgoing, field, problem string) {
	p := c.params
	m = Outgoing{
		Title: p.Get("title"), Message: p.Get("message"), URL: p.Get("url"), URLTitle: p.Get("url_title"),
		Device: p.Get("device"), Callback: p.Get("callback"),
	}
	if tags := p.Get("tags"); tags != "" {
		m.tags = strings.Split(tags, ",")
	}
	if strings.TrimSpace(m.Message) == "" {
		return m, "message", "cannot be blank"
	}
	if field, problem = checkFlags(p, &m); problem != "" {
		return m, field, problem
	}
	for _, l := range []struct {
		field, text string
		most        int
	}{
		{"message", m.Message, maxMessage}, {"title", m.Title, maxTitle},
		{"url", m.URL, maxURL}, {"url_title", m.URLTitle, maxURLTitle}, {"tags", p.Get("tags"), maxTags},
	} {
		if !utf8.ValidString(l.text) {
			return m, l.field, "is not valid UTF-8"
		}
		if utf8.RuneCountInString(l.text) > l.most && !m.Encrypted {
			return m, l.field, "is too long (maximum is " + strconv.Itoa(l.most) + " characters)"
		}
	}
	for _, check := range []func(url.Values, *Outgoing) (string, string){
		checkPriority, checkEmergency, checkTimes, checkDevices, c.checkAttachment,
	} {
		if field, problem = check(p, &m); problem != "" {
			return m, field, problem
		}
	}
	return m, "", ""
}

func checkPriority(p url.Values, m *Outgoing) (field, problem string) {
	if text := p.Get("priority"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < -2 || n > 2 {
			return "priority", "is invalid, must be between -2 and 2"
		}
		m.Priority = n
	}
	return "", ""
}

func checkEmergency(p url.Values, m *Outgoing) (field, problem string) {
	if m.Priority != 2 {
		return "", ""
	}
	retry, err := strconv.Atoi(p.Get("retry"))
	if err != nil {
		return "retry", "must be supplied with priority 2"
	}
	if retry < int(minRetry/time.Second) {
		return "retry", "must be at least 30 seconds"
	}
	expire, err := strconv.Atoi(p.Get("expire"))
	if err != nil {
		return "expire", "must be supplied with priority 2"
	}
	if expire < 1 || expire > int(maxExpire/time.Second) {
		return "expire", "must be between 1 and 10800 seconds"
	}
	m.Retry, m.Expire = time.Duration(retry)*time.Second, time.Duration(expire)*time.Second
	if m.Callback != "" {
		u, err := url.Parse(m.Callback)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return "callback", "is not a valid URL"
		}
	}
	return "", ""
}

func checkFlags(p url.Values, m *Outgoing) (field, problem string) {
	for _, f := range []struct {
		name string
		to   *bool
	}{{"html", &m.HTML}, {"monospace", &m.Monospace}, {"encrypted", &m.Encrypted}} {
		// Libraries send their language's booleans, and have for years.
		switch strings.ToLower(p.Get(f.name)) {
		case "", "0", "false":
		case "1", "true":
			*f.to = true
		default:
			return f.name, "must be 0 or 1"
		}
	}
	if m.HTML && m.Monospace {
		return "html", "and monospace cannot be used together"
	}
	return "", ""
}

func checkTimes(p url.Values, m *Outgoing) (field, problem string) {
	if text := p.Get("ttl"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n <= 0 {
			return "ttl", "must be a positive number of seconds"
		}
		m.TTL = time.Duration(n) * time.Second
	}
	if text := p.Get("timestamp"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return "timestamp", "must be a Unix timestamp"
		}
		m.Timestamp = time.Unix(n, 0)
	}
	return "", ""
}

func checkDevices(_ url.Values, m *Outgoing) (field, problem string) {
	if m.Device == "" {
		return "", ""
	}
	for name := range strings.SplitSeq(m.Device, ",") {
		name = strings.TrimSpace(name)
		if !plainName(name) || len(name) > 25 {
			return "device", "is not a valid device name"
		}
	}
	return "", ""
}

// checkAttachment checks the one image that may come along. It is not
// delivered: no Open Client is known to receive one.
func (c *call) checkAttachment(p url.Values, _ *Outgoing) (field, problem string) {
	if text := p.Get("attachment_base64"); text != "" {
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		if err != nil {
			return "attachment_base64", "is not valid base64"
		}
		c.attach(len(data), p.Get("attachment_type"))
	}
	switch {
	case c.attachment > maxAttachment:
		return "attachment", fmt.Sprintf("is too large: %d bytes (maximum is %d bytes)", c.attachment, maxAttachment)
	case c.noImage:
		return "attachment", "must be an image"
	}
	return "", ""
}

package pushover

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// errMessageID: a message without a readable id can be neither delivered nor
// deleted.
var errMessageID = errors.New("a message has no readable id")

// messageFields are the members of a message that we know, as slices of its JSON.
// A nil slice is an absent member. The _str forms are exact
// where the numbers are rounded by careless intermediaries, so they win.
type messageFields struct {
	id, idStr, umid, umidStr, aid, aidStr        []byte
	app, title, text, icon, sound, url, urlTitle []byte
	date, queued, dispatched, expires            []byte
	priority, html, monospace, acked, encrypted  []byte
	receipt, subscription, subscriptionStr       []byte
}

func (f *messageFields) set(key, value []byte) {
	switch string(key[1 : len(key)-1]) {
	case "id":
		f.id = value
	case "id_str":
		f.idStr = value
	case "umid":
		f.umid = value
	case "umid_str":
		f.umidStr = value
	case "aid":
		f.aid = value
	case "aid_str":
		f.aidStr = value
	case "app":
		f.app = value
	case "title":
		f.title = value
	case "message":
		f.text = value
	case "icon":
		f.icon = value
	case "sound":
		f.sound = value
	case "url":
		f.url = value
	case "url_title":
		f.urlTitle = value
	case "date":
		f.date = value
	case "queued_date":
		f.queued = value
	case "dispatched_date":
		f.dispatched = value
	case "expiration_date":
		f.expires = value
	case "priority":
		f.priority = value
	case "html":
		f.html = value
	case "monospace":
		f.monospace = value
	case "acked":
		f.acked = value
	case "encrypted":
		f.encrypted = value
	case "receipt":
		f.receipt = value
	case "subscription":
		f.subscription = value
	case "subscription_str":
		f.subscriptionStr = value
	default:
		if bytes.IndexByte(key, '\\') >= 0 {
			if name := unquote(key); bytes.IndexByte(name, '\\') < 0 {
				f.set(fmt.Append(nil, `"`, string(name), `"`), value)
			}
		}
	}
}

// A decoder turns message objects into Messages. It keeps one copy of names that
// come again and again.
type decoder struct {
	fields messageFields
	names  map[string]string
}

const maxNames = 256

// parse checks the grammar of one message object and finds its fields, which are
// good until the next call. It allocates next to nothing, so that messages beyond
// the limits of a batch are cheap to pass over.
func (d *decoder) parse(raw []byte) (*messageFields, MessageID, error) {
	d.fields = messageFields{}
	w := walker{b: raw}
	if len(raw) == 0 || raw[0] != '{' {
		if w.value(0) != nil || w.i != len(raw) {
			return nil, 0, errSyntax
		}
		return nil, 0, fmt.Errorf("%w: it is not an object", errMessageID)
	}
	if err := w.object(0, &d.fields); err != nil {
		return nil, 0, err
	}
	if w.i != len(raw) {
		return nil, 0, errSyntax
	}
	for _, v := range [...][]byte{d.fields.idStr, d.fields.id} {
		if n, ok := integerOf(v); ok && n > 0 {
			return &d.fields, MessageID(n), nil
		}
	}
	return nil, 0, fmt.Errorf("%w: neither id_str nor id is a positive integer", errMessageID)
}

// message makes the message. What cannot be read of a field is absent; Raw has it.
func (d *decoder) message(raw []byte, f *messageFields, id MessageID) Message {
	return Message{
		ID: id, UMID: firstInteger(f.umidStr, f.umid), AppID: firstInteger(f.aidStr, f.aid),
		App: d.name(f.app), Title: d.name(f.title), Text: textOf(f.text),
		Icon: d.name(f.icon), Sound: d.name(f.sound), URL: textOf(f.url), URLTitle: textOf(f.urlTitle),
		Sent: timeOf(f.date), Queued: timeOf(f.queued), Dispatched: timeOf(f.dispatched), Expires: timeOf(f.expires),
		Priority: priorityOf(f.priority), HTML: flagOf(f.html), Monospace: flagOf(f.monospace),
		Acked: flagOf(f.acked), Encrypted: flagOf(f.encrypted), Receipt: Receipt(textOf(f.receipt)),
		Subscription: firstText(f.subscriptionStr, f.subscription),
		Raw:          bytes.Clone(raw),
	}
}

// name is textOf for texts that are likely to repeat.
func (d *decoder) name(v json.RawMessage) string {
	if len(v) > 64 || len(v) == 0 || v[0] != '"' {
		return textOf(v)
	}
	text := unquote(v)
	if s, ok := d.names[string(text)]; ok {
		return s
	}
	s := string(text)
	if len(d.names) < maxNames {
		if d.names == nil {
			d.names = make(map[string]string)
		}
		d.names[s] = s
	}
	return s
}

func firstInteger(values ...[]byte) int64 {
	for _, v := range values {
		if n, ok := integerOf(v); ok {
			return n
		}
	}
	return 0
}

func firstText(values ...[]byte) string {
	for _, v := range values {
		if s := textOf(v); s != "" {
			return s
		}
	}
	return ""
}

func priorityOf(v json.RawMessage) Priority {
	n, ok := integerOf(v)
	if !ok || int64(Priority(n)) != n {
		return PriorityNormal
	}
	return Priority(n)
}

// timeOf reads Unix seconds. Senders choose some of these times, so they may be
// anything; what RFC 3339 cannot express is as good as absent.
func timeOf(v json.RawMessage) time.Time {
	n, ok := integerOf(v)
	if !ok || n == 0 || n < minUnix || n > maxUnix {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

const (
	minUnix = -62135596800 + 86400 // year 1, clear of the zero time
	maxUnix = 253402300799         // end of year 9999
)

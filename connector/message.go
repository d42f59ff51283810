package connector

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/gosimple/unidecode"
	"golang.org/x/text/unicode/norm"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// Types of the events a connector publishes.
const (
	TypeMessage      = "net.pushover.message.received"
	TypeAcknowledged = "net.pushover.emergency.acknowledged"
	TypeRejected     = "net.pushover.emergency.rejected"
	TypeExpired      = "net.pushover.emergency.expired"

	// Results of the commands status, sync and resume.
	TypeCommandDone     = "net.pushover.command.done"
	TypeCommandRejected = "net.pushover.command.rejected" // or too old; the data's status tells
)

// Source returns the source attribute of all events of a device. The name is
// used because the device's id is a secret.
func Source(deviceName string) string { return "pushover://device/" + deviceName }

// undecryptable replaces the text of a message that no key opens. The ciphertext
// stays in raw.
const undecryptable = "(end-to-end encrypted; none of the configured keys can decrypt it)"

// readable returns the message with a text: [pushover.Message.Decrypt] leaves
// none where no key opened it.
func readable(m pushover.Message) pushover.Message {
	if m.Encrypted && m.Text == "" {
		m.Text = undecryptable
	}
	return m
}

// A reception is what a download says about all its messages.
type reception struct {
	device string            // name
	quiet  bool              // the user's quiet hours are on
	sounds map[string]string // name by code, if the service sent a list
	slugs  map[application]string
}

// An application is what a slug is made of. A backlog is of few.
type application struct {
	name string
	id   int64
}

func (rc reception) slug(m pushover.Message) string {
	app := application{m.App, m.AppID}
	slug, ok := rc.slugs[app]
	if !ok {
		slug = appSlug(m)
		rc.slugs[app] = slug
	}
	return slug
}

func newReception(device string, b *pushover.Batch, now time.Time) reception {
	return reception{device, b.User.QuietHours || b.User.QuietUntil.After(now), b.Sounds, map[application]string{}}
}

// messageEvent turns a message into its event. repeatOf is the id of the
// emergency's first message, if this is a later one. now becomes the time at which
// the event was recorded.
func messageEvent(rc reception, m pushover.Message, repeatOf string, now time.Time) (Event, error) {
	priority := clampPriority(m.Priority)
	id, expires := m.ID.String(), rfc3339(m.Expires)
	stale := m.Receipt != "" && now.Sub(heardAt(m, now)) >= EmergencyLife
	data, err := messageData(rc, m, repeatOf, stale)
	if err != nil {
		return Event{}, fmt.Errorf("encode message %s: %w", id, err)
	}
	severity := severities[priority]
	if priority == pushover.PriorityEmergency && (m.Acked || stale) {
		severity = severityOver
	}
	extensions := []Extension{
		{"sequence", "00000000000000000000"[min(len(id), 20):] + id},
		{"severitytext", severity.text},
		{severityNumber, severity.number},
	}
	if expires != "" {
		extensions = append(extensions, Extension{"expirytime", expires})
	}
	extensions = append(extensions, Extension{"recordedtime", rfc3339(now)})
	if m.Receipt != "" {
		extensions = append(extensions, Extension{correlationID, string(m.Receipt)})
	}

	source := Source(rc.device)
	e := Event{
		ID: id, Source: source, Type: TypeMessage, Subject: m.App, Schema: SchemaMessage,
		Extensions: extensions, Data: data,
		Class: ClassMessage, Route: []string{"messages", priority.String(), rc.slug(m)}, Key: source,
	}
	if writable(m.Sent) {
		e.Time = m.Sent
	}
	return e, nil
}

// messageData writes the data of a message's event; schema/message.json
// describes it. A field that the service did not send is absent, never empty.
func messageData(rc reception, m pushover.Message, repeatOf string, stale bool) ([]byte, error) {
	raw, err := oneLine(withoutSecrets(m.Raw))
	if err != nil {
		return nil, fmt.Errorf("raw: %w", err)
	}
	m = readable(m)
	priority := clampPriority(m.Priority)
	effective := priority
	if priority == pushover.PriorityNormal && rc.quiet {
		effective = pushover.PriorityLow // as the service's own clients show it
	}
	w := newJSONWriter(len(m.Text) + len(raw) + 600)
	w.text("id", m.ID.String())
	if m.UMID != 0 {
		w.text("umid", strconv.FormatInt(m.UMID, 10))
	}
	w.text("device", rc.device)
	w.text("app", m.App)
	if m.AppID != 0 {
		w.text("app_id", strconv.FormatInt(m.AppID, 10))
	}
	w.optional("title", m.Title)
	w.text("message", m.Text)
	if m.HTML {
		w.text("text", textOf(m.Text))
	}
	w.boolean("html", m.HTML)
	w.boolean("monospace", m.Monospace)
	w.integer("priority", int64(priority))
	w.text("priority_name", priority.String())
	w.integer("effective_priority", int64(effective))
	w.optional("sound", m.Sound)
	w.optional("sound_name", cmp.Or(rc.sounds[m.Sound], pushover.SoundName(m.Sound)))
	if iconName.MatchString(m.Icon) {
		w.text("icon_url", pushover.DefaultAPIURL+"/icons/"+m.Icon+".png")
	}
	w.optional("url", m.URL)
	w.optional("url_title", m.URLTitle)
	w.optional("receipt", string(m.Receipt))
	w.boolean("acked", m.Acked)
	w.optional("repeat_of", repeatOf)
	if stale {
		w.boolean("stale", true)
	}
	w.optional("sent_at", rfc3339(m.Sent))
	w.optional("queued_at", rfc3339(m.Queued))
	w.optional("dispatched_at", rfc3339(m.Dispatched))
	w.optional("expires_at", rfc3339(m.Expires))
	w.boolean("encrypted", m.Encrypted)
	w.boolean("decrypted", m.Decrypted)
	w.texts("plain_fields", m.PlainFields)
	if len(raw) > 0 {
		w.value("raw", raw)
	}
	return w.end(), nil
}

// clampPriority keeps an undocumented priority inside the documented range, so
// that the set of subjects stays what the documentation says. raw has the
// original.
func clampPriority(p pushover.Priority) pushover.Priority {
	return min(max(p, pushover.PriorityLowest), pushover.PriorityEmergency)
}

// severities maps priorities onto OpenTelemetry severity numbers, as the
// CloudEvents severity extension asks.
var severities = map[pushover.Priority]severity{
	pushover.PriorityLowest:    {"TRACE", 1},
	pushover.PriorityLow:       {"DEBUG", 5},
	pushover.PriorityNormal:    {"INFO", 9},
	pushover.PriorityHigh:      {"ERROR", 17},
	pushover.PriorityEmergency: {"FATAL", 21},
}

type severity struct {
	text   string
	number int32
}

// severityOver is that of an emergency that was over when it was recorded:
// acknowledged, or older than an emergency can live. Nobody needs to be woken.
var severityOver = severity{"WARN", 13}

// iconName is what may become part of an icon's URL: the name comes from the
// network.
var iconName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// rfc3339 writes t in UTC, or nothing when t is absent or outside the years
// that RFC 3339 can write: senders choose the date themselves.
func rfc3339(t time.Time) string {
	if !writable(t) {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// writable reports whether RFC 3339 can write t.
func writable(t time.Time) bool {
	year := t.UTC().Year()
	return !t.IsZero() && year >= 1 && year <= 9999
}

// maxSlug bounds the application's token in a subject.
const maxSlug = 64

// umlauts are written as their speakers do. The table of all letters, which makes
// an "a" of an "ä", would give Küche and Kuche one subject.
var umlauts = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue")

// appSlug makes a subject token of an application's name: lower-case ASCII letters
// and digits, everything else a single dash. Letters of Latin, Greek and Cyrillic
// script are transliterated. Of a name with letters of other scripts, whose sound
// many share, the application's id is a part.
func appSlug(m pushover.Message) string {
	var b strings.Builder
	dash, foreign := false, false
	for _, r := range umlauts.Replace(strings.ToLower(norm.NFC.String(m.App))) {
		part := string(r)
		switch {
		case r <= unicode.MaxASCII:
		case unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic):
			part = strings.ToLower(unidecode.Unidecode(part))
		default:
			part, foreign = " ", foreign || unicode.IsLetter(r)
		}
		for _, c := range []byte(part) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
				dash = true
				continue
			}
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			dash = false
			b.WriteByte(c)
		}
		if b.Len() >= maxSlug {
			break
		}
	}
	slug := b.String()[:min(b.Len(), maxSlug)]
	id := "app-" + strconv.FormatInt(m.AppID, 10)
	switch {
	case m.AppID != 0 && slug == "":
		return id
	case m.AppID != 0 && foreign:
		return slug + "-" + id
	case slug != "":
		return slug
	default:
		return "unknown"
	}
}

// withoutSecrets returns the object as received, less the fields that could
// carry a credential. The service sends none today; the object is rewritten
// only if it did.
func withoutSecrets(raw json.RawMessage) json.RawMessage {
	if !mayHoldSecret(raw) {
		return raw
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil
	}
	all := len(fields)
	for _, name := range secretFields {
		delete(fields, name)
	}
	if len(fields) == all {
		return raw
	}
	clean, err := json.Marshal(fields)
	if err != nil {
		return nil
	}
	return clean
}

// mayHoldSecret reports whether what stands before some colon is a secret's
// name, or one that is written with escapes.
func mayHoldSecret(raw []byte) bool {
	for end := 0; ; end++ {
		i := bytes.IndexByte(raw[end:], ':')
		if i < 0 {
			return false
		}
		end += i
		key, quoted := bytes.CutSuffix(bytes.TrimRight(raw[:end], " \t\r\n"), []byte(`"`))
		if !quoted {
			continue
		}
		name := key[bytes.LastIndexByte(key, '"')+1:]
		if bytes.IndexByte(name, '\\') >= 0 || slices.Contains(secretFields, string(name)) {
			return true
		}
	}
}

var secretFields = []string{"secret", "device_id", "device_uuid", "password", "twofa"}

func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}

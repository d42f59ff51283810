package connector

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
)

// Types of the events a connector publishes.
const (
	TypeMessage      = "net.pushover.message.received"
	TypeAcknowledged = "net.pushover.emergency.acknowledged"
	TypeRejected     = "net.pushover.emergency.rejected"
	TypeExpired      = "net.pushover.emergency.expired"
)

// Source returns the source attribute of all events of a device. The name is
// used because the device's id is a secret.
func Source(deviceName string) string { return "pushover://device/" + deviceName }

// undecryptable stands in for the text of a message that no key opens. The
// ciphertext stays in raw.
const undecryptable = "(end-to-end encrypted; no configured key opens it)"

// messageData is the data of a message event; schema/message.json describes it.
// A field that the service did not send is absent, never empty.
type messageData struct {
	ID           string          `json:"id"`
	UMID         string          `json:"umid,omitempty"`
	Device       string          `json:"device"`
	App          string          `json:"app"`
	AppID        string          `json:"app_id,omitempty"`
	Title        string          `json:"title,omitempty"`
	Message      string          `json:"message"`
	HTML         bool            `json:"html"`
	Monospace    bool            `json:"monospace"`
	Priority     int             `json:"priority"`
	PriorityName string          `json:"priority_name"`
	Sound        string          `json:"sound,omitempty"`
	SoundName    string          `json:"sound_name,omitempty"`
	IconURL      string          `json:"icon_url,omitempty"`
	URL          string          `json:"url,omitempty"`
	URLTitle     string          `json:"url_title,omitempty"`
	Receipt      string          `json:"receipt,omitempty"`
	Acked        bool            `json:"acked"`
	SentAt       string          `json:"sent_at,omitempty"`
	QueuedAt     string          `json:"queued_at,omitempty"`
	DispatchedAt string          `json:"dispatched_at,omitempty"`
	ExpiresAt    string          `json:"expires_at,omitempty"`
	Encrypted    bool            `json:"encrypted"`
	Decrypted    bool            `json:"decrypted"`
	Raw          json.RawMessage `json:"raw,omitempty"`
}

// messageEvent turns a message of the named device into its event. now becomes
// the time at which the event was recorded.
func messageEvent(device string, m pushover.Message, now time.Time) (Event, error) {
	priority := clampPriority(m.Priority)
	data := messageData{
		ID: m.ID.String(), Device: device, App: m.App,
		Title: m.Title, Message: m.Text, HTML: m.HTML, Monospace: m.Monospace,
		Priority: int(priority), PriorityName: priority.String(),
		Sound: m.Sound, SoundName: pushover.SoundName(m.Sound),
		URL: m.URL, URLTitle: m.URLTitle, Receipt: string(m.Receipt), Acked: m.Acked,
		SentAt: rfc3339(m.Sent), QueuedAt: rfc3339(m.Queued), DispatchedAt: rfc3339(m.Dispatched),
		ExpiresAt: rfc3339(m.Expires),
		Encrypted: m.Encrypted, Decrypted: m.Decrypted,
		Raw: withoutSecrets(m.Raw),
	}
	if m.UMID != 0 {
		data.UMID = strconv.FormatInt(m.UMID, 10)
	}
	if m.AppID != 0 {
		data.AppID = strconv.FormatInt(m.AppID, 10)
	}
	if iconName.MatchString(m.Icon) {
		data.IconURL = pushover.DefaultAPIURL + "/icons/" + m.Icon + ".png"
	}
	if m.Encrypted && !m.Decrypted {
		data.Title, data.Message, data.URL, data.URLTitle = "", undecryptable, "", ""
	}
	encoded, err := json.Marshal(data)
	if err != nil {
		return Event{}, fmt.Errorf("encode message %s: %w", m.ID, err)
	}

	severity := severities[priority]
	extensions := []Extension{
		{"sequence", fmt.Sprintf("%020d", int64(m.ID))},
		{"severitytext", severity.text},
		{"severitynumber", severity.number},
	}
	if data.ExpiresAt != "" {
		extensions = append(extensions, Extension{"expirytime", data.ExpiresAt})
	}
	extensions = append(extensions, Extension{"recordedtime", rfc3339(now)})

	source := Source(device)
	e := Event{
		ID: data.ID, Source: source, Type: TypeMessage, Subject: m.App,
		Extensions: extensions, Data: encoded,
		Class: ClassMessage, Route: []string{"messages", data.PriorityName, appSlug(m)}, Key: source,
	}
	if data.SentAt != "" {
		e.Time = m.Sent
	}
	return e, nil
}

// clampPriority keeps an undocumented priority inside the documented range, so
// that the set of subjects stays what the documentation says. raw has the
// original.
func clampPriority(p pushover.Priority) pushover.Priority {
	return min(max(p, pushover.PriorityLowest), pushover.PriorityEmergency)
}

// severities maps priorities onto OpenTelemetry severity numbers, as the
// CloudEvents severity extension asks.
var severities = map[pushover.Priority]struct {
	text   string
	number int32
}{
	pushover.PriorityLowest:    {"TRACE", 1},
	pushover.PriorityLow:       {"DEBUG", 5},
	pushover.PriorityNormal:    {"INFO", 9},
	pushover.PriorityHigh:      {"ERROR", 17},
	pushover.PriorityEmergency: {"FATAL", 21},
}

// iconName is what may become part of an icon's URL: the name comes from the
// network.
var iconName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// rfc3339 writes t in UTC, or nothing when t is absent or outside the years
// that RFC 3339 can write: senders choose the date themselves.
func rfc3339(t time.Time) string {
	if t = t.UTC(); t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// maxSlug bounds the application's token in a subject.
const maxSlug = 64

// appSlug makes a subject token of an application's name: lower-case ASCII
// letters and digits, everything else a single dash. A name with none of these
// falls back to the application's id.
func appSlug(m pushover.Message) string {
	var b strings.Builder
	dash := false
	for _, r := range strings.ToLower(m.App) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			dash = false
			b.WriteRune(r)
		default:
			dash = true
		}
		if b.Len() >= maxSlug {
			break
		}
	}
	switch {
	case b.Len() > 0:
		return b.String()
	case m.AppID != 0:
		return "app-" + strconv.FormatInt(m.AppID, 10)
	default:
		return "unknown"
	}
}

// withoutSecrets returns the object as received, less the fields that could
// carry a credential. The service sends none today; the object is rewritten
// only if it did.
func withoutSecrets(raw json.RawMessage) json.RawMessage {
	suspicious := false
	for _, name := range secretFields {
		suspicious = suspicious || strings.Contains(string(raw), `"`+name+`"`)
	}
	if !suspicious {
		return raw
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil
	}
	for _, name := range secretFields {
		delete(fields, name)
	}
	clean, err := json.Marshal(fields)
	if err != nil {
		return nil
	}
	return clean
}

var secretFields = []string{"secret", "device_id", "device_uuid", "password", "twofa"}

// deadLetterReason is the extension that says why a message is a dead letter.
const deadLetterReason = "deadletterreason"

// deadLetter returns what is published in place of an event that the bus will
// not take. A bus mostly refuses size, so each form is smaller than the one
// before: without raw, then without the text.
func deadLetter(e Event, m pushover.Message, device string, reason error, form int) (Event, error) {
	data := map[string]any{
		"id": m.ID.String(), "device": device, "app": truncate(m.App, 200),
		"priority": int(clampPriority(m.Priority)), "priority_name": clampPriority(m.Priority).String(),
		"size": len(e.Data),
	}
	if m.Receipt != "" {
		data["receipt"] = string(m.Receipt)
	}
	if sent := rfc3339(m.Sent); sent != "" {
		data["sent_at"] = sent
	}
	if form == 0 {
		data["title"], data["message"] = truncate(m.Title, 1000), truncate(m.Text, 4000)
	}
	encoded, err := json.Marshal(data)
	if err != nil {
		return Event{}, fmt.Errorf("encode dead letter %s: %w", m.ID, err)
	}
	d := e
	d.Class, d.Route, d.Data = ClassDeadLetter, []string{"deadletter"}, encoded
	d.Subject = truncate(e.Subject, 200)
	d.Extensions = append([]Extension{{deadLetterReason, truncate(reason.Error(), 300)}}, e.Extensions...)
	return d, nil
}

// deadLetterForms is how many forms deadLetter knows.
const deadLetterForms = 2

func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}

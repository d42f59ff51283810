package pushovertest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// encode writes the part of the JSON object that all devices share. Field
// names and types: see "The wire".
func (s *Server) encode(msg *message, m Outgoing) {
	date := m.Queued
	if !m.Timestamp.IsZero() {
		date = m.Timestamp
	}
	e := fieldWriter{fields: m.Fields, omit: m.Omit, out: s.scratch[:0]}
	e.integer("umid", msg.umid)
	if !s.omitStrings {
		e.text("umid_str", strconv.FormatInt(msg.umid, 10))
	}
	if m.Title != "" {
		e.text("title", m.Title)
	}
	e.text("message", m.Message)
	e.text("app", m.app.name)
	aid := m.app.aid
	if s.omitStrings && aid > maxExactFloat {
		aid = 1000 + aid%1000
	}
	e.integer("aid", aid)
	if !s.omitStrings {
		e.text("aid_str", strconv.FormatInt(aid, 10))
	}
	e.text("icon", m.app.icon)
	e.integer("date", date.Unix())
	e.integer("queued_date", m.Queued.Unix())
	e.integer("dispatched_date", m.Queued.Unix())
	if m.TTL > 0 && m.Priority != 2 {
		e.integer("expiration_date", m.Queued.Add(m.TTL).Unix())
	}
	e.integer("priority", int64(m.Priority))
	if m.Sound != "" {
		e.text("sound", cmp.Or(s.sound(m.Sound).code, m.Sound))
	}
	if m.URL != "" {
		e.text("url", m.URL)
	}
	if m.URLTitle != "" {
		e.text("url_title", m.URLTitle)
	}
	e.flag("html", m.HTML)
	e.flag("monospace", m.Monospace)
	e.flag("encrypted", m.Encrypted)
	if msg.receipt != nil {
		e.text("receipt", msg.receipt.id)
	}
	msg.noID, msg.noIDStr = e.handled("id"), e.handled("id_str") || s.omitStrings
	msg.noAcked = e.handled("acked")
	for _, k := range slices.Sorted(maps.Keys(m.Fields)) {
		e.raw(k, m.Fields[k])
	}
	s.scratch = e.out
	msg.body = bytes.Clone(bytes.TrimPrefix(e.out, []byte(","))) // no byte more than it needs: there may be very many
}

// A fieldWriter appends JSON fields, leaving out those a test replaces.
type fieldWriter struct {
	out    []byte
	fields map[string]any
	omit   []string
}

func (e *fieldWriter) handled(key string) bool {
	_, replaced := e.fields[key]
	return replaced || slices.Contains(e.omit, key)
}

func (e *fieldWriter) name(key string) bool {
	if e.handled(key) {
		return false
	}
	e.out = append(e.out, ',', '"')
	e.out = append(e.out, key...)
	e.out = append(e.out, '"', ':')
	return true
}

func (e *fieldWriter) integer(key string, v int64) {
	if e.name(key) {
		e.out = strconv.AppendInt(e.out, v, 10)
	}
}

func (e *fieldWriter) text(key, v string) {
	if e.name(key) {
		e.out = append(e.out, encodeJSON(v)...)
	}
}

func (e *fieldWriter) flag(key string, v bool) {
	if v {
		e.integer(key, 1)
	}
}

// raw appends a field of a test. What cannot be encoded becomes null.
func (e *fieldWriter) raw(key string, v any) {
	e.out = append(e.out, ',')
	e.out = append(e.out, encodeJSON(key)...)
	e.out = append(e.out, ':')
	e.out = append(e.out, encodeJSON(v)...)
}

func encodeJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return b
}

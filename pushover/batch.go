package pushover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// readBatch decodes a download as it comes in. The order of the list is not
// documented, so it is read to its end before anything is known about ids.
func readBatch(r io.Reader, maxMessages, maxBytes int) (*Batch, error) {
	p := batchReader{s: newScanner(r), keep: lowest{max: maxMessages, maxBytes: maxBytes}}
	err := p.read()
	switch {
	case err == ErrTooLarge && p.ascending && p.last > 0: //nolint:errorlint // the body's limit, not a value's
		// As far as is known ids ascend, so that these are the lowest of the list. The
		// rest comes with the next download.
		p.keep.full = true
		b := new(Batch)
		b.Messages, b.More = p.keep.sorted()
		return b, nil
	case errors.Is(err, errSyntax), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errNotJSON
	case err != nil:
		return nil, err
	case !isSuccess(p.members):
		return nil, &refusal{p.members}
	case !p.seenList:
		return nil, fmt.Errorf("%w of the expected form: messages is missing", errNotJSON)
	}
	b := &Batch{
		User:   decodeUser(p.members["user"]),
		Device: decodeDevice(p.members["device"]),
		Sounds: decodeSounds(p.members["sounds"]),
	}
	b.Messages, b.More = p.keep.sorted()
	return b, nil
}

type batchReader struct {
	s        *scanner
	keep     lowest
	decode   decoder
	members  map[string]json.RawMessage // all but the list
	size     int                        // of members
	seenList bool

	ascending bool      // the list, so far
	last      MessageID // of the list, so far
}

func (p *batchReader) read() error {
	p.members = make(map[string]json.RawMessage)
	if err := p.s.expect('{'); err != nil {
		return err
	}
	if done, err := p.s.take('}'); err != nil {
		return err
	} else if done {
		return p.s.atEnd()
	}
	for {
		key, err := p.key()
		if err != nil {
			return err
		}
		if err := p.member(key); err != nil {
			return err
		}
		if done, err := p.s.take('}'); err != nil {
			return err
		} else if done {
			return p.s.atEnd()
		}
		if err := p.s.expect(','); err != nil {
			return err
		}
	}
}

func (p *batchReader) key() (string, error) {
	raw, err := p.valid()
	if err != nil {
		return "", err
	}
	if raw[0] != '"' {
		return "", errSyntax
	}
	key := string(unquote(raw))
	return key, p.s.expect(':')
}

// valid returns the next value with its grammar checked.
func (p *batchReader) valid() ([]byte, error) {
	raw, err := p.s.value(maxDocument)
	if err != nil {
		return nil, err
	}
	w := walker{b: raw}
	if err := w.value(0); err != nil || w.i != len(raw) {
		return nil, errSyntax
	}
	return raw, nil
}

func (p *batchReader) member(key string) error {
	c, err := p.s.peek()
	if err != nil {
		return err
	}
	if key == "messages" && c == '[' {
		if p.seenList {
			return errSyntax
		}
		p.seenList = true
		return p.list()
	}
	raw, err := p.valid()
	if err != nil {
		return err
	}
	if key == "messages" && string(raw) == "null" {
		p.seenList = true
		return nil
	}
	if p.size += len(raw) + len(key); p.size > maxDocument {
		return fmt.Errorf("the document is %w beside the messages (limit %d bytes)", ErrTooLarge, maxDocument)
	}
	p.members[key] = append(json.RawMessage(nil), raw...)
	return nil
}

func (p *batchReader) list() error {
	if err := p.s.expect('['); err != nil {
		return err
	}
	if done, err := p.s.take(']'); done || err != nil {
		return err
	}
	p.ascending = true
	for {
		raw, err := p.s.value(maxDocument)
		if err != nil {
			return err
		}
		fields, id, err := p.decode.parse(raw)
		if err != nil {
			return err
		}
		p.ascending, p.last = p.ascending && id > p.last, id
		if p.keep.wants(id) {
			p.keep.add(p.decode.message(raw, fields, id))
		}
		if done, err := p.s.take(']'); done || err != nil {
			return err
		}
		if err := p.s.expect(','); err != nil {
			return err
		}
	}
}

// members reads an object leniently: nil if it is none.
func members(raw json.RawMessage) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	_ = json.Unmarshal(raw, &m) // absent, null or of another type: nothing is known
	return m
}

func decodeUser(raw json.RawMessage) User {
	m := members(raw)
	licence := func(name string) *bool {
		v, ok := m[name]
		if !ok || string(v) == "null" {
			return nil
		}
		f := flagOf(v)
		return &f
	}
	return User{
		QuietHours: flagOf(m["quiet_hours"]), QuietUntil: timeOf(m["quick_quiet_until"]),
		DesktopLicensed: licence("is_desktop_licensed"), AndroidLicensed: licence("is_android_licensed"),
		IOSLicensed: licence("is_ios_licensed"), Created: timeOf(m["created_at"]),
		Email: Secret(textOf(m["email"])), EmailAlias: Secret(textOf(m["first_email_alias"])),
	}
}

func decodeDevice(raw json.RawMessage) Device {
	m := members(raw)
	return Device{
		Name: textOf(m["name"]), EID: textOf(m["eid"]),
		DefaultSound:                      textOf(m["default_sound"]),
		DefaultHighPrioritySound:          textOf(m["default_high_priority_sound"]),
		AlwaysUseDefaultSound:             flagOf(m["always_use_default_sound"]),
		AlwaysUseDefaultHighPrioritySound: flagOf(m["always_use_default_high_priority_sound"]),
		EncryptionEnabled:                 flagOf(m["encryption_enabled"]),
		DismissalSync:                     flagOf(m["dismissal_sync_enabled"]),
	}
}

func decodeSounds(raw json.RawMessage) map[string]string {
	sounds := make(map[string]string)
	for code, name := range members(raw) {
		if s := textOf(name); s != "" {
			sounds[code] = s
		}
	}
	if len(sounds) == 0 {
		return nil
	}
	return sounds
}

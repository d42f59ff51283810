package connector

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Mode is the CloudEvents content mode in which events are put on a bus.
type Mode int

// The content modes.
const (
	ModeStructured Mode = iota // one JSON document holds attributes and data
	ModeBinary                 // attributes travel as headers, the body is the data
)

// String returns the mode's name in configuration.
func (m Mode) String() string {
	if m == ModeBinary {
		return "binary"
	}
	return "structured"
}

// UnmarshalText reads "structured" or "binary".
func (m *Mode) UnmarshalText(text []byte) error {
	switch string(text) {
	case "structured":
		*m = ModeStructured
	case "binary":
		*m = ModeBinary
	default:
		return fmt.Errorf("want structured or binary")
	}
	return nil
}

// A Header is one protocol header of an encoded event. Names are to be sent as
// they are, without canonicalisation.
type Header struct {
	Name, Value string
}

// A Binding is how a protocol carries CloudEvents: the headers' names and how
// their values are written. Each sink has its own.
type Binding struct {
	Prefix          string // of an attribute's header, such as "ce-"
	ContentType     string // name of the protocol's content type header
	StructuredType  string // its value in structured mode
	DataContentType string // header that carries datacontenttype in binary mode
	PercentEncode   bool   // header values are percent-encoded; otherwise they are plain UTF-8
}

func (b Binding) escape(value string) string {
	if b.PercentEncode {
		return percentEncode(value)
	}
	return value
}

const (
	specVersion     = "1.0"
	dataContentType = "application/json"
)

// Encode writes the event in the given mode for the given protocol. In structured
// mode no attribute is repeated as a header, though the bindings allow it: some
// readers take any such header for a sign of binary mode.
func (e Event) Encode(m Mode, b Binding) (headers []Header, body []byte, err error) {
	if m == ModeStructured {
		body, err = e.MarshalJSON()
		if err != nil {
			return nil, nil, err
		}
		return []Header{{b.ContentType, b.StructuredType}}, body, nil
	}
	attrs, err := e.attributes()
	if err != nil {
		return nil, nil, err
	}
	headers = make([]Header, 0, len(attrs))
	for _, a := range attrs {
		name := b.Prefix + a.name
		if a.name == "datacontenttype" {
			name = b.DataContentType
		}
		headers = append(headers, Header{name, b.escape(a.text)})
	}
	return headers, e.Data, nil
}

// MarshalJSON writes the event in the CloudEvents JSON format: attributes in the
// order of the specification, then extensions in theirs, then data.
func (e Event) MarshalJSON() ([]byte, error) {
	attrs, err := e.attributes()
	if err != nil {
		return nil, err
	}
	w := newJSONWriter(len(e.Data) + 512)
	for _, a := range attrs {
		if a.bare {
			w.value(a.name, []byte(a.text))
		} else {
			w.text(a.name, a.text)
		}
	}
	w.value("data", e.Data)
	return w.end(), nil
}

// An attribute has its value in the canonical string form of the CloudEvents
// type system.
type attribute struct {
	name, text string
	bare       bool // not quoted in JSON
}

// attributes lists all context attributes in encoding order and checks what the
// specification demands of them: a reader of a log cannot repair an event.
func (e Event) attributes() ([]attribute, error) {
	if e.ID == "" || e.Source == "" || e.Type == "" {
		return nil, fmt.Errorf("event %q of type %q: id, source and type must not be empty", e.ID, e.Type)
	}
	if !bytes.HasPrefix(e.Data, []byte("{")) || !bytes.HasSuffix(e.Data, []byte("}")) {
		return nil, fmt.Errorf("event %q: data is not a JSON object", e.ID)
	}
	attrs := make([]attribute, 0, 8+len(e.Extensions))
	attrs = append(attrs,
		attribute{name: "specversion", text: specVersion},
		attribute{name: "id", text: e.ID},
		attribute{name: "source", text: e.Source},
		attribute{name: "type", text: e.Type},
		attribute{name: "datacontenttype", text: dataContentType},
	)
	if e.Schema != "" {
		attrs = append(attrs, attribute{name: "dataschema", text: schemaURI(e.Schema)})
	}
	if e.Subject != "" {
		attrs = append(attrs, attribute{name: "subject", text: cleanAttribute(e.Subject)})
	}
	if !e.Time.IsZero() {
		attrs = append(attrs, attribute{name: "time", text: e.Time.UTC().Format(time.RFC3339Nano)})
	}
	for _, x := range e.Extensions {
		if !validExtensionName(x.Name) {
			return nil, fmt.Errorf("event %q: extension name %q is not 1 to 20 of a-z and 0-9", e.ID, x.Name)
		}
		switch v := x.Value.(type) {
		case string:
			attrs = append(attrs, attribute{name: x.Name, text: cleanAttribute(v)})
		case int32:
			attrs = append(attrs, attribute{name: x.Name, text: strconv.FormatInt(int64(v), 10), bare: true})
		case bool:
			attrs = append(attrs, attribute{name: x.Name, text: strconv.FormatBool(v), bare: true})
		default:
			return nil, fmt.Errorf("event %q: extension %s has type %T; want string, int32 or bool", e.ID, x.Name, x.Value)
		}
	}
	return attrs, nil
}

func validExtensionName(s string) bool {
	if s == "" || len(s) > 20 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}) < 0
}

// cleanAttribute makes a text valid as a CloudEvents String, which allows no
// control characters, surrogates or noncharacters (specification 1.0.2, type
// system). Attributes are built from text that strangers send.
func cleanAttribute(s string) string {
	if plainText(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r < 0x20, r >= 0x7f && r <= 0x9f:
			return ' '
		case r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe:
			return '\uFFFD'
		default:
			return r
		}
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// percentEncode writes space, double quote, percent and everything outside
// printable ASCII as %XX of its UTF-8 bytes, as the CloudEvents HTTP and NATS
// bindings ask.
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	clean := strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r == '"' || r == '%' || r > '~'
	}) < 0
	if clean {
		return s
	}
	out := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c == '"' || c == '%' || c > '~' {
			out = append(out, '%', hex[c>>4], hex[c&15])
			continue
		}
		out = append(out, c)
	}
	return string(out)
}

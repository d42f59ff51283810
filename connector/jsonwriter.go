package connector

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// A jsonWriter writes one JSON object, member by member, in the order of the
// calls. Every message is written twice, as data and as an event, and doing so
// through reflection took most of the time that carrying it took.
type jsonWriter struct{ out []byte }

// newJSONWriter begins an object that will take about size bytes.
func newJSONWriter(size int) *jsonWriter {
	return &jsonWriter{append(make([]byte, 0, size), '{')}
}

// end returns the finished object.
func (w *jsonWriter) end() []byte { return append(w.out, '}') }

func (w *jsonWriter) name(name string) {
	if len(w.out) > 1 {
		w.out = append(w.out, ',')
	}
	w.out = append(w.out, '"')
	w.out = append(w.out, name...)
	w.out = append(w.out, '"', ':')
}

// text writes a string; broken UTF-8 and U+0000, which many stores of text refuse,
// become U+FFFD.
func (w *jsonWriter) text(name, value string) {
	w.name(name)
	w.out = appendQuoted(w.out, value)
}

// optional writes a string, or nothing if it is empty.
func (w *jsonWriter) optional(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

// texts writes a list of strings, or nothing if it is empty.
func (w *jsonWriter) texts(name string, values []string) {
	if len(values) == 0 {
		return
	}
	w.name(name)
	for i, v := range values {
		w.out = appendQuoted(append(w.out, "[,"[min(i, 1)]), v)
	}
	w.out = append(w.out, ']')
}

func (w *jsonWriter) integer(name string, value int64) {
	w.name(name)
	w.out = strconv.AppendInt(w.out, value, 10)
}

func (w *jsonWriter) boolean(name string, value bool) {
	w.name(name)
	w.out = strconv.AppendBool(w.out, value)
}

// value writes what is JSON already.
func (w *jsonWriter) value(name string, value []byte) {
	w.name(name)
	w.out = append(w.out, value...)
}

func appendQuoted(out []byte, s string) []byte {
	if !plainText(s) {
		quoted, _ := json.Marshal(strings.ReplaceAll(s, "\x00", "\uFFFD")) // it can encode any string
		return append(out, quoted...)
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}

// plainText reports whether a JSON string stands for s byte by byte, also to a
// reader that takes it for HTML.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// oneLine returns a JSON text on one line, since an event may be a line of a file,
// and such that strict readers take it: in valid UTF-8, and without escapes of what
// is not a character or which they refuse. Unescaped line ends occur only between
// the tokens.
func oneLine(value json.RawMessage) (json.RawMessage, error) {
	if !utf8.Valid(value) {
		value = bytes.ToValidUTF8(value, []byte("\uFFFD"))
	}
	value = strictEscapes(value)
	if bytes.IndexByte(value, '\n') < 0 && bytes.IndexByte(value, '\r') < 0 {
		return value, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

// strictEscapes replaces the escapes of U+0000 and of surrogates that are not a
// pair by those of U+FFFD. JSON allows both; PostgreSQL's jsonb, Rust's serde_json
// and others refuse the whole document for one.
func strictEscapes(value json.RawMessage) json.RawMessage {
	if !bytes.Contains(value, []byte(`\u`)) {
		return value
	}
	out := bytes.Clone(value)
	unit := func(i int) (r rune, ok bool) { // of the escape at i, which the grammar vouches for
		if i+6 > len(out) || out[i] != '\\' || out[i+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(out[i+2:i+6]), 16, 16)
		return rune(n), err == nil
	}
	for i := 0; i < len(out); i++ {
		if out[i] != '\\' {
			continue
		}
		r, ok := unit(i)
		if !ok {
			i++ // skip what it escapes
			continue
		}
		second, _ := unit(i + 6)
		switch {
		case utf16.DecodeRune(r, second) != unicode.ReplacementChar:
			i += 11
			continue
		case r == 0, utf16.IsSurrogate(r):
			copy(out[i+2:], "fffd")
		}
		i += 5
	}
	return out
}

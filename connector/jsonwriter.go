package connector

import (
	"bytes"
	"encoding/json"
	"strconv"
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

// text writes a string; broken UTF-8 becomes U+FFFD.
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
		quoted, _ := json.Marshal(s) // it can encode any string
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

// oneLine returns a JSON text on one line and in valid UTF-8: an event may be a
// line of a file. Unescaped line ends occur only between the tokens.
func oneLine(value json.RawMessage) (json.RawMessage, error) {
	if !utf8.Valid(value) {
		value = bytes.ToValidUTF8(value, []byte("\uFFFD"))
	}
	if bytes.IndexByte(value, '\n') < 0 && bytes.IndexByte(value, '\r') < 0 {
		return value, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

package pushover

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// The message list is by far the most of what comes in, and encoding/json would
// read each message twice and through reflection. These functions walk a
// complete JSON value once, check its grammar as encoding/json does, and hand out
// its members as slices of the input. The fuzz tests hold them against
// encoding/json.

// maxDepth of nested arrays and objects. Messages are flat; anything deeper is an
// attack on the stack.
const maxDepth = 200

var errSyntax = errors.New("JSON syntax")

// A walker is a place in a JSON text.
type walker struct {
	b []byte
	i int
}

func (w *walker) space() {
	for w.i < len(w.b) && isSpace(w.b[w.i]) {
		w.i++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// take consumes c if it comes next, after space.
func (w *walker) take(c byte) bool {
	w.space()
	if w.i < len(w.b) && w.b[w.i] == c {
		w.i++
		return true
	}
	return false
}

// object walks the members of an object and tells those of a message to f, unless
// that is nil.
func (w *walker) object(depth int, f *messageFields) error {
	if depth > maxDepth || !w.take('{') {
		return errSyntax
	}
	if w.take('}') {
		return nil
	}
	for {
		w.space()
		start := w.i
		if err := w.string(); err != nil {
			return err
		}
		key := w.b[start:w.i]
		if !w.take(':') {
			return errSyntax
		}
		w.space()
		start = w.i
		if err := w.value(depth + 1); err != nil {
			return err
		}
		if f != nil {
			f.set(key, w.b[start:w.i])
		}
		if w.take('}') {
			return nil
		}
		if !w.take(',') {
			return errSyntax
		}
	}
}

func (w *walker) array(depth int) error {
	if depth > maxDepth || !w.take('[') {
		return errSyntax
	}
	if w.take(']') {
		return nil
	}
	for {
		if err := w.value(depth + 1); err != nil {
			return err
		}
		if w.take(']') {
			return nil
		}
		if !w.take(',') {
			return errSyntax
		}
	}
}

// value walks over one value of any kind.
func (w *walker) value(depth int) error {
	w.space()
	if w.i == len(w.b) {
		return errSyntax
	}
	switch c := w.b[w.i]; c {
	case '"':
		return w.string()
	case '{':
		return w.object(depth, nil)
	case '[':
		return w.array(depth)
	case 't':
		return w.literal("true")
	case 'f':
		return w.literal("false")
	case 'n':
		return w.literal("null")
	default:
		return w.number()
	}
}

func (w *walker) literal(s string) error {
	if !bytes.HasPrefix(w.b[w.i:], []byte(s)) {
		return errSyntax
	}
	w.i += len(s)
	return nil
}

func (w *walker) digits() bool {
	start := w.i
	for w.i < len(w.b) && w.b[w.i] >= '0' && w.b[w.i] <= '9' {
		w.i++
	}
	return w.i > start
}

// at reports whether c comes next, without space.
func (w *walker) at(c byte) bool { return w.i < len(w.b) && w.b[w.i] == c }

func (w *walker) number() error {
	if w.at('-') {
		w.i++
	}
	if w.at('0') {
		w.i++
	} else if !w.digits() {
		return errSyntax
	}
	if w.at('.') {
		w.i++
		if !w.digits() {
			return errSyntax
		}
	}
	if w.at('e') || w.at('E') {
		w.i++
		if w.at('+') || w.at('-') {
			w.i++
		}
		if !w.digits() {
			return errSyntax
		}
	}
	return nil
}

func (w *walker) string() error {
	if !w.at('"') {
		return errSyntax
	}
	for i := w.i + 1; ; i++ {
		i += ordinary(w.b[i:])
		if i == len(w.b) || w.b[i] < ' ' {
			return errSyntax
		}
		if w.b[i] == '"' {
			w.i = i + 1
			return nil
		}
		i++ // the backslash
		if i == len(w.b) {
			return errSyntax
		}
		switch w.b[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			if _, ok := hex4(w.b[i+1:]); !ok {
				return errSyntax
			}
			i += 4
		default:
			return errSyntax
		}
	}
}

// ordinary counts the bytes before the first quote, backslash or control
// character, eight at a time: of each byte of a word, the top bit is set if the
// byte is less than the one it is compared with, and exact for the first such byte
// (https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord).
func ordinary(b []byte) (n int) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; n+8 <= len(b); n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		found := ((x-ones*' ')&^x | (quote-ones)&^quote | (slash-ones)&^slash) & tops
		if found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for ; n < len(b); n++ {
		if c := b[n]; c == '"' || c == '\\' || c < ' ' {
			return n
		}
	}
	return n
}

// hex4 reads the four digits of a \u escape.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// plain reports whether a quoted string stands for its own bytes.
func plain(quoted []byte) bool {
	return bytes.IndexByte(quoted, '\\') < 0 && utf8.Valid(quoted)
}

// unquote returns the text of a quoted string that a walker has passed. Broken
// UTF-8 and lone surrogates become U+FFFD, as in encoding/json.
func unquote(quoted []byte) []byte {
	in := quoted[1 : len(quoted)-1]
	if plain(in) {
		return in
	}
	out := make([]byte, 0, len(in)+2*utf8.UTFMax)
	for i := 0; i < len(in); {
		if in[i] != '\\' {
			r, n := utf8.DecodeRune(in[i:])
			out = utf8.AppendRune(out, r)
			i += n
			continue
		}
		c := in[i+1]
		i += 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, n := escaped(in[i:])
			out = utf8.AppendRune(out, r)
			i += n
			continue
		}
		out = append(out, c)
	}
	return out
}

// escaped reads what follows \u, a second escape included if both make one
// character, and says how many bytes that was.
func escaped(in []byte) (r rune, n int) {
	r, _ = hex4(in)
	if !utf16.IsSurrogate(r) {
		return r, 4
	}
	if len(in) >= 10 && in[4] == '\\' && in[5] == 'u' {
		low, _ := hex4(in[6:])
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 10
		}
	}
	return utf8.RuneError, 4
}

// textOf returns the text of a string value, and of a number its digits; any
// other value has none.
func textOf(v json.RawMessage) string {
	switch {
	case len(v) == 0:
		return ""
	case v[0] == '"':
		return string(unquote(v))
	case v[0] == '-' || v[0] >= '0' && v[0] <= '9':
		return string(v)
	default:
		return ""
	}
}

// integerOf returns the exact integer that a number, or a string with a number,
// stands for. Fractions and exponents are not accepted: 1e3 is not a way to
// write an id.
func integerOf(v json.RawMessage) (int64, bool) {
	if len(v) > 0 && v[0] == '"' {
		v = unquote(v)
	}
	return parseInteger(v)
}

// flagOf reads the ways to write yes: true, 1, and both as a string.
func flagOf(v json.RawMessage) bool {
	if len(v) > 0 && v[0] == '"' {
		v = unquote(v)
	}
	return string(v) == "true" || string(v) == "1"
}

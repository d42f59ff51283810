package pushover

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"
)

// An E2EEKey is the key a user typed into his devices for end-to-end encryption.
// It encrypts and authenticates. Printing, logging and marshalling it gives
// REDACTED.
type E2EEKey [32]byte

// ParseE2EEKey reads the 64 hex digits of a key, in either case.
func ParseE2EEKey(s string) (E2EEKey, error) {
	var k E2EEKey
	if len(s) != 2*len(k) {
		return E2EEKey{}, fmt.Errorf("encryption key: has %d characters, want %d hex digits", len(s), 2*len(k))
	}
	if _, err := hex.Decode(k[:], []byte(s)); err != nil {
		return E2EEKey{}, errors.New("encryption key: has a character that is not a hex digit")
	}
	return k, nil
}

// Format implements [fmt.Formatter] for every verb, %#v included.
func (k E2EEKey) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, redacted) }

// String returns REDACTED.
func (k E2EEKey) String() string { return redacted }

// LogValue implements [slog.LogValuer].
func (k E2EEKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements [encoding.TextMarshaler], and so JSON as well.
func (k E2EEKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// maxPlain is the most a field may grow to: a thousand times the API's limits
// would fit into one compressed kilobyte.
const maxPlain = 64 << 10

// Decrypt returns the message with what is encrypted of Title, Text, URL and
// URLTitle in the clear. It tries every key; the authentication code of each field
// tells which one fits.
//
// Each field stands for itself. One that has not the form of ciphertext is left as
// it is and named in PlainFields: the service puts the application's name in as
// title where the sender set none, and senders leave a short link in the clear.
// One that has the form, but no key opens it, or its content is damaged, is empty
// in the message returned, and the error, an [ErrUndecryptable], names it. So
// nothing of what is returned is ciphertext, also beside an error. Decrypted says
// that the text was opened.
//
// A message that is not encrypted is returned as it is. It is not documented
// that an Open Client gets to see the sender's encrypted flag, so a message of
// which one of the keys opens a field counts as encrypted without it.
//
// The format (gzip, AES-256-CBC, HMAC-SHA256, base64) is that of
// https://pushover.net/api#e2ee.
func (m Message) Decrypt(keys []E2EEKey) (Message, error) {
	if m.Decrypted {
		return m, nil
	}
	out := m
	out.PlainFields = nil
	found := m.Encrypted // by a key that fits, or by the flag
	var locked, damaged []string
	for _, f := range []struct {
		name string
		text *string
	}{{"message", &out.Text}, {"title", &out.Title}, {"url", &out.URL}, {"url_title", &out.URLTitle}} {
		if *f.text == "" {
			continue
		}
		sealed, ok := ciphertext(*f.text)
		if !ok {
			out.PlainFields = append(out.PlainFields, f.name)
			continue
		}
		plain, err := decrypt(sealed, keys)
		switch {
		case err == nil:
			found = true
			out.Decrypted = out.Decrypted || f.name == "message"
		case errors.Is(err, errNoKey):
			locked = append(locked, f.name)
		default:
			found = true
			damaged = append(damaged, fmt.Sprintf("%s (%s)", f.name, err))
		}
		*f.text = plain
	}
	if !found {
		return m, nil
	}
	out.Encrypted = true
	var why []string
	if len(locked) > 0 {
		why = append(why, "no key fits "+strings.Join(locked, ", "))
	}
	if len(damaged) > 0 {
		why = append(why, "a key fits, but the content is damaged: "+strings.Join(damaged, ", "))
	}
	if len(why) > 0 {
		return out, fmt.Errorf("%w: %s", ErrUndecryptable, strings.Join(why, "; "))
	}
	return out, nil
}

var errNoKey = errors.New("no key fits")

// standardBase64 turns the URL-safe alphabet into the standard one.
var standardBase64 = strings.NewReplacer("-", "+", "_", "/")

// ciphertext decodes a field that has the form of ciphertext: base64 of either
// alphabet, padded or not, of an initialization vector, whole blocks and a code.
func ciphertext(field string) ([]byte, bool) {
	const overhead = aes.BlockSize + sha256.Size // whole blocks too
	field = strings.TrimRight(standardBase64.Replace(field), "=\r\n")
	data, err := base64.RawStdEncoding.DecodeString(field)
	return data, err == nil && len(data) > overhead && len(data)%aes.BlockSize == 0
}

func decrypt(data []byte, keys []E2EEKey) (string, error) {
	signed, code := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	for _, k := range keys {
		mac := hmac.New(sha256.New, k[:])
		_, _ = mac.Write(signed)
		if hmac.Equal(mac.Sum(nil), code) {
			return open(signed[:aes.BlockSize], signed[aes.BlockSize:], k)
		}
	}
	return "", errNoKey
}

// open decrypts a field whose authenticity is established.
func open(iv, sealed []byte, k E2EEKey) (string, error) {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return "", err
	}
	clear := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(clear, sealed)
	clear, ok := unpad(clear)
	if !ok {
		return "", errPadding
	}
	return inflate(clear)
}

var (
	errPadding = errors.New("padding")
	errDamaged = errors.New("compression or encoding")
)

// unpad removes PKCS#7 padding.
func unpad(b []byte) ([]byte, bool) {
	n := int(b[len(b)-1])
	if n == 0 || n > aes.BlockSize || !bytes.Equal(b[len(b)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, false
	}
	return b[:len(b)-n], true
}

// inflate undoes the compression. Senders use gzip; what little is written about
// the format also speaks of deflate, and nothing keeps a sender from leaving it
// out.
func inflate(b []byte) (string, error) {
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) { // no UTF-8 text begins so
		r, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return "", errDamaged
		}
		return readPlain(r)
	}
	if r, err := zlib.NewReader(bytes.NewReader(b)); err == nil {
		if s, err := readPlain(r); !errors.Is(err, errDamaged) {
			return s, err
		}
	}
	// A text may look like the beginning of a deflate stream, but hardly like one
	// that ends with it.
	in := bytes.NewReader(b)
	if s, err := readPlain(flate.NewReader(in)); err == nil && in.Len() == 0 && s != "" {
		return s, nil
	}
	if !utf8.Valid(b) {
		return "", errDamaged
	}
	return string(b), nil
}

func readPlain(r io.Reader) (string, error) {
	out, err := io.ReadAll(io.LimitReader(r, maxPlain+1))
	switch {
	case len(out) > maxPlain:
		return "", fmt.Errorf("%w, limit %d bytes", ErrTooLarge, maxPlain)
	case err != nil || !utf8.Valid(out):
		return "", errDamaged
	default:
		return string(out), nil
	}
}

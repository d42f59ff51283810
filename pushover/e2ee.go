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

// Decrypt returns the message with Title, Text, URL and URLTitle in the clear and
// Decrypted set. It tries every key; the authentication code of each field tells
// which one fits. If none does, or the content is damaged, it returns m as it is
// and [ErrUndecryptable]: what is in the fields then must not be taken for text.
//
// A message that is not encrypted is returned as it is. It is not documented
// that an Open Client gets to see the sender's encrypted flag, so a text that
// proves to be encrypted with one of the keys counts as encrypted without it.
//
// The format (gzip, AES-256-CBC, HMAC-SHA256, base64) is that of
// https://pushover.net/api#e2ee.
func (m Message) Decrypt(keys []E2EEKey) (Message, error) {
	if m.Decrypted {
		return m, nil
	}
	out := m
	found := false
	for _, field := range []*string{&out.Text, &out.Title, &out.URL, &out.URLTitle} {
		if *field == "" {
			continue
		}
		plain, err := decryptField(*field, keys)
		switch {
		case err == nil:
			*field, found = plain, true
		case m.Encrypted || !errors.Is(err, errNoKey):
			return m, err
		}
	}
	out.Encrypted = m.Encrypted || found
	out.Decrypted = out.Encrypted
	return out, nil
}

// errNoKey: no key authenticates a field.
var errNoKey = fmt.Errorf("%w: no key fits", ErrUndecryptable)

var errDamaged = fmt.Errorf("%w: a key fits, but the content is damaged", ErrUndecryptable)

func decryptField(field string, keys []E2EEKey) (string, error) {
	const minimum = aes.BlockSize + aes.BlockSize + sha256.Size // IV, one block, code
	data, err := base64.StdEncoding.DecodeString(field)
	if err != nil || len(data) < minimum || (len(data)-aes.BlockSize-sha256.Size)%aes.BlockSize != 0 {
		return "", errNoKey
	}
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
		return "", errDamaged
	}
	return inflate(clear)
}

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
		return "", fmt.Errorf("%w: the text is %w (limit %d bytes)", ErrUndecryptable, ErrTooLarge, maxPlain)
	case err != nil || !utf8.Valid(out):
		return "", errDamaged
	default:
		return string(out), nil
	}
}

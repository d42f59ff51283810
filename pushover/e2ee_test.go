package pushover_test

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
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushover-connector/pushover-connector/pushover"
)

const (
	vectorKey    = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	vectorPlain  = "Backup of “nas-1” finished: 42 files ✔"
	vectorCipher = "8PHy8/T19vf4+fr7/P3+/7IeVeuVNjtGe+jjvoCV5TMR5Al2385gxbkhZ/f81zTQm3//Ee2/JVUqWfOaRulfaeIWVRb+SjdXud17O0yi8hr9uxt55EWwAOCATqcCg5MhE0ZaisW8yug8Y2A4tem3bA=="
)

func key(t testing.TB, hex string) pushover.E2EEKey {
	t.Helper()
	k, err := pushover.ParseE2EEKey(hex)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// seal encrypts as senders do, with the given compression.
func seal(k pushover.E2EEKey, packed []byte) string {
	n := aes.BlockSize - len(packed)%aes.BlockSize
	return sealPadded(k, append(bytes.Clone(packed), bytes.Repeat([]byte{byte(n)}, n)...))
}

func sealPadded(k pushover.E2EEKey, padded []byte) string {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err)
	}
	out := bytes.Repeat([]byte{7}, aes.BlockSize+len(padded))
	cipher.NewCBCEncrypter(block, out[:aes.BlockSize]).CryptBlocks(out[aes.BlockSize:], padded)
	mac := hmac.New(sha256.New, k[:])
	mac.Write(out)
	return base64.StdEncoding.EncodeToString(mac.Sum(out))
}

func pack(text string, newWriter func(io.Writer) io.WriteCloser) []byte {
	var b bytes.Buffer
	w := newWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.Bytes()
}

func gzipped(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
func zlibbed(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }
func deflated(w io.Writer) io.WriteCloser {
	d, _ := flate.NewWriter(w, flate.BestCompression) // the level is valid
	return d
}

func TestDecryptOpensTheTestVector(t *testing.T) {
	right, other := key(t, strings.ToUpper(vectorKey)), key(t, strings.Repeat("00", 32))
	m := pushover.Message{
		ID: 1, App: "Backup", Text: vectorCipher, URL: seal(right, pack("https://example.org", gzipped)), Encrypted: true, Raw: []byte(`{}`),
	}
	got, err := m.Decrypt([]pushover.E2EEKey{other, right})
	want := pushover.Message{
		ID: 1, App: "Backup", Text: vectorPlain, URL: "https://example.org", Encrypted: true, Decrypted: true, Raw: []byte(`{}`),
	}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("got %v (-want +got):\n%s", err, d)
	}
	if again, err := got.Decrypt([]pushover.E2EEKey{right}); err != nil || !cmp.Equal(again, got) {
		t.Errorf("decrypting what is decrypted: got %v, %v, want it unchanged", again, err)
	}
}

func TestDecryptSniffsTheCompression(t *testing.T) {
	k := key(t, vectorKey)
	for name, packed := range map[string][]byte{
		"gzip": pack(vectorPlain, gzipped), "zlib": pack(vectorPlain, zlibbed), "deflate": pack(vectorPlain, deflated),
		"none": []byte(vectorPlain),
	} {
		got, err := pushover.Message{Text: seal(k, packed), Encrypted: true}.Decrypt([]pushover.E2EEKey{k})
		if err != nil || got.Text != vectorPlain {
			t.Errorf("%s: got %q, %v, want the text", name, got.Text, err)
		}
	}
	// Something behind a compressed text makes it another one, which is no text at all.
	for name, packed := range map[string][]byte{
		"deflate": append(pack(vectorPlain, deflated), "more"...), "half a deflate": pack(vectorPlain, deflated)[:20],
	} {
		got, err := pushover.Message{Text: seal(k, packed), Encrypted: true}.Decrypt([]pushover.E2EEKey{k})
		if !errors.Is(err, pushover.ErrUndecryptable) || got.Text == vectorPlain {
			t.Errorf("%s and more: got %q, %v, want ErrUndecryptable", name, got.Text, err)
		}
	}
	for _, text := range []string{"x^2 + y^2", "x\x01", "hello", "K", "0"} { // some begin like zlib or deflate
		got, err := pushover.Message{Text: seal(k, []byte(text)), Encrypted: true}.Decrypt([]pushover.E2EEKey{k})
		if err != nil || got.Text != text {
			t.Errorf("plain %q: got %q, %v", text, got.Text, err)
		}
	}
}

func TestDecryptNeverTakesCiphertextForText(t *testing.T) {
	k := key(t, vectorKey)
	raw, err := base64.StdEncoding.DecodeString(vectorCipher)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(i int) string {
		b := bytes.Clone(raw)
		b[i] ^= 1
		return base64.StdEncoding.EncodeToString(b)
	}
	for name, text := range map[string]string{
		"IV changed": flip(0), "text changed": flip(20),
		"code changed": flip(len(raw) - 1), "bad padding": sealPadded(k, bytes.Repeat([]byte{0}, 32)),
		"long padding": sealPadded(k, bytes.Repeat([]byte{17}, 32)), "cut gzip": seal(k, pack(vectorPlain, gzipped)[:30]),
		"gzip of no text": seal(k, pack("\xff\xfe", gzipped)), "no text": seal(k, []byte{0xff, 0xfe, 0xfd}),
	} {
		for _, flag := range []bool{true, false} { // the title shows that it is encrypted
			m := pushover.Message{Title: vectorCipher, Text: text, Encrypted: flag}
			got, err := m.Decrypt([]pushover.E2EEKey{k})
			want := pushover.Message{Title: vectorPlain, Encrypted: true}
			if !errors.Is(err, pushover.ErrUndecryptable) || pushover.Retryable(err) || !cmp.Equal(got, want) {
				t.Errorf("%s: got %+v, %v, want the title alone and ErrUndecryptable", name, got, err)
			}
			if !strings.Contains(fmt.Sprint(err), "message") || strings.Contains(fmt.Sprint(err), "title") {
				t.Errorf("%s: the error %q does not name the field", name, err)
			}
		}
	}
	for name, keys := range map[string][]pushover.E2EEKey{"no key": nil, "wrong key": {key(t, strings.Repeat("ab", 32))}} {
		if got, err := (pushover.Message{Text: vectorCipher, Encrypted: true}).Decrypt(keys); !errors.Is(err, pushover.ErrUndecryptable) || got.Decrypted {
			t.Errorf("%s: got %v, want ErrUndecryptable", name, err)
		}
	}
}

// Without the flag a key that fits shows that a text is encrypted, though it cannot be
// read. A text that no key fits is only a text.
func TestDecryptTellsADamagedTextFromOneThatLooksEncrypted(t *testing.T) {
	k, other := key(t, vectorKey), key(t, strings.Repeat("ab", 32))
	damaged := pushover.Message{Text: seal(k, pack(vectorPlain, gzipped)[:30])}
	got, err := damaged.Decrypt([]pushover.E2EEKey{other, k})
	if !errors.Is(err, pushover.ErrUndecryptable) || !cmp.Equal(got, pushover.Message{Encrypted: true}) || !strings.Contains(fmt.Sprint(err), "a key fits") {
		t.Errorf("damaged: got %+v, %v, want no text and ErrUndecryptable", got, err)
	}
	if got, err := damaged.Decrypt([]pushover.E2EEKey{other}); err != nil || !cmp.Equal(got, damaged) {
		t.Errorf("no key fits: got %+v, %v, want the message as it was", got, err)
	}
}

// Each field stands for itself: what is in the clear beside ciphertext is shown,
// and what no key opens is missing, alone.
func TestDecryptGoesByField(t *testing.T) {
	k, other := key(t, vectorKey), key(t, strings.Repeat("ab", 32))
	raw, err := base64.StdEncoding.DecodeString(vectorCipher)
	if err != nil {
		t.Fatal(err)
	}
	foreign := seal(other, pack("secret", gzipped))
	type m = pushover.Message
	for name, tt := range map[string]struct {
		in, want m
		locked   string // what the error names; "" for no error
	}{
		"title of the service": {
			m{Text: vectorCipher, Title: "Simulator"},
			m{Text: vectorPlain, Title: "Simulator", Decrypted: true, PlainFields: []string{"title"}}, "",
		},
		"plain link": {
			m{Text: vectorCipher, Title: vectorCipher, URL: "https://example.org", URLTitle: "open"},
			m{Text: vectorPlain, Title: vectorPlain, URL: "https://example.org", URLTitle: "open", Decrypted: true, PlainFields: []string{"url", "url_title"}}, "",
		},
		"plain text": {
			m{Text: "hello", Title: vectorCipher},
			m{Text: "hello", Title: vectorPlain, PlainFields: []string{"message"}}, "",
		},
		"all in the clear": {
			m{Text: "hello!", Title: "t"}, m{Text: "hello!", Title: "t", PlainFields: []string{"message", "title"}}, "",
		},
		"too short for ciphertext": {
			m{Text: vectorCipher, URLTitle: base64.StdEncoding.EncodeToString(raw[:48])},
			m{Text: vectorPlain, URLTitle: base64.StdEncoding.EncodeToString(raw[:48]), Decrypted: true, PlainFields: []string{"url_title"}}, "",
		},
		"not whole blocks": {
			m{Text: vectorCipher, Title: base64.StdEncoding.EncodeToString(raw[1:])},
			m{Text: vectorPlain, Title: base64.StdEncoding.EncodeToString(raw[1:]), Decrypted: true, PlainFields: []string{"title"}}, "",
		},
		"title under another key": {
			m{Text: vectorCipher, Title: foreign}, m{Text: vectorPlain, Decrypted: true}, "title",
		},
		"text under another key": {
			m{Text: foreign, Title: "Fire"}, m{Title: "Fire", PlainFields: []string{"title"}}, "message",
		},
		"all under another key": {m{Text: foreign, Title: foreign, URL: foreign}, m{}, "message, title, url"},
	} {
		tt.in.Encrypted, tt.want.Encrypted = true, true
		got, err := tt.in.Decrypt([]pushover.E2EEKey{k})
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		want := ""
		if tt.locked != "" {
			want = "message cannot be decrypted: no key fits " + tt.locked
		}
		if text := fmt.Sprint(err); err != nil != (want != "") || err != nil && text != want {
			t.Errorf("%s: got error %v, want %q", name, err, want)
		}
	}
}

func TestDecryptReadsEitherBase64(t *testing.T) {
	k := key(t, vectorKey)
	raw, err := base64.StdEncoding.DecodeString(vectorCipher)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"URL-safe":             base64.URLEncoding.EncodeToString(raw),
		"URL-safe, no padding": base64.RawURLEncoding.EncodeToString(raw),
		"no padding":           base64.RawStdEncoding.EncodeToString(raw),
		"in lines":             vectorCipher[:76] + "\r\n" + vectorCipher[76:] + "\n",
	} {
		got, err := pushover.Message{Text: text, Encrypted: true}.Decrypt([]pushover.E2EEKey{k})
		if err != nil || got.Text != vectorPlain {
			t.Errorf("%s: got %q, %v, want the text", name, got.Text, err)
		}
	}
}

func TestDecompressionBombIsRefused(t *testing.T) {
	k := key(t, vectorKey)
	for name, newWriter := range map[string]func(io.Writer) io.WriteCloser{"gzip": gzipped, "zlib": zlibbed, "deflate": deflated} {
		bomb := seal(k, pack(strings.Repeat("x", 4<<20), newWriter))
		if _, err := (pushover.Message{Text: bomb, Encrypted: true}).Decrypt([]pushover.E2EEKey{k}); !errors.Is(err, pushover.ErrUndecryptable) {
			t.Errorf("%s: got %v, want ErrUndecryptable", name, err)
		}
		full := strings.Repeat("x", 64<<10)
		got, err := pushover.Message{Text: seal(k, pack(full, newWriter)), Encrypted: true}.Decrypt([]pushover.E2EEKey{k})
		if err != nil || got.Text != full {
			t.Errorf("%s of 64 KiB: got %d bytes, %v, want all", name, len(got.Text), err)
		}
	}
}

// The encrypted flag may not reach an Open Client at all.
func TestDecryptKnowsCiphertextWithoutTheFlag(t *testing.T) {
	keys := []pushover.E2EEKey{key(t, vectorKey)}
	got, err := pushover.Message{Title: "in clear", Text: vectorCipher}.Decrypt(keys)
	want := pushover.Message{Title: "in clear", Text: vectorPlain, Encrypted: true, Decrypted: true, PlainFields: []string{"title"}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("got %v (-want +got):\n%s", err, d)
	}
	plain := pushover.Message{Title: "t", Text: "just text", URL: "https://example.org"}
	if got, err := plain.Decrypt(keys); err != nil || !cmp.Equal(got, plain) {
		t.Errorf("plain message: got %+v, %v, want it unchanged", got, err)
	}
}

func TestParseE2EEKeyDoesNotRepeatTheKey(t *testing.T) {
	for in, want := range map[string]string{
		"": "has 0 characters, want 64 hex digits", vectorKey + "0": "has 65", vectorKey[:62] + "xy": "not a hex digit",
	} {
		_, err := pushover.ParseE2EEKey(in)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "0001") || strings.Contains(err.Error(), "xy") {
			t.Errorf("ParseE2EEKey(%q): got %v, want one with %q and no digits", in, err, want)
		}
	}
}

// A text whose length is a whole number of blocks is padded by one more.
func TestDecryptTakesAFullBlockOfPadding(t *testing.T) {
	k := key(t, vectorKey)
	for n := range 33 {
		text := strings.Repeat("x", n+1)
		got, err := pushover.Message{Text: seal(k, []byte(text)), Encrypted: true}.Decrypt([]pushover.E2EEKey{k})
		if err != nil || got.Text != text {
			t.Errorf("%d bytes: got %q, %v", n+1, got.Text, err)
		}
	}
}

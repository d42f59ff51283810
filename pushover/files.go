package pushover

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

const pngSignature = "\x89PNG\r\n\x1a\n"

// Icon downloads an application's icon, a PNG image. name is [Message.Icon] and
// must be 1 to 64 letters, digits, _ or -. An icon of a name never changes: keep
// it, the service asks for that. An icon that does not exist gives an *[APIError]
// with status 404.
func (c *Client) Icon(ctx context.Context, name string) ([]byte, error) {
	return c.file(ctx, opIcon, "icons", name, ".png", func(data []byte) bool {
		return bytes.HasPrefix(data, []byte(pngSignature))
	})
}

// Sound downloads a sound as MP3. name is the sender's name for it, see
// [SoundName], with the same rules as for [Client.Icon].
func (c *Client) Sound(ctx context.Context, name string) ([]byte, error) {
	return c.file(ctx, opSound, "sounds", name, ".mp3", func(data []byte) bool {
		return !looksLikeDocument(data)
	})
}

func (c *Client) file(ctx context.Context, op, dir, name, suffix string, genuine func([]byte) bool) ([]byte, error) {
	if !validFileName(name) {
		return nil, fmt.Errorf("%s: name is not 1 to 64 letters, digits, _ or -", op)
	}
	var data []byte
	err := c.call(ctx, &request{
		op: op, method: http.MethodGet, path: []string{dir, name + suffix}, limit: maxFile, file: true,
		read: func(body io.Reader, _ http.Header) (err error) {
			if data, err = io.ReadAll(body); err != nil {
				return err
			}
			if !genuine(data) {
				return errNotFile
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

func validFileName(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '_' && s[i] != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

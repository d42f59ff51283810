package pushovertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Limits of what a request may carry. An attachment may have 5 242 880 bytes;
// base64 makes it a third longer.
const (
	maxBody       = 1 << 20
	maxSendBody   = 8 << 20
	maxAttachment = 5_242_880
)

var errBodyTooLarge = errors.New("request body is too large")

// read collects the parameters from wherever clients have been seen to put them:
// query, urlencoded body with or without content type, with GET too, multipart,
// JSON. The body wins over the query.
func (c *call) read(r *http.Request) error {
	c.params = r.URL.Query() // malformed pairs are left out
	limit := int64(maxBody)
	if c.op == OpSend {
		limit = maxSendBody
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return fmt.Errorf("request body could not be read: %w", err)
	}
	if int64(len(body)) > limit {
		return errBodyTooLarge
	}
	if len(body) == 0 {
		return nil
	}
	kind, options, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	switch kind {
	case "multipart/form-data":
		c.readMultipart(body, options["boundary"])
	case "application/json":
		// Urlencoded text under this label, as one client sends it, is no
		// JSON and brings no parameters.
		c.readJSON(body)
	default:
		// Some clients end the body with a newline that belongs to no value.
		text := strings.TrimRight(string(body), "\r\n")
		values, _ := url.ParseQuery(text) // what is well formed counts
		c.merge(values)
	}
	return nil
}

func (c *call) merge(values url.Values) {
	for k, v := range values {
		c.params[k] = v
	}
}

func (c *call) readMultipart(body []byte, boundary string) {
	// The most used sender for Node.js, which works, writes no line end before the
	// last boundary.
	end := []byte("--" + boundary + "--")
	if i := bytes.LastIndex(body, end); i > 0 && body[i-1] != '\n' {
		body = slices.Concat(body[:i], []byte("\r\n"), body[i:])
	}
	m := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := m.NextPart()
		if err != nil {
			return // the end, or nothing more that can be read
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return
		}
		if part.FileName() != "" {
			c.attach(len(data), part.Header.Get("Content-Type"))
			continue
		}
		c.params.Set(part.FormName(), string(data))
	}
}

func (c *call) attach(size int, kind string) {
	c.attachment += size
	c.noImage = c.noImage || !strings.HasPrefix(kind, "image/")
}

func (c *call) readJSON(body []byte) {
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if d.Decode(&object) != nil {
		return
	}
	for k, v := range object {
		switch v := v.(type) {
		case nil:
		case string:
			c.params.Set(k, v)
		case json.Number:
			c.params.Set(k, v.String())
		case bool:
			c.params.Set(k, map[bool]string{true: "1", false: "0"}[v])
		case []any:
			var list []string
			for _, e := range v {
				list = append(list, fmt.Sprint(e))
			}
			c.params.Set(k, strings.Join(list, ","))
		default:
			c.params.Set(k, fmt.Sprint(v))
		}
	}
}

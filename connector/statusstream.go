package connector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// maxStreams bounds the open event streams: each is a goroutine and renders
	// for itself. A browser has one for each tab.
	maxStreams = 32

	// streamPace is the shortest pause between two events of a stream, however much
	// happens.
	streamPace = 500 * time.Millisecond

	// streamLook is how often the status is compared though nothing has announced
	// a change: emergencies end by the clock.
	streamLook = 5 * time.Second

	// streamBeat is the longest silence of a stream. The page treats two missed
	// beats as a lost connection.
	streamBeat = 15 * time.Second

	// streamWrite bounds one write.
	streamWrite = 10 * time.Second
)

// pageHeaders are those of everything that a browser shows.
func pageHeaders(h http.Header, contentType string) {
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", pagePolicy)
}

func (c *Connector) servePage(w http.ResponseWriter, _ *http.Request) {
	body, err := newPage(c.Status(), time.Now()).html("page")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	pageHeaders(w.Header(), "text/html; charset=utf-8")
	_, _ = w.Write(body) // the client may be gone
}

// eventStream returns the handler of the page's server-sent events. Each has
// the part of the page that changes, as a JSON string. A stream ends when its
// client goes away, takes nothing for streamWrite, or when the request's context
// ends: a server that is to shut down ends its base context.
func (c *Connector) eventStream() http.HandlerFunc {
	places := make(chan struct{}, maxStreams)
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			w.Header().Set("Retry-After", "10")
			http.Error(w, fmt.Sprintf("%d status pages are open, which is the limit", maxStreams), http.StatusServiceUnavailable)
			return
		}
		pageHeaders(w.Header(), "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no") // or nginx buffers it
		if r.Method == http.MethodHead {
			return
		}
		_ = c.stream(w, r) // as for the page
	}
}

func (c *Connector) stream(w http.ResponseWriter, r *http.Request) error {
	out := http.NewResponseController(w)
	var shown []byte
	var written time.Time
	for {
		changed := c.health.Changed() // before looking, so that none is missed
		now := time.Now()
		p := newPage(c.Status(), now)
		present, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if same := bytes.Equal(present, shown); !same || now.Sub(written) >= streamBeat {
			event, err := p.event(!same)
			if err != nil {
				return err
			}
			// The server's own deadline is for a whole answer.
			if err := out.SetWriteDeadline(now.Add(streamWrite)); err != nil {
				return err
			}
			if _, err := w.Write(event); err != nil {
				return err
			}
			if err := out.Flush(); err != nil {
				return err
			}
			shown, written = present, now
		}
		if !pause(r.Context(), streamPace) {
			return r.Context().Err()
		}
		look := time.NewTimer(streamLook)
		select {
		case <-changed:
		case <-look.C:
		case <-r.Context().Done():
		}
		look.Stop()
	}
}

// event is the page as an event of the stream, or one without news, which shows
// that the connection lives. JSON keeps the data in one line, whatever the names
// in it contain.
func (p page) event(news bool) ([]byte, error) {
	if !news {
		return []byte("event: beat\ndata: " + p.Now() + "\n\n"), nil
	}
	live, err := p.html("live")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("retry: 2000\ndata: ")
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(string(live)); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

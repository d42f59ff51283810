package pushovertest

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// callBack tells the sender's URL about an acknowledgement, once [receipts].
// Only loopback is called, and no redirect followed: a simulator does not
// reach out.
func (s *Server) callBack(r *receipt) {
	u, err := url.Parse(r.message.Callback)
	if r.message.Callback == "" || err != nil || s.closed || !loopback(u.Hostname()) {
		return
	}
	form := url.Values{
		"receipt":                {r.id},
		"acknowledged":           {"1"},
		"acknowledged_at":        {strconv.FormatInt(r.at.Unix(), 10)},
		"acknowledged_by":        {r.by.UserKey},
		"acknowledged_by_device": {r.byDevice},
	}
	s.working.Go(func() {
		if !s.post(u.String(), form) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		r.calledBack = time.Now()
		s.bump()
	})
}

func (s *Server) post(target string, form url.Values) bool {
	// The request belongs to the server and not to the acknowledging one.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s.working.Go(func() {
		select {
		case <-s.done:
			cancel()
		case <-ctx.Done():
		}
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		s.log.Warn("callback failed")
		return false
	}
	_ = res.Body.Close() // nothing of it is read
	if res.StatusCode >= 300 {
		s.log.Warn("callback failed", "status", res.StatusCode)
		return false
	}
	return true
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

package pushover_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// serve runs a handler of the test's own on connections in memory, in virtual
// time.
func serve(t *testing.T, o pushover.Options, h http.HandlerFunc, run func(t *testing.T, c *pushover.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
		done := make(chan struct{})
		go func() { defer close(done); _ = server.Serve(l) }()
		defer func() { _ = server.Close(); <-done }()
		o.APIURL, o.StreamURL, o.DialContext = "http://127.0.0.1", "ws://127.0.0.1/push", l.dial
		if o.Credentials == (pushover.Credentials{}) {
			o.Credentials = someCredentials
		}
		c := mustNew(t, o)
		defer c.Close()
		run(t, c)
	})
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   atomic.Bool
	dials  atomic.Int32
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		l.dials.Add(1)
		return client, nil
	case <-l.closed:
	case <-ctx.Done():
	}
	return nil, &net.OpError{Op: "dial", Net: "pipe", Err: errors.New("connection refused")}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	if l.once.CompareAndSwap(false, true) {
		close(l.closed)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func TestNeverMoreThanTwoConnections(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		// The wait for a turn is longer than the time limit of a call, and no part of it.
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Delay: 14 * time.Second})
		results := make(chan error)
		for i := range 10 {
			c := w.client
			if i%2 == 0 {
				c = c.WithCredentials(c.Credentials()) // the limit is shared
			}
			go func() {
				_, err := c.Download(w.Context())
				results <- err
			}()
		}
		start := time.Now()
		for range 10 {
			if err := <-results; err != nil {
				w.Error(err)
			}
		}
		if took := time.Since(start); took != 70*time.Second {
			w.Errorf("10 downloads of 14 s by two connections: got %s, want 70 s", took)
		}
	})
}

func TestWaitingForATurnEndsWithTheContext(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Delay: 10 * time.Second})
		results := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := w.client.Download(w.Context())
				results <- err
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		if _, err := w.client.Download(ctx); !errors.Is(err, context.DeadlineExceeded) || pushover.Retryable(err) {
			w.Errorf("got %v, want the context's end", err)
		}
		for range 2 {
			if err := <-results; err != nil {
				w.Error(err)
			}
		}
	})
}

func TestAfterAFailureEveryCallWaitsLongerAndLonger(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "*", Status: 503})
		for i := range 10 {
			var err error
			if i%2 == 0 {
				_, err = w.client.Download(w.Context())
			} else {
				err = w.client.DeleteThrough(w.Context(), 1)
			}
			if !errors.Is(err, pushover.ErrUnavailable) || pushover.RetryAfter(err) < 5*time.Second {
				w.Fatalf("got %v, want ErrUnavailable", err)
			}
		}
		limit := 10 * time.Second
		for i, r := range w.sent()[1:] {
			gap := r.at - w.sent()[i].at
			if gap < max(5*time.Second, limit/2) || gap > limit {
				w.Errorf("wait %d: got %s, want %s to %s", i+1, gap, max(5*time.Second, limit/2), limit)
			}
			limit = min(2*limit, 5*time.Minute)
		}
		w.sim.ClearFaults()
		for range 3 { // a success opens the gate, and the ladder begins anew
			if _, err := w.client.Download(w.Context()); err != nil {
				w.Fatal(err)
			}
		}
		n := len(w.sent())
		if gap := w.sent()[n-1].at - w.sent()[n-3].at; gap != 0 {
			w.Errorf("after a success: got a wait of %s, want none", gap)
		}
	})
}

func TestOneProbeGoesAheadWhileOthersWait(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 502, Count: 1})
		if _, err := w.client.Download(w.Context()); err == nil {
			w.Fatal("want an error")
		}
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Delay: 20 * time.Second, Count: 1})
		results := make(chan error)
		for range 4 {
			go func() {
				_, err := w.client.Download(w.Context())
				results <- err
			}()
		}
		time.Sleep(11 * time.Second) // the longest first wait is 10 s; virtual time
		synctest.Wait()
		if got := w.sim.Requests("GET messages"); got != 2 {
			w.Errorf("after the wait: got %d requests, want the failed one and one probe", got)
		}
		for range 4 {
			if err := <-results; err != nil {
				w.Error(err)
			}
		}
	})
}

func TestAbandonedProbeLetsAnotherOneTry(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 502, Count: 1})
		if _, err := w.client.Download(w.Context()); err == nil {
			w.Fatal("want an error")
		}
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Delay: 20 * time.Second, Count: 1})
		ctx, cancel := context.WithTimeout(w.Context(), 15*time.Second)
		defer cancel()
		if _, err := w.client.Download(ctx); !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("probe: got %v, want the context's end", err)
		}
		if _, err := w.client.Download(w.Context()); err != nil {
			w.Errorf("the next: got %v", err)
		}
	})
}

func TestRateLimitIsHonoured(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{0: time.Minute, 30 * time.Second: time.Minute, 20 * time.Minute: 20 * time.Minute} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			w.sim.Fault(pushovertest.Fault{On: "*", Status: 429, Count: 1, RetryAfter: asked})
			_, err := w.client.Download(w.Context())
			if !errors.Is(err, pushover.ErrRateLimited) || !pushover.Retryable(err) || pushover.RetryAfter(err) != want {
				w.Errorf("got %v, RetryAfter %s, want ErrRateLimited and %s", err, pushover.RetryAfter(err), want)
			}
			start := time.Now()
			if err := download(w.Context(), w.client); err != nil {
				w.Error(err)
			}
			if waited := time.Since(start); waited < want || waited > want+time.Second {
				w.Errorf("Retry-After %s: got a wait of %s, want %s", asked, waited, want)
			}
		})
	}
}

func TestRetryAfterOfAFailureIsHonoured(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "*", Status: 503, Count: 1, RetryAfter: 2 * time.Minute})
		_, err := w.client.Download(w.Context())
		if pushover.RetryAfter(err) != 2*time.Minute {
			w.Errorf("RetryAfter: got %s, want 2 min", pushover.RetryAfter(err))
		}
		start := time.Now()
		if _, err := w.client.Download(w.Context()); err != nil || time.Since(start) < 2*time.Minute {
			w.Errorf("got %v after %s, want a wait of 2 min", err, time.Since(start))
		}
	})
}

func TestRejectedRequestIsNotSentAgain(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.DisableDevice("nas-1", true)
		w.sim.Fault(pushovertest.Fault{On: "GET messages", Status: 400})
		var first *pushover.APIError
		for range 3 {
			_, err := w.client.Download(w.Context())
			var e *pushover.APIError
			if !errors.As(err, &e) || !errors.Is(err, pushover.ErrSessionRejected) {
				w.Fatalf("got %v, want ErrSessionRejected", err)
			}
			if first == nil {
				first = e
			}
			if e != first {
				w.Errorf("got another error %v, want the stored one", e)
			}
		}
		if got := w.sim.Requests("GET messages"); got != 1 {
			w.Errorf("got %d requests, want 1", got)
		}
		w.sim.ClearFaults()
		w.sim.DisableDevice("nas-1", false)
		if _, err := w.client.WithCredentials(w.client.Credentials()).Download(w.Context()); err != nil {
			w.Errorf("a Client that has forgotten: got %v", err)
		}
	})
}

// A page of a proxy in place of an answer says nothing about the request.
func TestAnswerThatIsNotTheServicesIsTransient(t *testing.T) {
	for name, f := range map[string]pushovertest.Fault{
		"HTML with 200":        {Status: 200, Body: "<html>log in to the wifi</html>", ContentType: "text/html"},
		"HTML with 404":        {Status: 404, Body: "<html>not found</html>", ContentType: "text/html"},
		"HTML with 403":        {Status: 403, Body: "denied", ContentType: "text/plain"},
		"JSON of others, 404":  {Status: 404, Body: `{"error":"no route"}`},
		"JSON of others, 200":  {Status: 200, Body: `{"ok":true}`},
		"JSON list":            {Status: 200, Body: `[]`},
		"empty":                {Status: 200, Body: " "},
		"redirect":             {Status: 302, Body: "moved"},
		"request timeout":      {Status: 408, Body: "timeout", ContentType: "text/plain"},
		"server error in JSON": {Status: 500, Body: `{"status":0,"errors":["oops"]}`},
		"half a body":          {Drop: "half"},
		"dropped before":       {Drop: "before"},
		"dropped after":        {Drop: "after"},
	} {
		simulate(t, pushovertest.Options{}, func(w *world) {
			if _, err := w.client.Download(w.Context()); err != nil { // so that a connection is reused
				w.Fatal(err)
			}
			w.sim.Send(pushovertest.Outgoing{Message: strings.Repeat("long ", 100)})
			f.On, f.Count = "GET messages", 1
			w.sim.Fault(f)
			_, err := w.client.Download(w.Context())
			if !errors.Is(err, pushover.ErrUnavailable) || !pushover.Retryable(err) || errors.Is(err, pushover.ErrSessionRejected) {
				w.Errorf("%s: got %v, want ErrUnavailable alone", name, err)
			}
			if got := w.sim.Requests("GET messages"); got != 2 {
				w.Errorf("%s: got %d requests, want 2: nothing may be repeated at once", name, got)
			}
			if b, err := w.client.Download(w.Context()); err != nil || len(b.Messages) != 1 {
				w.Errorf("%s: afterwards got %v, %v, want the message", name, b, err)
			}
		})
	}
}

func TestManyRejectionsInARowSlowTheClientDown(t *testing.T) {
	serve(t, pushover.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"status":0,"message":"invalid","errors":["message is invalid"]}`))
	}, func(t *testing.T, c *pushover.Client) {
		start := time.Now()
		for i := range pushover.MaxRejections {
			if err := c.DeleteThrough(t.Context(), pushover.MessageID(i+1)); err == nil || errors.Is(err, pushover.ErrSessionRejected) {
				t.Fatalf("got %v, want a rejection of the message", err)
			}
		}
		if time.Since(start) != 0 {
			t.Errorf("first rejections: got a wait of %s, want none", time.Since(start))
		}
		for i := range 2 {
			start = time.Now()
			_ = c.DeleteThrough(t.Context(), pushover.MessageID(1000+i))
			if time.Since(start) < 5*time.Second {
				t.Errorf("one more: got a wait of %s, want 5 s or more", time.Since(start))
			}
		}
	})
}

func TestMemoryOfRejectionsIsBounded(t *testing.T) {
	requests := 0
	serve(t, pushover.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		requests++
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"status":0}`))
	}, func(t *testing.T, c *pushover.Client) {
		for i := range pushover.MaxRemembered + 1 {
			_ = c.DeleteThrough(t.Context(), pushover.MessageID(i+1))
		}
		_ = c.DeleteThrough(t.Context(), pushover.MaxRemembered) // remembered
		_ = c.DeleteThrough(t.Context(), 1)                      // forgotten
		if want := pushover.MaxRemembered + 2; requests != want {
			t.Errorf("got %d requests, want %d", requests, want)
		}
	})
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var elsewhere atomic.Bool
	serve(t, pushover.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			elsewhere.Store(true)
			return
		}
		http.Redirect(w, r, "/elsewhere?"+r.URL.RawQuery, http.StatusTemporaryRedirect)
	}, func(t *testing.T, c *pushover.Client) {
		_, err := c.Download(t.Context())
		if !errors.Is(err, pushover.ErrUnavailable) || !strings.Contains(err.Error(), "redirect") {
			t.Errorf("got %v, want ErrUnavailable that names the redirect", err)
		}
		if elsewhere.Load() {
			t.Error("the redirect was followed")
		}
	})
}

func TestRequestsHaveTheFormTheServiceWants(t *testing.T) {
	type seen struct{ line, agent, contentType, body string }
	var got []seen
	serve(t, pushover.Options{UserAgent: "nas-notifier/2.0"}, func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		got = append(got, seen{r.Method + " " + r.URL.Path, r.UserAgent(), r.Header.Get("Content-Type"), r.PostForm.Encode()})
		if r.Method == http.MethodGet && (r.ContentLength != 0 || len(r.TransferEncoding) > 0 || r.URL.RawQuery !=
			"secret="+someCredentials.Secret.Reveal()+"&device_id="+someCredentials.DeviceID.Reveal()) {
			t.Errorf("GET: got length %d, encoding %v, query %q", r.ContentLength, r.TransferEncoding, r.URL.RawQuery)
		}
		_, _ = w.Write([]byte(`{"status":1,"id":"x","secret":"y","messages":[]}`))
	}, func(t *testing.T, c *pushover.Client) {
		ctx, secret := t.Context(), someCredentials.Secret.Reveal()
		_, e1 := c.Login(ctx, "me+x@example.org", "p&ss word", "123456")
		_, e2 := c.RegisterDevice(ctx, "nas-1")
		_, e3 := c.Download(ctx)
		e4 := c.DeleteThrough(ctx, 380698801670733827)
		e5 := c.Acknowledge(ctx, "rAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
		if err := errors.Join(e1, e2, e3, e4, e5); err != nil {
			t.Fatal(err)
		}
		const form = "application/x-www-form-urlencoded"
		want := []seen{
			{"POST /1/users/login.json", "", form, "email=me%2Bx%40example.org&password=p%26ss+word&twofa=123456"},
			{"POST /1/devices.json", "", form, "name=nas-1&os=O&secret=" + secret},
			{"GET /1/messages.json", "", "", ""},
			{"POST /1/devices/" + someCredentials.DeviceID.Reveal() + "/update_highest_message.json", "", form, "message=380698801670733827&secret=" + secret},
			{"POST /1/receipts/rAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/acknowledge.json", "", form, "secret=" + secret},
		}
		for i := range want {
			want[i].agent = "nas-notifier/2.0"
			if i >= len(got) || got[i] != want[i] {
				t.Errorf("request %d: got %+v, want %+v", i, got[min(i, len(got)-1)], want[i])
			}
		}
	})
}

func TestBodiesAreBounded(t *testing.T) {
	endless := func(w http.ResponseWriter, start string) {
		_, _ = w.Write([]byte(start))
		filler := []byte(strings.Repeat(" ", 1<<20))
		for {
			if _, err := w.Write(filler); err != nil {
				return
			}
		}
	}
	for name, tc := range map[string]struct {
		status int
		start  string
		call   func(context.Context, *pushover.Client) error
		want   error
	}{
		"download":       {200, `{"status":1,`, download, pushover.ErrTooLarge},
		"deletion":       {200, `{"status":1,`, func(ctx context.Context, c *pushover.Client) error { return c.DeleteThrough(ctx, 1) }, pushover.ErrTooLarge},
		"icon":           {200, "\x89PNG\r\n\x1a\n", func(ctx context.Context, c *pushover.Client) error { _, err := c.Icon(ctx, "x"); return err }, pushover.ErrTooLarge},
		"refusal":        {400, `{"status":0,`, download, pushover.ErrUnavailable},
		"server trouble": {500, `<html>`, download, pushover.ErrUnavailable},
	} {
		serve(t, pushover.Options{MaxBody: 3 << 20}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tc.status)
			endless(w, tc.start)
		}, func(t *testing.T, c *pushover.Client) {
			err := tc.call(t.Context(), c)
			if !errors.Is(err, tc.want) || errors.Is(tc.want, pushover.ErrTooLarge) && pushover.Retryable(err) {
				t.Errorf("%s: got %v, want %v", name, err, tc.want)
			}
		})
	}
}

func download(ctx context.Context, c *pushover.Client) error {
	_, err := c.Download(ctx)
	return err
}

func TestBodyOfExactlyTheLimitIsAccepted(t *testing.T) {
	doc := list(`{"id":1}`)
	for extra, want := range map[int64]error{0: nil, -1: pushover.ErrTooLarge} {
		serve(t, pushover.Options{MaxBody: int64(len(doc)) + extra}, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(doc))
		}, func(t *testing.T, c *pushover.Client) {
			if err := download(t.Context(), c); !errors.Is(err, want) {
				t.Errorf("limit %+d: got %v, want %v", extra, err, want)
			}
		})
	}
}

func TestTimeLimitOfACallIsOnTheWholeOfADownloadOnSilence(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) {
		doc := list(`{"id":1}`)
		for i := range len(doc) {
			select {
			case <-time.After(2 * time.Second):
			case <-r.Context().Done():
				return
			}
			_, _ = w.Write([]byte(doc[i : i+1]))
			w.(http.Flusher).Flush()
		}
	}
	serve(t, pushover.Options{}, slow, func(t *testing.T, c *pushover.Client) {
		if err := download(t.Context(), c); err != nil {
			t.Errorf("slow download: got %v, want success", err)
		}
		start := time.Now()
		if err := c.DeleteThrough(t.Context(), 1); !errors.Is(err, pushover.ErrUnavailable) || time.Since(start) != 30*time.Second {
			t.Errorf("slow deletion: got %v after %s, want ErrUnavailable after 30 s", err, time.Since(start))
		}
	})
	silent := func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"status":1,`))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	serve(t, pushover.Options{Timeout: 10 * time.Second}, silent, func(t *testing.T, c *pushover.Client) {
		start := time.Now()
		if err := download(t.Context(), c); !errors.Is(err, pushover.ErrUnavailable) || time.Since(start) != 10*time.Second {
			t.Errorf("download that falls silent: got %v after %s, want ErrUnavailable after 10 s", err, time.Since(start))
		}
	})
}

func TestRequestsAreReported(t *testing.T) {
	simulate(t, pushovertest.Options{}, func(w *world) {
		w.sim.Fault(pushovertest.Fault{On: "POST delete", Drop: "before", Count: 1})
		_, _ = w.client.Download(w.Context())
		_ = w.client.DeleteThrough(w.Context(), 1)
		got := w.sent()
		if len(got) != 2 || got[0].Op != "messages" || got[0].Status != 200 || got[0].Err != nil ||
			got[1].Op != "delete" || got[1].Status != 0 || !errors.Is(got[1].Err, pushover.ErrUnavailable) {
			w.Errorf("got %+v, want a download and a deletion without reply", got)
		}
	})
}

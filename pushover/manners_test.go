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
		for range 3 { // a success opens the gate, and the ladder starts over
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

// Else a caller with a deadline shorter than the service's trouble could ask
// without pause. Giving up for another reason says nothing about the service.
func TestOwnDeadlineOfACallerIsAnUnansweredRequest(t *testing.T) {
	for _, late := range []bool{true, false} {
		var requests atomic.Int32
		serve(t, pushover.Options{}, func(_ http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			<-r.Context().Done()
		}, func(t *testing.T, c *pushover.Client) {
			for range 4 {
				ctx, cancel := context.WithCancelCause(t.Context())
				wait := time.Hour
				if late {
					wait = time.Second
				} else {
					time.AfterFunc(time.Second, func() { cancel(errStop) })
				}
				limited, free := context.WithTimeoutCause(ctx, wait, errStop)
				if err := download(limited, c); !errors.Is(err, errStop) || pushover.Retryable(err) {
					t.Errorf("got %v, want the context's cause", err)
				}
				free()
				cancel(nil)
			}
			if got, want := requests.Load(), map[bool]int32{true: 1, false: 4}[late]; got != want {
				t.Errorf("deadline %v: got %d requests within 4 s, want %d", late, got, want)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if err := download(ctx, c); !errors.Is(err, context.DeadlineExceeded) || requests.Load() == 1 {
				t.Errorf("deadline %v: 5 s after the first: got %v and %d requests, want another one sent", late, err, requests.Load())
			}
		})
	}
}

func TestAbandonedProbeKeepsItsDistance(t *testing.T) {
	var requests atomic.Int32
	serve(t, pushover.Options{}, func(w http.ResponseWriter, r *http.Request) {
		switch requests.Add(1) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			<-r.Context().Done()
		default:
			_, _ = w.Write([]byte(list()))
		}
	}, func(t *testing.T, c *pushover.Client) {
		if err := download(t.Context(), c); err == nil {
			t.Fatal("want an error")
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(11*time.Second, cancel) // the probe leaves after 10 s at most
		if err := download(ctx, c); !errors.Is(err, context.Canceled) {
			t.Errorf("probe: got %v, want the context's end", err)
		}
		start := time.Now()
		if err := download(t.Context(), c); err != nil || requests.Load() != 3 || time.Since(start) < 5*time.Second {
			t.Errorf("the next: got %v after %s with %d requests in all, want the third one after 5 s", err, time.Since(start), requests.Load())
		}
	})
}

func TestBrokenOffBodyDoesNotChangeWhatTheStatusSays(t *testing.T) {
	for status, want := range map[int]error{http.StatusTooManyRequests: pushover.ErrRateLimited, http.StatusInternalServerError: pushover.ErrUnavailable} {
		serve(t, pushover.Options{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"status":0,`))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, func(t *testing.T, c *pushover.Client) {
			if err := download(t.Context(), c); !errors.Is(err, want) || pushover.RetryAfter(err) != 2*time.Minute {
				t.Errorf("status %d: got %v, want %v with its Retry-After", status, err, want)
			}
		})
	}
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

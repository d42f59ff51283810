package connector_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

var pageNow = time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)

func before(d time.Duration) time.Time { return pageNow.Add(-d) }

func ptr[T any](v T) *T { return &v }

// readyStatus is one in which all is well, for tests to spoil.
func readyStatus() connector.Status {
	s := connector.Status{
		Device: "nas-1", Version: "v1.2.3", State: connector.StateLive, Ready: true, Since: before(3 * time.Hour), Started: before(50 * time.Hour),
		Sink:       connector.SinkStatus{Name: "nats", Address: "nats://127.0.0.1:4222", Durability: "power"},
		LastSignal: ptr(before(12 * time.Second)), LastDownload: ptr(before(4 * time.Minute)), LastPublish: ptr(before(4 * time.Minute)),
		Emergencies: connector.EmergenciesStatus{Known: true},
		Recent: connector.Recent{
			EventsLastHour: 7,
			Events: []connector.RecentEvent{
				{ID: "9007199254740993", Time: before(4 * time.Minute), Priority: "high", App: "Backups", Stored: "PUSHOVER#8123", LatencyMS: 412, Cleared: true},
			},
			Changes: []connector.RecentChange{{At: before(3 * time.Hour), Part: connector.PartSession, To: "live"}},
		},
		Licence: connector.LicenceStatus{Desktop: ptr(true)},
	}
	for _, part := range connector.Parts() {
		s.Parts = append(s.Parts, connector.PartStatus{Part: part, OK: true, Since: before(3 * time.Hour)})
	}
	return s
}

// spoil replaces the account of one part.
func spoil(s *connector.Status, p connector.PartStatus) {
	s.Ready = false
	for i := range s.Parts {
		if s.Parts[i].Part == p.Part {
			s.Parts[i] = p
		}
	}
}

const receiptA, receiptB = "rAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "rBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"

// Each state says what an operator has to know, in words.
func TestStatusPageSays(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(s *connector.Status)
		want []string
		not  []string
	}{
		{"ready", func(*connector.Status) {}, []string{
			"<title>Ready · nas-1</title>", "Ready: an alarm sent now becomes an event",
			"Emergencies outstanding: none", "session login and push stream ok 3 h 00 min ago 00:00:00 UTC", "Events in the last hour 7",
			"Backups", "PUSHOVER#8123", "412 ms", "4 min ago 02:56:00 UTC", "412 ms yes", "power: an event survives a power cut",
			"nats://127.0.0.1:4222", "Desktop licence yes", "v1.2.3", "3 h 00 min", "Started 2 d 2 h ago", "Lag none",
		}, []string{"NOT READY", "Runbook:", "What to do"}},
		{"starting", func(s *connector.Status) {
			*s = connector.Status{Device: "nas-1", State: connector.StateStarting, Since: before(time.Second), Started: before(time.Second), Sink: connector.SinkStatus{Name: "kafka"}}
			for _, part := range []connector.Part{connector.PartSession, connector.PartBus} {
				s.Parts = append(s.Parts, connector.PartStatus{Part: part, Reason: connector.ReasonStarting, Detail: "waiting for the session", Since: before(time.Second)})
			}
		}, []string{
			"<title>Starting · nas-1</title>", "Starting: session, bus not up yet", "Emergencies outstanding: unknown",
			"bus connection to the bus starting 1 s ago 02:59:59 UTC waiting for the session",
			"Waiting at Pushover not known yet", "Address not known yet", "Desktop licence not known yet", "Last download none yet", "Lag not known yet",
		}, []string{"NOT READY", "Ready:", "outstanding: none", "outstanding: 0"}},
		{"download failing", func(s *connector.Status) {
			spoil(s, connector.PartStatus{
				Part: connector.PartDownload, Reason: connector.ReasonServerError, Detail: "Pushover answers 503 Service Unavailable",
				Since: before(5 * time.Minute), Attempts: 7, NextAttempt: ptr(pageNow.Add(42 * time.Second)),
			})
			s.Queue = connector.QueueStatus{Waiting: 3, AtLeast: true, OldestQueuedAt: ptr(before(2 * time.Minute))}
		}, []string{
			"<title>NOT READY: download · nas-1</title>",
			"NOT READY: download has been failing for 5 min: Pushover answers 503 Service Unavailable",
			"7 failed attempts; next in 42 s.", "What to do: Nothing yet: it is retried automatically. If it persists, see the runbook.", "server_error · 7 attempts · next in 42 s", "5 min ago 02:55:00 UTC",
			`RUNBOOK.md#part-download"`, "Waiting at Pushover 3 or more, as far as known", "the oldest has waited 2 min",
		}, []string{"Ready:", "#part-session", "waits for a person"}},
		{"taken over, and publish fails", func(s *connector.Status) {
			spoil(s, connector.PartStatus{
				Part: connector.PartPublish, Reason: connector.ReasonBusUnreachable, Detail: "connection refused",
				Since: before(time.Hour), Attempts: 1, NextAttempt: ptr(before(time.Second)),
			})
			spoil(s, connector.PartStatus{
				Part: connector.PartSession, Reason: connector.ReasonTakenOver, Detail: "another program logged in as this device (signal A)",
				Since: before(26 * time.Hour), Attempts: 1, Remedy: "stop the other program; then run 'pushover-connector resume'",
			})
		}, []string{
			"NOT READY: session has been halted for 26 h 00 min: another program logged in", "Also failing: publish.",
			"What to do: stop the other program; then run 'pushover-connector resume'.", "it will not be retried until this is fixed",
			"waits for a person", "1 attempt · next due now", "2026-11-25 01:00:00 UTC", `RUNBOOK.md#part-session"`, `RUNBOOK.md#part-publish"`,
		}, nil},
		{"disk full", func(s *connector.Status) {
			spoil(s, connector.PartStatus{
				Part: connector.PartStore, Reason: connector.ReasonDiskFull, Detail: "/var/lib/pushover-connector has 0 of 6 MiB free",
				Since: before(time.Minute), Attempts: 3, NextAttempt: ptr(pageNow.Add(time.Second)), Remedy: "free space in DATA_DIR",
			})
			s.Sink.Warnings = []string{"stream PUSHOVER has no limit"}
			s.Sink.Durability = "crash"
		}, []string{"store has been failing for 1 min", "free space in DATA_DIR", "stream PUSHOVER has no limit", "perhaps not a power cut"}, nil},
		{"commands", func(s *connector.Status) {
			spoil(s, connector.PartStatus{
				Part: connector.PartCommands, Reason: connector.ReasonBusMisconfigured, Detail: "the topic is gone",
				Since: before(time.Minute), Attempts: 3, NextAttempt: ptr(pageNow.Add(time.Second)),
			})
		}, []string{"commands have been failing"}, nil},
		{"stopped", func(s *connector.Status) { s.State = connector.StateStopped },
			[]string{"<title>Stopped · nas-1</title>", "Stopped: the connector is shutting down"}, []string{"Ready:", "NOT READY"}},
		{"standard output", func(s *connector.Status) {
			s.Sink = connector.SinkStatus{Name: "stdout", Durability: "none"}
			s.Emergencies.Known = false
		}, []string{"outstanding: unknown", "standard output cannot be read back", "none: nothing is kept"}, []string{"Address", "not known yet"}},
		{"unlicensed", func(s *connector.Status) { s.Licence.Desktop = ptr(false) },
			[]string{"Desktop licence none: the device stops 30 days"}, []string{"licence yes"}},
		{"emergencies unknown", func(s *connector.Status) { s.Emergencies.Known = false },
			[]string{"Emergencies outstanding: unknown", "Those from before this start are not known yet"}, []string{"outstanding: none", "outstanding: 0"}},
		{"one known, others not", func(s *connector.Status) {
			s.Emergencies = connector.EmergenciesStatus{Outstanding: []connector.Emergency{{Receipt: receiptA, App: "UPS", Since: before(time.Minute), ExpiresBy: pageNow.Add(2*time.Hour + 59*time.Minute)}}}
		}, []string{"Emergencies outstanding: 1, perhaps more", "not known yet", "<title>Ready, 1 emergency · nas-1"}, nil},
		{"two emergencies", func(s *connector.Status) {
			s.Emergencies.Outstanding = []connector.Emergency{
				{Receipt: receiptA, App: "UPS", Since: before(70 * time.Minute), ExpiresBy: pageNow.Add(110 * time.Minute)},
				{Receipt: receiptB + "; rm -rf /", App: "Smoke", Since: before(time.Minute), ExpiresBy: pageNow.Add(179 * time.Minute)},
			}
		}, []string{
			"Emergencies outstanding: 2", "UPS 1 h 10 min ago, at most 1 h 50 min left 01:50:00 UTC",
			"pushover-connector ack " + receiptA + " Copy", "is not one that can be acknowledged", "<title>Ready, 2 emergencies · nas-1",
		}, []string{"ack " + receiptB, "perhaps more"}},
		{"a flood of emergencies", func(s *connector.Status) {
			for range 1000 {
				s.Emergencies.Outstanding = append(s.Emergencies.Outstanding, connector.Emergency{Receipt: receiptA, App: "UPS", Since: before(time.Minute), ExpiresBy: pageNow})
			}
		}, []string{"Emergencies outstanding: 50 and 950 more", "pushover-connector emergencies"}, nil},
		{"hostile names", func(s *connector.Status) {
			s.Device = "</title><script>alert(0)</script>"
			s.Recent.Events[0].App = "<script>alert(1)</script>"
			s.Recent.Events[0].Stored = `"><img src=x onerror=alert(2)>`
			s.Emergencies.Outstanding = []connector.Emergency{{Receipt: `"><b onclick=alert(3)>`, App: "a\r\n\r\nevent: x\rdata: y", Since: before(time.Minute), ExpiresBy: pageNow}}
			spoil(s, connector.PartStatus{Part: connector.PartBus, Reason: connector.ReasonUnexpected, Detail: "<svg onload=alert(4)>", Remedy: "</bdi><iframe>", Since: before(0)})
		}, []string{"<script>alert(1)</script>", "<svg onload=alert(4)>"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := readyStatus()
			test.make(&s)
			whole, live, err := connector.RenderStatus(s, pageNow)
			if err != nil {
				t.Fatal(err)
			}
			said := words(whole)
			for _, want := range test.want {
				if !strings.Contains(said, want) {
					t.Errorf("the page does not say %q:\n%s", want, said)
				}
			}
			for _, not := range test.not {
				if strings.Contains(said, not) {
					t.Errorf("the page says %q:\n%s", not, said)
				}
			}
			wantEscaped(t, whole)
			wantSameLive(t, whole, live)
		})
	}
}

var (
	markup   = regexp.MustCompile(`<[^>]*>`)
	inline   = regexp.MustCompile(`^</?(b|bdi|strong|span|time|a)\b`)
	ownCode  = regexp.MustCompile(`(?s)<(style|script)>.*?</(style|script)>`)
	quoted   = regexp.MustCompile(`"[^"]*"`)
	elements = regexp.MustCompile(`<([a-zA-Z0-9]+)([^>]*)>`)
)

// words is what a page says without style, script and tags, but with its title
// and the targets of its links to the runbook.
func words(page []byte) string {
	s := ownCode.ReplaceAllString(string(page), "")
	s = markup.ReplaceAllStringFunc(s, func(tag string) string {
		_, target, linked := strings.Cut(tag, "RUNBOOK.md")
		switch {
		case tag == "<title>" || tag == "</title>":
			return tag
		case linked:
			return "RUNBOOK.md" + target
		case inline.MatchString(tag):
			return ""
		default:
			return " "
		}
	})
	return strings.Join(strings.Fields(html.UnescapeString(s)), " ")
}

// No name becomes markup: every element is one of the page's, and has no event
// handler.
func wantEscaped(t *testing.T, page []byte) {
	t.Helper()
	own := strings.Fields(`a b bdi body button code dd div dl dt footer h1 h2 head html li link main meta nav noscript ol p
		section small span strong table tbody td th thead time title tr ul`)
	s := quoted.ReplaceAllString(ownCode.ReplaceAllString(string(page), ""), `""`)
	for _, e := range elements.FindAllStringSubmatch(s, -1) {
		if !slices.Contains(own, e[1]) || strings.Contains(e[2], " on") {
			t.Errorf("the page has the element %s:\n%s", e[0], page)
		}
	}
	if n := strings.Count(string(page), "<script>"); n != 1 {
		t.Errorf("the page has %d scripts, want its own", n)
	}
}

// The event has the page's main, in one line of data.
func wantSameLive(t *testing.T, whole, live []byte) {
	t.Helper()
	_, data, ok := bytes.Cut(live, []byte("data: "))
	if !ok || bytes.Count(live, []byte("\n")) != 3 || bytes.ContainsRune(live, '\r') {
		t.Fatalf("the event is not one line of data: %q", live)
	}
	var fragment string
	if err := json.Unmarshal(data, &fragment); err != nil {
		t.Fatal(err)
	}
	at := strings.Index(fragment, "<main")
	if at < 0 {
		t.Fatalf("the event has no main:\n%s", fragment)
	}
	if main := fragment[at:]; !strings.Contains(string(whole), main) || !strings.Contains(fragment, "<title>") {
		t.Errorf("the page does not have the event's main:\n%s", fragment)
	}
}

// newPageRig returns a connector that has not been started, with an account for a test to
// change.
func newPageRig(t *testing.T) (*connector.Health, *connector.Connector) {
	t.Helper()
	client, err := pushover.New(pushover.Options{UserAgent: "connector-test/1"})
	if err != nil {
		t.Fatal(err)
	}
	h := connector.NewHealth(nil, nil)
	return h, connector.New(client, connector.Options{Health: h, Device: "nas-1"})
}

func TestStatusPageHeaders(t *testing.T) {
	_, c := newPageRig(t)
	for _, path := range []string{"/", "/status.json"} {
		w := httptest.NewRecorder()
		c.Handler(prometheus.NewRegistry()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusOK || w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s is %d with %v, want 200, nosniff and no-store", path, w.Code, w.Header())
		}
		if path != "/" {
			continue
		}
		policy := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("the policy %q does not have %q", policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || w.Header().Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("policy %q, referrer policy %q", policy, w.Header().Get("Referrer-Policy"))
		}
		if body := w.Body.String(); !strings.Contains(body, "Starting:") || !strings.Contains(body, "nas-1") {
			t.Errorf("before the start the page is:\n%s", body)
		}
	}
}

// served is a server with the deadlines of the program's, on connections in
// memory.
type served struct {
	t      *testing.T
	conns  chan net.Conn
	client *http.Client
	server *http.Server
	closed chan struct{}
	close  func()
}

func (s *served) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}
func (s *served) Close() error   { s.close(); return nil }
func (s *served) Addr() net.Addr { return &net.TCPAddr{} }

func serve(t *testing.T, h http.Handler) *served {
	base, end := context.WithCancel(t.Context())
	s := &served{t: t, conns: make(chan net.Conn), closed: make(chan struct{})}
	s.close = sync.OnceFunc(func() { close(s.closed) })
	s.client = &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		s.conns <- there
		return here, nil
	}}}
	s.server = &http.Server{
		Handler: h, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		BaseContext: func(net.Listener) context.Context { return base },
	}
	s.server.RegisterOnShutdown(end)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.server.Serve(s) }()
	t.Cleanup(func() {
		end()
		s.client.CloseIdleConnections()
		_ = s.server.Close()
		<-done
	})
	return s
}

// follow opens a stream and returns its reader.
func (s *served) follow(ctx context.Context) (*http.Response, *bufio.Reader) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://page/events", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp, bufio.NewReader(resp.Body)
}

// nextEvent reads one event, without its last line end.
func nextEvent(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var all strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", all.String(), err)
		}
		if line == "\n" {
			return all.String()
		}
		all.WriteString(line)
	}
}

// A change arrives at once however long the stream has been open; without one
// the stream shows that it lives; many make few events.
func TestEventStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := newPageRig(t)
		resp, r := serve(t, c.Handler(prometheus.NewRegistry())).follow(t.Context())
		if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
			t.Errorf("content type %q", got)
		}
		if first := nextEvent(t, r); !strings.Contains(first, "Starting:") {
			t.Errorf("the first event is %q", first)
		}
		for range 40 { // ten minutes, longer than any deadline of the server
			if beat := nextEvent(t, r); !strings.HasPrefix(beat, "event: beat\n") {
				t.Fatalf("without a change came %q", beat)
			}
		}
		began := time.Now()
		download := h.Activity(connector.PartDownload)
		download.Failed(errors.New("it rains"), time.Now().Add(time.Hour))
		if got := nextEvent(t, r); !strings.Contains(got, "NOT READY") || !strings.Contains(got, "it rains") {
			t.Errorf("after a failure came %q", got)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("a change took %v", took)
		}
		for i := range 1000 {
			download.Failed(errors.New("it rains"), time.Now().Add(time.Hour))
			if i%100 == 0 {
				time.Sleep(100 * time.Millisecond)
			}
		}
		download.OK()
		events := 1
		for !strings.Contains(nextEvent(t, r), "download <small>reading the queue at Pushover</small></th>\\n<td class=\\\"state\\\">ok") {
			events++
		}
		if events > 4 {
			t.Errorf("a second of changes made %d events, want about two", events)
		}
	})
}

// One stream more than there may be is refused, and one that ends makes room.
func TestEventStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newPageRig(t)
		s := serve(t, c.Handler(prometheus.NewRegistry()))
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		for i := range connector.MaxStreams {
			its := t.Context()
			if i == 0 {
				its = ctx
			}
			_, r := s.follow(its)
			nextEvent(t, r)
		}
		if resp, _ := s.follow(t.Context()); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("one too many gets %d, want 503 and Retry-After", resp.StatusCode)
		}
		leave()
		synctest.Wait()
		if resp, _ := s.follow(t.Context()); resp.StatusCode != http.StatusOK {
			t.Errorf("after one has left the next gets %d, want 200", resp.StatusCode)
		}
	})
}

// A server's shutdown does not wait for open pages.
func TestShutdownEndsEventStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newPageRig(t)
		s := serve(t, c.Handler(prometheus.NewRegistry()))
		_, r := s.follow(t.Context())
		nextEvent(t, r)
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, r)
			ended <- err
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the stream ended with %v, want its end", err)
		}
	})
}

func TestEventsLastHour(t *testing.T) {
	var times []time.Time // one a minute for three hours
	for i := range 180 {
		times = append(times, before(time.Duration(179-i)*time.Minute))
	}
	for after, want := range map[time.Duration]int{0: 60, 59 * time.Second: 60, 30 * time.Minute: 30, 59 * time.Minute: 1, time.Hour: 0, 300 * time.Hour: 0, -time.Minute: 60} {
		if got := connector.EventsLastHour(pageNow.Add(after), times...); got != want {
			t.Errorf("%v after the last it counts %d, want %d", after, got, want)
		}
	}
}

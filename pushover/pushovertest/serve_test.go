package pushovertest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

func started(t *testing.T) *pushovertest.Server {
	t.Helper()
	s := pushovertest.New(pushovertest.Options{})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestBothHostsOnOneTLSPort(t *testing.T) {
	s := started(t)
	d := s.AddDevice("n")
	toServer := func(ctx context.Context, network, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, s.TLSAddr())
	}
	config := &tls.Config{RootCAs: s.CertPool(), MinVersion: tls.VersionTLS12}
	c := newCaller(t, s)
	c.http.Transport = &http.Transport{DialContext: toServer, TLSClientConfig: config}
	defer c.http.CloseIdleConnections()
	for _, host := range []string{"api.pushover.net", "client.pushover.net", "localhost", "127.0.0.1", "[::1]"} {
		a, err := request(t.Context(), c, http.MethodGet, "https://"+host+"/1/messages.json?"+values{"secret": d.Secret, "device_id": d.ID}.encode())
		if err != nil || !a.ok() {
			t.Errorf("%s: got %v %s", host, err, a.raw)
		}
	}
	dialer := websocket.Dialer{NetDialContext: toServer, TLSClientConfig: config}
	ws, res, err := dialer.DialContext(t.Context(), "wss://client.pushover.net/push", http.Header{"User-Agent": {"x/1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.Close() }()
	_ = res.Body.Close()
	w := &socket{t, ws}
	w.send("login:" + d.ID + ":" + d.Secret + "\n")
	if err := s.Wait(t.Context(), func(st pushovertest.State) bool { return st.Device("n").Connected }); err != nil {
		t.Fatal(err)
	}
	s.Send(pushovertest.Outgoing{Message: "x"})
	w.want("!")
	wantViolations(t, s)
}

func TestStrangersDoNotTrustTheCertificate(t *testing.T) {
	s := started(t)
	other := started(t)
	c := newCaller(t, s)
	c.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: other.CertPool(), MinVersion: tls.VersionTLS12}}
	var unknown *tls.CertificateVerificationError
	if _, err := request(t.Context(), c, http.MethodGet, s.TLSAPIURL()); !errors.As(err, &unknown) {
		t.Errorf("got %v, want a certificate error", err)
	}
}

func TestAddressesAndWhatIsNotServed(t *testing.T) {
	s := pushovertest.New(pushovertest.Options{})
	if got := s.APIURL() + s.StreamURL() + s.TLSAPIURL() + s.TLSStreamURL() + s.TLSAddr(); got != "" || s.CertPool() != nil {
		t.Errorf("before start: got %q", got)
	}
	if err := s.StartOn("127.0.0.1:0", ""); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	address := strings.TrimPrefix(s.APIURL(), "http://")
	if s.StreamURL() != "ws://"+address+"/push" || s.TLSAPIURL() != "" || s.CAPEM() != nil {
		t.Errorf("got %q %q %q", s.APIURL(), s.StreamURL(), s.TLSAPIURL())
	}
}

// No client can connect to "any address", so that is never told.
func TestEveryInterfaceIsToldAsLoopback(t *testing.T) {
	for _, host := range []string{"0.0.0.0", ""} {
		s := pushovertest.New(pushovertest.Options{})
		if err := s.StartOn(host+":0", host+":0"); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(s.APIURL(), "http://127.0.0.1:") || !strings.HasPrefix(s.StreamURL(), "ws://127.0.0.1:") ||
			!strings.HasPrefix(s.TLSAddr(), "127.0.0.1:") {
			t.Errorf("host %q: got %s, %s and %s, want 127.0.0.1", host, s.APIURL(), s.StreamURL(), s.TLSAddr())
		}
		c := newCaller(t, s)
		c.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		if a, err := request(t.Context(), c, http.MethodGet, s.APIURL()+"/sim/state"); err != nil || a.status != 200 {
			t.Errorf("host %q: got %v, %d from what was told", host, err, a.status)
		}
		s.Close()
	}
}

func TestPortInUseIsAClearErrorAndServesNothing(t *testing.T) {
	busy := strings.TrimPrefix(started(t).APIURL(), "http://")
	for _, addresses := range [][2]string{{busy, ""}, {"127.0.0.1:0", busy}} {
		s := pushovertest.New(pushovertest.Options{})
		err := s.StartOn(addresses[0], addresses[1])
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(fmt.Sprint(err), busy) {
			t.Errorf("got %v, want one that names %s", err, busy)
		}
		if s.APIURL() != "" {
			t.Errorf("serves on %s", s.APIURL())
		}
		s.Close()
		if err := s.Start(); err == nil {
			t.Error("started after Close")
		}
	}
}

func TestHandlerOnAForeignServer(t *testing.T) {
	s := pushovertest.New(pushovertest.Options{})
	defer s.Close()
	foreign := httptest.NewServer(s.Handler())
	defer foreign.Close()
	d := s.AddDevice("n")
	c := newCaller(t, s)
	c.http = foreign.Client()
	for range 3 {
		if a, err := request(t.Context(), c, http.MethodGet, foreign.URL+"/1/messages.json?"+values{"secret": d.Secret, "device_id": d.ID}.encode()); err != nil || !a.ok() {
			t.Errorf("got %v %s", err, a.raw)
		}
	}
	ws, res, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(foreign.URL, "http")+"/push", http.Header{"User-Agent": {"x/1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.Close() }()
	_ = res.Body.Close()
	w := &socket{t, ws}
	w.send("login:x:y")
	w.want("E", "close 1000")
	wantViolations(t, s)
}

func TestTLSInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pushovertest.New(pushovertest.Options{})
		s.StartPipe()
		defer s.Close()
		d := s.AddDevice("n")
		c := newCaller(t, s)
		c.http.Transport = &http.Transport{DialContext: s.DialContext, TLSClientConfig: &tls.Config{RootCAs: s.CertPool(), MinVersion: tls.VersionTLS12}}
		a, err := request(t.Context(), c, http.MethodGet, "https://api.pushover.net/1/messages.json?"+values{"secret": d.Secret, "device_id": d.ID}.encode())
		if err != nil || !a.ok() {
			t.Errorf("got %v %s", err, a.raw)
		}
	})
}

func TestDialContextFailsWhereNothingServes(t *testing.T) {
	s := pushovertest.New(pushovertest.Options{})
	if _, err := s.DialContext(t.Context(), "tcp", "x:80"); err == nil {
		t.Error("connected before StartPipe")
	}
	s.StartPipe()
	s.Close()
	if _, err := s.DialContext(t.Context(), "tcp", "x:80"); err == nil {
		t.Error("connected after Close")
	}
}

func TestWaitSeesChanges(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		for name, change := range map[string]func(){
			"a message": func() { s.Send(pushovertest.Outgoing{Message: "x"}) },
			"a request": func() { c.get("/1/nothing.json", nil) },
			"a stream":  func() { c.stream(d) },
			"a device":  func() { s.DisableDevice("n", true) },
		} {
			before, err := json.Marshal(s.State())
			if err != nil {
				t.Fatal(err)
			}
			seen := make(chan error)
			go func() {
				seen <- s.Wait(t.Context(), func(st pushovertest.State) bool {
					now, err := json.Marshal(st)
					return err == nil && !bytes.Equal(before, now)
				})
			}()
			synctest.Wait()
			change()
			synctest.Wait()
			select {
			case err := <-seen:
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			default:
				t.Fatalf("%s woke nobody", name)
			}
			s.DisableDevice("n", false)
		}
	})
}

func TestWaitEndsWithItsContextAndWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pushovertest.New(pushovertest.Options{})
		never := func(pushovertest.State) bool { return false }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Wait(ctx, never); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		ended := make(chan error)
		go func() { ended <- s.Wait(t.Context(), never) }()
		synctest.Wait()
		s.Close()
		if err := <-ended; err == nil {
			t.Error("got nil from a closed server")
		}
	})
}

func TestCloseEndsStreamsAndConnections(t *testing.T) {
	bubble(t, pushovertest.Options{}, func(t *testing.T, s *pushovertest.Server, c *caller) {
		d := s.AddDevice("n")
		ws := c.stream(d)
		c.download(d)
		s.Close()
		ws.want("eof")
		if a := c.download(d); a.err == nil {
			t.Error("got an answer from a closed server")
		}
	})
}

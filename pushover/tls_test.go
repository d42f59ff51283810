package pushover_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// Over real sockets and TLS, with an authority of one's own.
func TestEverythingWorksOverTLS(t *testing.T) {
	sim := pushovertest.New(pushovertest.Options{})
	if err := sim.Start(); err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	device := sim.AddDevice("nas-1")
	o := pushover.Options{
		APIURL: sim.TLSAPIURL(), StreamURL: sim.TLSStreamURL(), RootCAs: sim.CertPool(), Credentials: credentialsOf(device),
	}
	client := mustNew(t, o)
	defer client.Close()
	sim.SendN(20, pushovertest.Outgoing{Title: "{n}", Message: "m"})
	var in inbox
	l := client.StartListening(t.Context(), in.handle)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := sim.Wait(ctx, func(s pushovertest.State) bool { return len(s.Device("nas-1").Queue) == 0 }); err != nil {
		t.Error(err)
	}
	if err := l.Stop(); err != nil || len(in.got()) != 20 {
		t.Errorf("got %d messages, %v, want 20", len(in.got()), err)
	}
	if v := sim.Violations(); len(v) > 0 {
		t.Errorf("the service complains: %v", v)
	}

	o.RootCAs = nil
	stranger := mustNew(t, o)
	defer stranger.Close()
	var unknown *tls.CertificateVerificationError
	if _, err := stranger.Download(t.Context()); !errors.Is(err, pushover.ErrUnavailable) || !errors.As(err, &unknown) {
		t.Errorf("download with an unknown authority: got %v, want a certificate error", err)
	}
	if _, err := stranger.Connect(t.Context()); !errors.Is(err, pushover.ErrUnavailable) || !errors.As(err, &unknown) {
		t.Errorf("stream with an unknown authority: got %v, want a certificate error", err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} // #nosec G402 -- what must be refused
	server.Config.ErrorLog = discardLogger
	server.StartTLS()
	defer server.Close()
	pool := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	addr := strings.TrimPrefix(server.URL, "https://")
	c := mustNew(t, pushover.Options{APIURL: server.URL, StreamURL: "wss://" + addr + "/push", RootCAs: pool, Credentials: someCredentials})
	defer c.Close()
	if _, err := c.Download(t.Context()); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("download: got %v, want a refusal of the version", err)
	}
	if _, err := c.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("stream: got %v, want a refusal of the version", err)
	}
}

// The environment is read once in a process, so the calls are made in another one.
func TestProxyOfTheEnvironmentIsUsed(t *testing.T) {
	if os.Getenv("PUSHOVER_TEST_PROXIED") != "" {
		c := mustNew(t, pushover.Options{
			APIURL: "http://api.invalid", StreamURL: "ws://client.invalid/push", AllowPlaintext: true, Credentials: someCredentials,
		})
		defer c.Close()
		b, err := c.Download(t.Context())
		if err != nil || len(b.Messages) != 1 {
			t.Errorf("download: got %v, %v, want the proxy's answer", b, err)
		}
		if _, err := c.Connect(t.Context()); !errors.Is(err, pushover.ErrUnavailable) {
			t.Errorf("stream: got %v, want the proxy's refusal", err)
		}
		return
	}
	seen := make(chan string, 2)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Method + " " + r.Host
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, list(`{"id":1}`))
	}))
	defer proxy.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestProxyOfTheEnvironmentIsUsed$") // #nosec G204 -- this very program
	cmd.Env = append(os.Environ(), "PUSHOVER_TEST_PROXIED=1", "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := <-seen; got != "GET api.invalid" {
		t.Errorf("first request at the proxy: got %q, want the download", got)
	}
	if got := <-seen; got != "CONNECT client.invalid:80" {
		t.Errorf("second request at the proxy: got %q, want the stream", got)
	}
}

// A file of authorities that is renewed is used from the next connection on, and
// nothing else of the verification is lost with it.
func TestRenewedCAFileIsReadAgain(t *testing.T) {
	sim, other := pushovertest.New(pushovertest.Options{}), pushovertest.New(pushovertest.Options{})
	for _, s := range []*pushovertest.Server{sim, other} {
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	use := func(s *pushovertest.Server) {
		t.Helper()
		if err := os.WriteFile(file, s.CAPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	use(other)
	o := pushover.Options{
		APIURL: sim.TLSAPIURL(), StreamURL: sim.TLSStreamURL(), CAFile: file, Credentials: credentialsOf(sim.AddDevice("nas-1")),
	}
	var unknown *tls.CertificateVerificationError
	if err := download(t.Context(), mustNew(t, o)); !errors.As(err, &unknown) {
		t.Errorf("another's authority: got %v, want a certificate error", err)
	}
	client := mustNew(t, o)
	defer client.Close()
	use(sim)
	if err := download(t.Context(), client); err != nil {
		t.Errorf("renewed file: got %v", err)
	}
	s, err := client.Connect(t.Context())
	if err != nil {
		t.Fatalf("renewed file, stream: got %v", err)
	}
	_ = s.Close()

	client.Close() // the next download needs a connection
	if err := os.WriteFile(file, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := download(t.Context(), client); err == nil || !strings.Contains(err.Error(), "CA file") || !pushover.Retryable(err) {
		t.Errorf("half a file: got %v, want an error that names it", err)
	}

	use(sim)
	addr := sim.TLSAddr()
	o.APIURL, o.StreamURL = "https://example.org", "wss://example.org/push"
	o.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	var host x509.HostnameError
	if err := download(t.Context(), mustNew(t, o)); !errors.As(err, &host) {
		t.Errorf("another host's certificate: got %v, want a hostname error", err)
	}
}

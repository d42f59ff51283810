package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// serveEach takes connections until the test ends, and returns its address.
func serveEach(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				serve(c)
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// listen says something on each connection, and reads what comes until the other
// side hangs up.
func listen(t *testing.T, greeting string) string {
	t.Helper()
	return serveEach(t, func(c net.Conn) {
		_, _ = io.WriteString(c, greeting)
		_, _ = io.Copy(io.Discard, c)
	})
}

func natsServer(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(wait) {
		t.Fatal("the NATS server does not start")
	}
	return s.Addr().String()
}

func webServer(t *testing.T, start func(*httptest.Server)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains about our requests
	start(s)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestWhatIsNotAKafkaBrokerIsNamed(t *testing.T) {
	closed, err := kafkatest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	const notKafka = "the answer is not Kafka's protocol"
	for _, tt := range []struct {
		name, broker string
		tls          bool
		want         []string // in the one sentence
		reason       connector.Reason
		waits        bool // Open does not give up
	}{
		{"closed port", fmt.Sprintf("127.0.0.1:%d", closed), false, []string{"connection refused", "check KAFKA_BROKERS, and that the brokers run"}, connector.ReasonBusUnreachable, true},
		{"unknown name", "kafka.invalid:9092", false, []string{"kafka.invalid:9092", "no such host", "KAFKA_BROKERS"}, connector.ReasonDNS, true},
		{"silent port", listen(t, ""), false, []string{"stays silent", "KAFKA_BROKERS"}, connector.ReasonTimeout, true},
		{"silent port, for TLS", listen(t, ""), true, []string{"stays silent", "KAFKA_BROKERS"}, connector.ReasonTimeout, true},
		{"web server", webServer(t, (*httptest.Server).Start), false, []string{"stays silent", "KAFKA_BROKERS"}, connector.ReasonTimeout, true},
		{"web server that answers", listen(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), false, []string{notKafka, "web server", "KAFKA_BROKERS"}, connector.ReasonBusMisconfigured, false},
		{"NATS server", natsServer(t), false, []string{notKafka, "NATS server", "KAFKA_BROKERS"}, connector.ReasonBusMisconfigured, false},
		{"NATS server, for TLS", natsServer(t), true, []string{notKafka, "NATS server", "KAFKA_BROKERS"}, connector.ReasonBusMisconfigured, false},
		{"TLS port that hangs up", webServer(t, (*httptest.Server).StartTLS), false, []string{"hangs up", "KAFKA_TLS=true"}, connector.ReasonTLS, false},
		{"TLS port that sends an alert", listen(t, "\x15\x03\x03\x00\x02\x02\x0a\x00"), false, []string{notKafka, "KAFKA_TLS=true"}, connector.ReasonBusMisconfigured, false},
		{"foreign certificate", webServer(t, (*httptest.Server).StartTLS), true, []string{"not trusted", "KAFKA_CA_FILE"}, connector.ReasonTLS, false},
		{"frame of two gigabytes", listen(t, "\x7f\xff\xff\xff\x00\x00\x00\x01\x00\x00"), false, []string{notKafka}, connector.ReasonBusMisconfigured, false},
		{"two billion elements", listen(t, "\x00\x00\x00\x0a\x00\x00\x00\x01\x00\x00\x7f\xff\xff\xff"), false, []string{notKafka}, connector.ReasonBusMisconfigured, false},
		{"answer to another request", listen(t, "\x00\x00\x00\x0a\x00\x00\x00\x63\x00\x00\x00\x00\x00\x00"), false, []string{notKafka}, connector.ReasonBusMisconfigured, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := configFor([]string{tt.broker})
			c.TLS = tt.tls
			explains := func(err error) {
				t.Helper()
				var known *connector.Failure
				for _, want := range tt.want {
					if err == nil || strings.Count(err.Error(), want) != 1 {
						t.Errorf("got %v, want %q once", err, want)
					}
				}
				if errors.As(err, &known); known == nil || known.Reason != tt.reason {
					t.Errorf("got class %+v, want %s", known, tt.reason)
				}
			}

			o := optionsFor(t, c)
			o.ReadOnly = true
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second) // as check grants
			defer cancel()
			checks := open(t, c, o).Checks(ctx)
			if len(checks) != 1 {
				t.Fatalf("Checks: got %+v, want one check", checks)
			}
			explains(checks[0].Err)

			o.ReadOnly = false
			health := watch(&o)
			ctx, cancel = context.WithCancel(waitContext(t))
			defer cancel()
			opened := make(chan error, 1)
			go func() {
				_, err := kafka.Open(ctx, c, o)
				opened <- err
			}()
			if tt.waits {
				if p := health.await(t, connector.PartBus, tt.reason); p.NextAttempt == nil {
					t.Errorf("health while it waits: got %+v, want the next attempt", p)
				}
				cancel()
				if err := <-opened; !errors.Is(err, context.Canceled) {
					t.Errorf("Open, given up: got %v, want context.Canceled", err)
				}
				return
			}
			explains(<-opened)
		})
	}
}

// The silence of the other side must not keep anybody who wants to stop.
func TestOpenEndsWithItsContextInTheMiddleOfAnAttempt(t *testing.T) {
	taken := make(chan struct{}, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Read(make([]byte, 1)) // it has sent its request
		taken <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}()
	ctx, cancel := context.WithCancel(waitContext(t))
	c := configFor([]string{l.Addr().String()})
	opened := make(chan error, 1)
	go func() {
		_, err := kafka.Open(ctx, c, optionsFor(t, c))
		opened <- err
	}()
	<-taken
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "silent") {
		t.Errorf("Open: got %v, want context.Canceled and nothing about the broker", err)
	}
}

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

const (
	// openBudget bounds the opening of the sink. A broker that takes longer is
	// left to whoever restarts this program.
	openBudget = time.Minute

	// closeBudget bounds the closing of the sink, after the connector's own
	// shutdown budget of 12 s. Together they stay below 20 s.
	closeBudget = 5 * time.Second

	// httpBudget is for the last scrape.
	httpBudget = time.Second
)

func runCommand() command {
	return command{
		name:    "run",
		summary: "Carry messages and acknowledgements until stopped (the default)",
		help: `SIGTERM or Ctrl-C ends it within 20 seconds: the publish in flight is finished,
what the bus confirmed is deleted on Pushover, and everything else stays there
for the next start. A second signal ends it at once.`,
		prepare: func(*flag.FlagSet) func(context.Context, streams, []string) error {
			return func(ctx context.Context, s streams, args []string) error {
				if err := noArguments(args); err != nil {
					return err
				}
				settings, err := loadSettings()
				if err != nil {
					return err
				}
				return run(ctx, settings, s)
			}
		},
	}
}

// run is the daemon. That it was told to stop is no error, whatever it was
// waiting for then.
func run(ctx context.Context, s *settings, io streams) error {
	log := newLogger(s.general, io.err)
	log.Info("starting", slog.String("version", version), slog.String("sink", s.general.Sink))
	warnUnknownVariables(log)
	err := carry(ctx, s, io, log)
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		log.Info("stopped")
		return nil
	}
	return err
}

// carry wires the parts, top to bottom, and blocks until ctx ends or one of
// them fails.
func carry(ctx context.Context, s *settings, io streams, log *slog.Logger) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := connector.NewMetrics(registry, s.general.Sink, version, commit())

	// HTTP comes first and goes last, so that probes see the start and the end.
	health, err := serveHealth(ctx, s.general.HTTPAddr, registry)
	if err != nil {
		return err
	}
	defer health.stop()

	client, err := newClient(s.pushover, log, metrics.Request)
	if err != nil {
		return err
	}
	identity, err := s.pushover.identify(ctx, client, log)
	if err != nil {
		return err
	}

	openCtx, cancel := context.WithTimeout(ctx, openBudget)
	b, err := openBus(openCtx, s, busOptions{
		device: identity.device, out: io.out, log: log, metrics: metrics,
	})
	cancel()
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeBudget)
		defer cancel()
		if err := b.close(closing); err != nil {
			log.Error("closing the sink", slog.Any("error", err))
		}
	}()
	if err := sayDurability(ctx, b, log, metrics); err != nil {
		return err
	}

	keys, err := s.pushover.keys()
	if err != nil {
		return err
	}
	c, err := connector.New(client.WithCredentials(identity.credentials), b.sink, connector.Options{
		Device: identity.device, Keys: keys,
		LoadCredentials: identity.reload, ClearDelay: s.general.ClearDelay,
		SinkConnected: b.connected, Metrics: metrics, Logger: log, Version: version,
	})
	if err != nil {
		return err
	}
	health.serve(c.Handler(registry))

	// The first part to return cancels the others and is the reported cause.
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.Run(groupCtx) })
	if b.serveCommands != nil {
		group.Go(func() error { return b.serveCommands(groupCtx, c.HandleCommand) })
	}
	if b.serveEndpoints != nil {
		group.Go(func() error { return b.serveEndpoints(groupCtx, c.Endpoints(), version) })
	}
	return group.Wait()
}

// sayDurability tells how far the bus's confirmations can be relied upon: what
// it confirms is deleted on Pushover.
func sayDurability(ctx context.Context, b *bus, log *slog.Logger, m *connector.Metrics) error {
	ctx, cancel := context.WithTimeout(ctx, openBudget)
	defer cancel()
	d, err := b.durability(ctx)
	if err != nil {
		return fmt.Errorf("grade the sink's durability: %w", err)
	}
	m.SinkDurability(d.Grade)
	m.SinkConnected(b.connected() == nil)
	log.Info("sink open", slog.String("address", b.address),
		slog.String("confirmed_events_survive", d.Grade.String()), slog.Any("facts", d.Facts))
	for _, w := range d.Warnings {
		log.Warn("the bus may lose or repeat events", slog.String("why", w))
	}
	return nil
}

// newClient makes the Pushover client that all parts share.
func newClient(a accountSettings, log *slog.Logger, observe func(pushover.RequestInfo)) (*pushover.Client, error) {
	var roots *x509.CertPool
	if a.CAFile != "" {
		pem, err := os.ReadFile(a.CAFile)
		if err != nil {
			return nil, fmt.Errorf("PUSHOVER_CA_FILE: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("PUSHOVER_CA_FILE: %s holds no PEM certificate", a.CAFile)
		}
	}
	client, err := pushover.New(pushover.Options{
		APIURL: a.APIURL, StreamURL: a.StreamURL, UserAgent: userAgent(),
		RootCAs: roots, AllowPlaintext: a.AllowPlaintext, Logger: log, OnRequest: observe,
	})
	if err != nil {
		return nil, fmt.Errorf("PUSHOVER_API_URL or PUSHOVER_STREAM_URL: %w", err)
	}
	return client, nil
}

// newLogger logs as the settings say: JSON, or text on a terminal.
func newLogger(g generalSettings, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: g.LogLevel}
	f, isFile := w.(*os.File)
	terminal := isFile && term.IsTerminal(int(f.Fd()))
	if g.LogFormat == "text" || g.LogFormat == "" && terminal {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// health is the HTTP server. Until the connector is wired it answers for it.
type health struct {
	server  *http.Server
	handler atomic.Pointer[http.Handler]
	done    chan struct{}
}

// serveHealth listens on addr, or nowhere if it is empty.
func serveHealth(ctx context.Context, addr string, metrics prometheus.Gatherer) (*health, error) {
	h := &health{done: make(chan struct{})}
	if addr == "" {
		close(h.done)
		return h, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("HTTP_ADDR: %w; choose another address, or set HTTP_ADDR to nothing to do without", err)
	}
	h.serve(starting(metrics))
	h.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			(*h.handler.Load()).ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      30 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
	go func() {
		defer close(h.done)
		_ = h.server.Serve(l) // always ErrServerClosed: stop ends it
	}()
	return h, nil
}

// starting answers until the sink is open. The metrics are there from the
// beginning: a bus that is down now is when somebody looks at them.
func starting(metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(w, `{"alive":true}`)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, `{"ready":false,"checks":[{"name":"start","ok":false,"detail":"the sink is being opened"}]}`)
	})
	return mux
}

func (h *health) serve(handler http.Handler) { h.handler.Store(&handler) }

func (h *health) stop() {
	if h.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), httpBudget)
		defer cancel()
		if h.server.Shutdown(ctx) != nil {
			_ = h.server.Close()
		}
	}
	<-h.done
}

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	goio "io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/pushover"
)

const (
	// gradeBudget bounds a look at the bus's settings, and gradeInterval is the pause
	// between two.
	gradeBudget   = time.Minute
	gradeInterval = time.Minute

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

// run is the daemon. Being told to stop is not an error, whatever it was
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
	if err != nil && s.general.LogFormat != "" {
		// Whoever reads the log reads it in the format that was asked for.
		log.Error("failed", slog.Any("error", err))
		return &exitError{code: report(goio.Discard, err)}
	}
	return err
}

// carry wires the parts, top to bottom, and blocks until ctx ends or one of
// them fails.
func carry(ctx context.Context, s *settings, io streams, log *slog.Logger) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := connector.NewMetrics(registry, s.general.Sink, version, commit())
	health := connector.NewHealth(log, metrics, s.parts()...)

	outage := &outageFile{path: s.pushover.CredentialsFile + ".outage", log: log}
	client, err := newClient(s.pushover, pushover.Options{
		Logger: log, OnRequest: metrics.Request, HoldUntil: outage.until(),
		OnAPIState: func(s pushover.APIState) {
			health.APIState(s)
			outage.note(s)
		},
	})
	if err != nil {
		return err
	}
	identity, err := s.pushover.identify(client, log, s.resumeRemedy())
	if err != nil {
		return err
	}
	keys, err := s.pushover.keys()
	if err != nil {
		return err
	}
	c := connector.New(client.WithCredentials(identity.credentials), connector.Options{
		Device: identity.device, Keys: keys,
		LoadCredentials: identity.reload, Login: identity.login, Remedies: identity.remedies,
		ClearDelay: s.general.ClearDelay,
		Health:     health, Metrics: metrics, Logger: log, Version: version,
	})

	// HTTP comes first and goes last, so that probes see the start and the end.
	web, err := serveHTTP(ctx, s.general.HTTPAddr, c.Handler(registry))
	if err != nil {
		return err
	}
	defer web.stop()
	if web.address != "" {
		log.Info("serving status page", slog.String("url", "http://"+web.address+"/"),
			slog.String("next", "send the device a message, and see it by 'pushover-connector tail -f'"))
	}

	b, err := openBus(ctx, s, busOptions{
		device: identity.device, out: io.out, log: log, metrics: metrics, health: health,
	})
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeBudget)
		defer cancel()
		if err := b.close(closing); err != nil {
			log.Error("sink close failed", slog.Any("error", err))
		}
	}()
	if err := c.SetSink(b.sink); err != nil {
		return err
	}
	conditions := busSettings{bus: b, log: log, health: health, warned: map[string]bool{}}
	if err := conditions.look(ctx); err != nil {
		return err
	}

	// The first part to return cancels the others and is the reported cause.
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.Run(groupCtx) })
	group.Go(func() error { conditions.watch(groupCtx); return nil })
	if b.serveCommands != nil {
		group.Go(func() error { return b.serveCommands(groupCtx, c.HandleCommand) })
	}
	if b.serveEndpoints != nil {
		group.Go(func() error { return b.serveEndpoints(groupCtx, c.Endpoints(), version) })
	}
	return group.Wait()
}

// parts are the optional ones that exist with these settings.
func (s *settings) parts() []connector.Part {
	switch {
	case s.general.Sink == "stdout":
		return nil
	case s.general.Sink == "nats" && s.nats.URL == "":
		return []connector.Part{connector.PartCommands, connector.PartStore}
	default:
		return []connector.Part{connector.PartCommands}
	}
}

// resumeRemedy says how a halted session is started again.
func (s *settings) resumeRemedy() string {
	if s.general.Sink == "stdout" {
		return "restart"
	}
	return "run 'pushover-connector resume' or restart"
}

// busSettings are what the durability of the bus's confirmations depends on: what it
// confirms is deleted on Pushover.
type busSettings struct {
	bus    *bus
	log    *slog.Logger
	health *connector.Health
	grade  string
	warned map[string]bool
}

// look grades the settings. A grade or warning that is new is logged.
func (s *busSettings) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, gradeBudget)
	defer cancel()
	d, err := s.bus.durability(ctx)
	if err != nil {
		return fmt.Errorf("grade the sink's durability: %w", err)
	}
	s.health.SetSink(s.bus.address, d)
	before, grade := s.grade, d.Grade.String()
	s.grade = grade
	switch before {
	case "":
		s.log.Info("sink open", slog.String("address", s.bus.address),
			slog.String("durability", grade), slog.Any("facts", d.Facts))
	case grade:
	default:
		s.log.Info("durability changed", slog.String("durability", grade), slog.Any("facts", d.Facts))
	}
	for _, w := range d.Warnings {
		if !s.warned[w] {
			s.log.Warn("bus settings allow events to be lost or duplicated", slog.String("warning", w))
		}
		s.warned[w] = true
	}
	return nil
}

// watch looks at the settings again and again, since anybody may change them. Whether
// the bus can be reached at all is reported by others.
func (s *busSettings) watch(ctx context.Context) {
	tick := time.NewTicker(gradeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.look(ctx); err != nil {
				s.log.Debug("bus settings not read", slog.Any("error", err))
			}
		}
	}
}

// newClient makes the Pushover client that all parts share.
func newClient(a accountSettings, o pushover.Options) (*pushover.Client, error) {
	if a.CAFile != "" { // it is read again for each connection, but a mistake should show at once
		pem, err := os.ReadFile(a.CAFile)
		if err != nil {
			return nil, fmt.Errorf("PUSHOVER_CA_FILE: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("PUSHOVER_CA_FILE: %s contains no PEM certificate", a.CAFile)
		}
	}
	o.APIURL, o.StreamURL, o.UserAgent = a.APIURL, a.StreamURL, userAgent()
	o.CAFile, o.AllowPlaintext = a.CAFile, a.AllowPlaintext
	// A service that takes requests and answers none must not keep an alarm for
	// longer than one that refuses them.
	o.Timeout = 10 * time.Second
	client, err := pushover.New(o)
	if err != nil {
		return nil, fmt.Errorf("PUSHOVER_API_URL or PUSHOVER_STREAM_URL: %w", err)
	}
	return client, nil
}

// A webServer is the HTTP server, or none.
type webServer struct {
	server  *http.Server
	address string // that it listens on, "" if there is none
	done    chan struct{}
}

// serveHTTP listens on addr, or nowhere if it is empty.
func serveHTTP(ctx context.Context, addr string, handler http.Handler) (*webServer, error) {
	w := &webServer{done: make(chan struct{})}
	if addr == "" {
		close(w.done)
		return w, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("HTTP_ADDR: %w; choose another address, or set HTTP_ADDR to an empty string to disable the HTTP server", err)
	}
	w.address = l.Addr().String()
	base, endStreams := context.WithCancel(context.WithoutCancel(ctx)) // of the open status pages
	w.server = &http.Server{
		BaseContext:       func(net.Listener) context.Context { return base },
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
		WriteTimeout:      30 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
	w.server.RegisterOnShutdown(endStreams)
	go func() {
		defer close(w.done)
		_ = w.server.Serve(l) // always ErrServerClosed: stop ends it
	}()
	return w, nil
}

func (w *webServer) stop() {
	if w.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), httpBudget)
		defer cancel()
		if w.server.Shutdown(ctx) != nil {
			_ = w.server.Close()
		}
	}
	<-w.done
}

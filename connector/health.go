package connector

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Readiness returns the checks that make up readiness: the session is live, the
// sink's connection is up, and no publish is failing. Each failing one says why
// and, where a person is needed, what to do.
func (c *Connector) Readiness() []Check {
	status := c.board.snapshot()
	session := Check{Name: "session", Detail: string(status.State)}
	if status.State != StateLive {
		session.Err = errors.New(describe(status))
	}
	return []Check{
		session,
		{Name: "sink", Detail: "connected", Err: c.o.SinkConnected()},
		{Name: "publish", Detail: "no publish is failing", Err: c.board.publishTrouble()},
	}
}

func describe(s Status) string {
	text := string(s.State)
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	if s.Remedy != "" {
		text += "; " + s.Remedy
	}
	return text
}

// Alive returns an error when the connector's loop has not turned for longer
// than its present step may take. Trouble outside the process never makes it
// fail: a restart would not help there.
func (c *Connector) Alive() error {
	if late := c.board.overdue(); late > 0 {
		return fmt.Errorf("the loop is overdue by %v", late.Round(time.Second))
	}
	return nil
}

// Handler serves /livez, /readyz, /metrics, /status.json and a status page at
// the root. Nothing it shows is secret, yet it names applications: it is meant
// for the host or the cluster, not for the internet.
func (c *Connector) Handler(metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		writeChecks(w, "alive", []Check{{Name: "loop", Detail: "turning", Err: c.Alive()}})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		writeChecks(w, "ready", c.Readiness())
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, c.Status())
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		// The client going away is its own affair.
		_ = statusPage.Execute(w, c.Status())
	})
	return mux
}

// writeChecks answers 200 if all checks pass, else 503, with a body that says
// which and why.
func writeChecks(w http.ResponseWriter, verdict string, checks []Check) {
	type line struct {
		Name   string `json:"name"`
		OK     bool   `json:"ok"`
		Detail string `json:"detail"`
	}
	all, code := true, http.StatusOK
	lines := make([]line, 0, len(checks))
	for _, check := range checks {
		l := line{check.Name, check.Err == nil, check.Detail}
		if check.Err != nil {
			all, code, l.Detail = false, http.StatusServiceUnavailable, check.Err.Error()
		}
		lines = append(lines, l)
	}
	writeJSON(w, code, map[string]any{verdict: all, "checks": lines})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n'))
}

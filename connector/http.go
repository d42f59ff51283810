package connector

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Alive returns an error when the connector's loop has not turned for longer
// than its present step may take. Trouble outside the process never makes it
// fail: a restart would not help there.
func (c *Connector) Alive() error {
	if late := c.health.overdue(); late > 0 {
		return fmt.Errorf("the loop is overdue by %v", late.Round(time.Second))
	}
	return nil
}

// Handler serves /livez, /readyz, /metrics, /status.json, and a status page at
// the root, which /events keeps current. Nothing it shows is secret, yet it names
// applications: it is meant for the host or the cluster, not for the internet.
//
// A request to /events lasts until its client goes away or its context ends. A
// server that is to shut down without waiting for open pages ends its base
// context first, see [http.Server].BaseContext and RegisterOnShutdown.
func (c *Connector) Handler(metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		code, body := http.StatusOK, map[string]any{"alive": true}
		if err := c.Alive(); err != nil {
			code, body = http.StatusServiceUnavailable, map[string]any{"alive": false, "detail": err.Error()}
		}
		writeJSON(w, code, body)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		s, code := c.Status(), http.StatusOK
		if !s.Ready {
			code = http.StatusServiceUnavailable
		}
		writeJSON(w, code, map[string]any{"ready": s.Ready, "parts": s.Parts})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, c.Status())
	})
	mux.HandleFunc("GET /{$}", c.servePage)
	mux.HandleFunc("GET /events", c.eventStream())
	return mux
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n'))
}

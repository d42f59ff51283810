package main

import (
	"log/slog"
	"os"
	"slices"
	"strings"
)

// warnUnknownVariables mentions variables that look like ours and are not: a
// misspelt setting would otherwise pass in silence. It only warns, because
// Kubernetes sets variables like KAFKA_PORT for every service in a namespace.
func warnUnknownVariables(log *slog.Logger) {
	for _, name := range unknownVariables(os.Environ()) {
		log.Warn("unknown environment variable; 'pushover-connector config' lists those that exist",
			slog.String("variable", name))
	}
}

func unknownVariables(environ []string) []string {
	known := make(map[string]bool)
	for _, sec := range new(settings).sections() {
		for _, v := range sec.variables() {
			known[v.Name] = true
		}
	}
	var unknown []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		ours := slices.ContainsFunc([]string{"PUSHOVER_", "NATS_", "KAFKA_"}, func(prefix string) bool {
			return strings.HasPrefix(name, prefix)
		})
		if ours && !known[name] && !isServiceLink(name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// isServiceLink recognises what Kubernetes and Docker links set.
func isServiceLink(name string) bool {
	return strings.Contains(name, "_SERVICE_") || strings.HasSuffix(name, "_PORT") ||
		strings.Contains(name, "_PORT_") || strings.HasSuffix(name, "_NAME") && strings.Contains(name, "_ENV_")
}

// Package alerting holds the test of deploy/examples/autoresolve with what
// Alertmanager and Grafana send: their own default templates, filled by their own
// libraries. It is a module of its own, so that nobody who uses the connector gets
// these libraries with it. Grafana builds with its fork of Alertmanager only, whose
// Pushover templates are those of the original.
package alerting

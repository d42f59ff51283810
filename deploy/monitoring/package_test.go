// Package monitoring tests the alert rules, the dashboard and the runbook beside
// it: that they use only metrics, states and parts that exist, that each alert
// fires when it should and only then, that links into the runbook lead
// somewhere, and that the chart's copies are the same.
package monitoring

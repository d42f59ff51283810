// Package monitoring tests the alert rules and the dashboard beside it: that
// they use only metrics and states there are, that each alert fires when it
// should, and that the chart's copies are the same.
package monitoring

package connector

import (
	"math"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/pushover-connector/pushover-connector/pushover"
)

const namespace = "pushover_connector"

// Metrics are the connector's Prometheus metrics. One value serves one
// connector and the sink it publishes to; all methods are safe for concurrent
// use.
type Metrics struct {
	sink string // label of the sink in use

	state            *prometheus.GaugeVec
	partUp           *prometheus.GaugeVec
	partFailingSince *prometheus.GaugeVec
	partAttempts     *prometheus.GaugeVec
	lastFrame        atomic.Int64 // Unix nanoseconds, 0 = none yet
	lastDownload     atomic.Int64 // the same
	oldestQueued     atomic.Int64 // Unix nanoseconds, 0 = nothing waits
	oldestWaiting    atomic.Int64 // the same
	eventDelay       prometheus.Histogram
	signals          *prometheus.CounterVec
	reconnects       *prometheus.CounterVec
	syncDuration     prometheus.Histogram
	syncFailures     prometheus.Counter
	received         prometheus.Counter
	published        *prometheus.CounterVec
	publishFailures  *prometheus.CounterVec
	publishDuration  *prometheus.HistogramVec
	cleared          prometheus.Counter
	clearLag         prometheus.Gauge
	duplicates       prometheus.Counter
	undecryptable    prometheus.Counter
	apiRequests      *prometheus.CounterVec
	apiDuration      *prometheus.HistogramVec
	commands         *prometheus.CounterVec
	commandsWaiting  prometheus.Gauge
	commandDuration  prometheus.Histogram
	emergencies      prometheus.Gauge
	licensed         prometheus.Gauge
	sinkGrade        prometheus.Gauge
	credentialsLoads *prometheus.CounterVec
}

// latencyBuckets reach from a local bus to the time after which an operator
// has long been woken by something else.
var latencyBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300}

// NewMetrics registers all metrics with reg, and sets those whose labels are
// known beforehand to zero, so that a rate exists before the first event. nil
// for reg registers nowhere. sink names the sink, version and commit the build.
func NewMetrics(reg prometheus.Registerer, sink, version, commit string) *Metrics {
	f := factory{promauto.With(reg)}
	m := &Metrics{
		sink: sink,
		state: f.gaugeVec("session_state",
			"1 for the state the session is in, 0 for all others.", "state"),
		partUp: f.gaugeVec("part_up",
			"1 if the part works, 0 if it is failing or has not worked yet.", "part"),
		partFailingSince: f.gaugeVec("part_failing_since_timestamp_seconds",
			"Unix time at which the part began to fail, 0 while it works.", "part"),
		partAttempts: f.gaugeVec("part_attempts",
			"Failed attempts in a row, 0 while the part works.", "part"),
		eventDelay: f.histogram("event_delay_seconds",
			"Time from a message being queued by Pushover to its event being confirmed by the bus."),
		signals: f.counterVec("stream_signals_total",
			"Signals heard on the push stream.", "signal"),
		reconnects: f.counterVec("stream_reconnects_total",
			"Connections of the push stream that ended, by reason.", "reason"),
		syncDuration: f.histogram("sync_duration_seconds",
			"Time from the first download of a sync to the last message cleared."),
		syncFailures: f.counter("sync_failures_total",
			"Syncs that ended with an error and will be tried again."),
		received: f.counter("messages_received_total",
			"Messages downloaded, each counted again when downloaded again."),
		published: f.counterVec("events_published_total",
			"Events confirmed by the sink.", "sink", "class"),
		publishFailures: f.counterVec("publish_failures_total",
			"Publish calls that ended with an error.", "sink", "reason"),
		publishDuration: f.histogramVec("publish_duration_seconds",
			"Time of a publish call, that is of a batch.", "sink"),
		cleared: f.counter("messages_cleared_total",
			"Messages deleted from the server after their events were confirmed."),
		clearLag: f.gauge("clear_lag_messages",
			"Messages received and not yet cleared."),
		duplicates: f.counter("duplicates_suppressed_total",
			"Events the log already held and did not store again."),
		undecryptable: f.counter("messages_undecryptable_total",
			"End-to-end encrypted messages that no configured key opened."),
		apiRequests: f.counterVec("api_requests_total",
			"Requests to the Pushover API; code 0 means that no answer came.", "op", "code"),
		apiDuration: f.histogramVec("api_request_duration_seconds",
			"Time of a request to the Pushover API.", "op"),
		commands: f.counterVec("ack_commands_total",
			"Commands that ended, by result.", "result"),
		commandsWaiting: f.gauge("ack_commands_waiting",
			"Acknowledge commands that were tried and will be tried again."),
		commandDuration: f.histogram("ack_duration_seconds",
			"Time from a command being published to its result."),
		emergencies: f.gauge("emergencies_outstanding",
			"Unexpired emergencies not known to be acknowledged, NaN while those from before the start are not known."),
		licensed: f.gauge("desktop_licensed",
			"1 if the account has a desktop licence, 0 if it is on trial or unlicensed, NaN until known."),
		sinkGrade: f.gauge("sink_durability_grade",
			"What the sink's confirmation survives: 0 nothing, 1 the connector, 2 the broker's process, 3 a power cut."),
		credentialsLoads: f.counterVec("credentials_reloads_total",
			"Changes seen of the credentials, by outcome.", "outcome"),
	}
	f.gaugeFunc("stream_last_frame_age_seconds",
		"Time since the push stream last said anything, NaN before the first time.",
		func() float64 { return age(&m.lastFrame, math.NaN()) })
	f.gaugeFunc("last_download_timestamp_seconds",
		"Unix time of the last successful download, 0 before the first one.",
		func() float64 { return timestamp(&m.lastDownload) })
	f.gaugeFunc("queue_oldest_timestamp_seconds",
		"Unix time at which the oldest message known to wait was queued, 0 if none is known to wait.",
		func() float64 { return timestamp(&m.oldestQueued) })
	f.gaugeFunc("oldest_unpublished_age_seconds",
		"Age of the oldest message downloaded and not yet confirmed by the sink, 0 if there is none.",
		func() float64 { return age(&m.oldestWaiting, 0) })
	f.gaugeVec("build_info", "Always 1; the labels tell the build.", "version", "commit", "go_version").
		WithLabelValues(version, commit, runtime.Version()).Set(1)

	m.licensed.Set(math.NaN())
	m.emergencies.Set(math.NaN())
	m.setState(StateStarting)
	for _, s := range []pushover.Signal{
		pushover.SignalKeepAlive, pushover.SignalMessage, pushover.SignalReload,
		pushover.SignalError, pushover.SignalTakenOver,
	} {
		m.signals.WithLabelValues(signalLabel(s))
	}
	m.signals.WithLabelValues("other")
	for _, reason := range []string{
		pushover.ReasonReload, pushover.ReasonSilence, pushover.ReasonClosed, pushover.ReasonRefused,
		pushover.ReasonFrame, pushover.ReasonNetwork, pushover.ReasonSleep,
	} {
		m.reconnects.WithLabelValues(reason)
	}
	for _, c := range []Class{ClassMessage, ClassResult, ClassDeadLetter} {
		m.published.WithLabelValues(sink, c.String())
	}
	for _, reason := range []string{"error", "timeout", "rejected", "fenced"} {
		m.publishFailures.WithLabelValues(sink, reason)
	}
	for _, s := range []ResultStatus{StatusAcknowledged, StatusDone, StatusRejected, StatusExpired} {
		m.commands.WithLabelValues(string(s))
	}
	for _, outcome := range []string{"accepted", "invalid"} {
		m.credentialsLoads.WithLabelValues(outcome)
	}
	m.publishDuration.WithLabelValues(sink)
	return m
}

// Request counts one request to the Pushover API; it is meant for
// [pushover.Options].OnRequest.
func (m *Metrics) Request(r pushover.RequestInfo) {
	m.apiRequests.WithLabelValues(r.Op, strconv.Itoa(r.Status)).Inc()
	m.apiDuration.WithLabelValues(r.Op).Observe(r.Duration.Seconds())
}

// Duplicates counts events that a sink found in its log already.
func (m *Metrics) Duplicates(n int) { m.duplicates.Add(float64(n)) }

// SinkDurability records the sink's durability grade.
func (m *Metrics) SinkDurability(g Grade) { m.sinkGrade.Set(float64(g)) }

func (m *Metrics) setPart(s PartStatus) {
	since := 0.0
	if !s.OK {
		since = float64(s.Since.UnixMilli()) / 1000
	}
	label := string(s.Part)
	m.partUp.WithLabelValues(label).Set(gaugeOf(s.OK))
	m.partFailingSince.WithLabelValues(label).Set(since)
	m.partAttempts.WithLabelValues(label).Set(float64(s.Attempts))
}

func (m *Metrics) setState(current State) {
	for _, s := range States() {
		m.state.WithLabelValues(string(s)).Set(gaugeOf(s == current))
	}
}

func (m *Metrics) signal(s pushover.Signal) {
	m.lastFrame.Store(time.Now().UnixNano())
	m.signals.WithLabelValues(signalLabel(s)).Inc()
}

func signalLabel(s pushover.Signal) string {
	switch s {
	case pushover.SignalKeepAlive:
		return "keepalive"
	case pushover.SignalMessage:
		return "message"
	case pushover.SignalReload:
		return "reload"
	case pushover.SignalError:
		return "error"
	case pushover.SignalTakenOver:
		return "taken_over"
	default:
		return "other"
	}
}

func gaugeOf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// age is the time in seconds since the instant in t, or none if it is 0.
func age(t *atomic.Int64, none float64) float64 {
	ns := t.Load()
	if ns == 0 {
		return none
	}
	return max(0, time.Since(time.Unix(0, ns)).Seconds())
}

// timestamp is the Unix time in seconds of the instant in t, 0 if it is 0.
func timestamp(t *atomic.Int64) float64 { return float64(t.Load()) / 1e9 }

// factory makes and registers metrics in the connector's namespace.
type factory struct {
	promauto.Factory
}

func (f factory) counter(name, help string) prometheus.Counter {
	return f.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

func (f factory) counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return f.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func (f factory) gauge(name, help string) prometheus.Gauge {
	return f.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

func (f factory) gaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	return f.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func (f factory) gaugeFunc(name, help string, value func() float64) {
	f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, value)
}

func (f factory) histogramVec(name, help string, labels ...string) *prometheus.HistogramVec {
	return f.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: latencyBuckets,
	}, labels)
}

func (f factory) histogram(name, help string) prometheus.Histogram {
	return f.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: latencyBuckets,
	})
}

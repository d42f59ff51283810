package nats

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Retention is how long Pushover keeps a message that is not downloaded, and so
// the duplicate window that covers every repeat there can be.
const Retention = 21 * 24 * time.Hour

// maxControlBytes is how large the stream of commands may become if that of
// messages has a limit. It is room for some hundred thousand.
const maxControlBytes = 64 << 20

// A streamNeed is a stream that the bus uses, and what has to fit in it.
type streamNeed struct {
	variable string
	config   jetstream.StreamConfig
	samples  map[string][]string // subject of ours: filters it stands for
}

// needs lists both streams as they are created if missing.
//
// A stream refuses new messages, rather than dropping old ones, when it has
// reached a limit, ours or the account's: a message that is refused stays safe
// with Pushover, one that is dropped is gone. A window cannot be longer than the
// age. Settled commands stay in the stream, at some hundred bytes each.
func (b *Bus) needs() []streamNeed {
	c := b.cfg
	maxBytes, window := int64(-1), Retention
	if c.MaxBytes > 0 {
		maxBytes = c.MaxBytes
	}
	if c.MaxAge > 0 {
		window = min(window, c.MaxAge)
	}
	var placement *jetstream.Placement
	if c.PlacementCluster != "" || c.PlacementTags != "" {
		placement = &jetstream.Placement{Cluster: c.PlacementCluster}
		if c.PlacementTags != "" {
			placement.Tags = strings.Split(strings.ReplaceAll(c.PlacementTags, " ", ""), ",")
		}
	}
	p := b.cfg.SubjectPrefix + "."
	var messages, results []string
	for _, priority := range []string{"lowest", "low", "normal", "high", "emergency"} {
		messages = append(messages, p+"messages."+priority+".*")
	}
	for _, status := range []connector.ResultStatus{
		connector.StatusAcknowledged, connector.StatusDone, connector.StatusRejected, connector.StatusExpired,
	} {
		results = append(results, p+"results."+string(status))
	}
	return []streamNeed{
		{
			variable: "NATS_STREAM",
			config: jetstream.StreamConfig{
				Name:        b.cfg.Stream,
				Description: "Pushover messages, and results of commands, as CloudEvents",
				Subjects:    []string{p + "messages.>", p + "results.>", p + "deadletter"},
				Storage:     jetstream.FileStorage,
				Discard:     jetstream.DiscardNew,
				MaxBytes:    maxBytes,
				MaxAge:      c.MaxAge,
				Duplicates:  window,
				Replicas:    c.Replicas,
				Placement:   placement,
				AllowDirect: true,
			},
			samples: map[string][]string{
				p + "messages.>": messages,
				p + "results.>":  results,
				p + "deadletter": {p + "deadletter"},
			},
		},
		{
			variable: "NATS_CONTROL_STREAM",
			config: jetstream.StreamConfig{
				Name:        b.cfg.ControlStream,
				Description: "Commands to the Pushover connector",
				Subjects:    []string{p + "control.>"},
				Storage:     jetstream.FileStorage,
				Discard:     jetstream.DiscardNew,
				MaxBytes:    min(maxBytes, maxControlBytes),
				Replicas:    c.Replicas,
				Placement:   placement,
				AllowDirect: true,
			},
			samples: map[string][]string{p + "control.>": {b.controlSubject()}},
		},
	}
}

func (b *Bus) controlSubject() string { return b.cfg.SubjectPrefix + ".control.ack" }

// A streamInfo is what a server tells of a stream.
type streamInfo struct {
	jetstream.StreamInfo
	Domain string `json:"domain"` // of JetStream; the confirmations name it too
}

// clustered reports whether the stream is in a cluster, where the number of its
// replicas can change at any moment.
func (i *streamInfo) clustered() bool { return i.Cluster != nil && i.Cluster.Name != "" }

func (b *Bus) ensureStream(ctx context.Context, need streamNeed) (*streamInfo, error) {
	info, err := b.streamInfo(ctx, need)
	if errors.Is(err, jetstream.ErrStreamNotFound) && !b.opts.ReadOnly && !b.opts.Attach {
		if err = b.createStream(ctx, need); err == nil {
			info, err = b.streamInfo(ctx, need)
		}
	}
	if err != nil {
		return nil, err
	}
	return info, need.fits(info.Config)
}

func (b *Bus) createStream(ctx context.Context, need streamNeed) error {
	creating, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := b.js.CreateStream(creating, need.config)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // created by a twin just now
		return nil
	}
	if err != nil {
		return b.createError(need, b.apiError(err))
	}
	if b.opened.Load() {
		b.log.Warn("stream was missing and has been created again, earlier events are gone", "stream", need.config.Name)
	} else {
		b.log.Info("stream created", "stream", need.config.Name)
	}
	return nil
}

// createError says why a stream was not created.
func (b *Bus) createError(need streamNeed, err error) error {
	what := fmt.Sprintf("%s: create stream %s with subjects %s", need.variable, need.config.Name, strings.Join(need.config.Subjects, ", "))
	if b.leaderless(err) {
		return fmt.Errorf("%s: %w", what, err)
	}
	remedy := "name the stream that has these subjects, or permit this user to create it"
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case codeMaxBytesRequired:
			remedy = "this account wants a size for each stream: set NATS_MAX_BYTES, such as 1073741824"
		case codeNoResources, codeNoStorage, codeAccountLimit:
			remedy = "make room, raise the limits of the account, or set NATS_MAX_BYTES or NATS_REPLICAS to what it allows: nats account info"
		case codeNoPeers:
			remedy = "set NATS_REPLICAS, NATS_PLACEMENT_CLUSTER and NATS_PLACEMENT_TAGS to what the cluster has"
		case codeReplicasUnsupported:
			remedy = "set NATS_REPLICAS to 1, since the server is in no cluster"
		}
	}
	return misconfigured(err, remedy, "%s: %v", what, err)
}

// streamInfo asks the server about a stream. A missing one gives an error that
// is [jetstream.ErrStreamNotFound].
func (b *Bus) streamInfo(ctx context.Context, need streamNeed) (*streamInfo, error) {
	info := &streamInfo{}
	if err := b.api(ctx, "STREAM.INFO."+need.config.Name, nil, info); err != nil {
		return nil, fmt.Errorf("%s: look at stream %s: %w", need.variable, need.config.Name, b.apiError(err))
	}
	return info, nil
}

// api makes a request to the JetStream API that the library does not offer in the
// form needed. It asks leaders: a replica may lag behind. request may be nil.
func (b *Bus) api(ctx context.Context, name string, request, answer any) error {
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			return err
		}
	}
	// A request can be lost while a cluster elects a leader.
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	m, err := b.nc.RequestWithContext(ctx, b.cfg.api()+"."+name, body)
	if err != nil {
		return err
	}
	var failed struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := errors.Join(json.Unmarshal(m.Data, &failed), json.Unmarshal(m.Data, answer)); err != nil {
		return fmt.Errorf("decode the answer of the JetStream API: %w", err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	return nil
}

// apiDenial returns the error with which the server forbade a request to the JetStream
// API or its answer, or nil.
func (b *Bus) apiDenial() error {
	return cmp.Or(b.link.denial(b.cfg.api()+"."), b.link.denial(b.cfg.InboxPrefix+"."))
}

// apiError adds to an error of the JetStream API what is known of its cause:
// without permission there is no answer at all.
func (b *Bus) apiError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		if denial := b.apiDenial(); denial != nil {
			return fmt.Errorf("%w: %w", err, denial)
		}
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount),
		errors.Is(err, nats.ErrNoResponders):
		remedy := "enable it, or check NATS_URL; if it is another server's, behind a leaf node, set NATS_JS_DOMAIN"
		if b.cfg.api() != defaultAPI {
			remedy = "check NATS_JS_DOMAIN and NATS_JS_API_PREFIX"
		}
		return misconfigured(err, remedy, "the server, or this user's account, has no JetStream: %v", err)
	}
	return err
}

// fits checks that a stream can take all that is published to it.
func (n streamNeed) fits(c jetstream.StreamConfig) error {
	fail := func(what, remedy string) error {
		return misconfigured(nil, remedy, "%s: stream %s %s", n.variable, c.Name, what)
	}
	switch {
	case c.Mirror != nil:
		return fail("is a mirror, which takes no messages", "set "+n.variable+" to the stream it mirrors, or to another stream")
	case c.Sealed:
		return fail("is sealed and takes no messages", "set "+n.variable+" to another stream")
	case c.NoAck:
		return fail("confirms nothing (no_ack)", "run: nats stream edit "+c.Name+" --ack")
	case c.AllowMsgCounter:
		return fail("holds counters and takes nothing else", "set "+n.variable+" to another stream")
	case c.SubjectTransform != nil && n.uses(c.SubjectTransform.Source):
		// What is stored under other subjects is not found by ours.
		return fail(fmt.Sprintf("stores %s as %s (subject transform)", cmp.Or(c.SubjectTransform.Source, ">"), c.SubjectTransform.Destination),
			"set "+n.variable+" to another stream, and let a stream that has it as its source transform the subjects")
	}
	var missing []string
	for subject, samples := range n.samples {
		if slices.ContainsFunc(samples, func(s string) bool { return !covered(s, c.Subjects) }) {
			missing = append(missing, subject)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	all := slices.DeleteFunc(slices.Clone(c.Subjects), func(s string) bool { return covered(s, missing) })
	return fail("does not take "+strings.Join(missing, ", "),
		fmt.Sprintf("run: nats stream edit %s --subjects=%q", c.Name, strings.Join(append(all, missing...), ",")))
}

// uses reports whether filter, "" meaning all, takes any subject of ours.
func (n streamNeed) uses(filter string) bool {
	for subject, samples := range n.samples {
		if filter == "" || covers(subject, filter) || slices.ContainsFunc(samples, func(s string) bool { return covers(filter, s) }) {
			return true
		}
	}
	return false
}

// usualEvent is the room that an event takes at most, unless it is a very long one.
const usualEvent = 4 << 10

// full says that a stream has reached a limit at which it refuses new messages.
func (n streamNeed) full(info *streamInfo) error {
	c, state := info.Config, info.State
	what := ""
	switch {
	case c.Discard != jetstream.DiscardNew:
	case c.MaxMsgs > 0 && state.Msgs >= uint64(c.MaxMsgs):
		what = fmt.Sprintf("%d of %d messages", state.Msgs, c.MaxMsgs)
	case c.MaxBytes > 0 && state.Bytes+usualEvent > uint64(c.MaxBytes):
		what = fmt.Sprintf("%d of %d bytes", state.Bytes, c.MaxBytes)
	}
	if what == "" {
		return nil
	}
	return &connector.Failure{
		Reason: connector.ReasonBusFull, Remedy: fullRemedy(c.Name),
		Detail: fmt.Sprintf("%s: stream %s is full and refuses new messages: %s", n.variable, c.Name, what),
	}
}

// covered reports whether one of the filters takes every subject that s stands
// for.
func covered(s string, filters []string) bool {
	return slices.ContainsFunc(filters, func(f string) bool { return covers(f, s) })
}

// covers reports whether filter takes every subject that s, which may have
// wildcards, stands for.
func covers(filter, s string) bool {
	fs, ss := strings.Split(filter, "."), strings.Split(s, ".")
	for i, f := range fs {
		switch {
		case i >= len(ss):
			return false
		case f == ">":
			return true
		case ss[i] == ">", f != "*" && f != ss[i]:
			return false
		}
	}
	return len(fs) == len(ss)
}

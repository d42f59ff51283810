package nats

import (
	"context"
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

// A streamNeed is a stream that the bus uses, and what has to fit in it.
type streamNeed struct {
	variable string
	config   jetstream.StreamConfig
	samples  map[string][]string // subject of ours: filters it stands for
}

// needs lists both streams as they are created if missing.
//
// A stream here has no limits, and refuses new messages, rather than dropping
// old ones, when the account or an edit sets a limit after all: a
// message that is refused stays safe with Pushover, one that is dropped is gone.
func (b *Bus) needs() []streamNeed {
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
				Duplicates:  Retention,
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
				AllowDirect: true,
			},
			samples: map[string][]string{p + "control.>": {b.controlSubject()}},
		},
	}
}

func (b *Bus) controlSubject() string { return b.cfg.SubjectPrefix + ".control.ack" }

func (b *Bus) ensureStream(ctx context.Context, need streamNeed) (*jetstream.StreamInfo, error) {
	info, err := b.streamInfo(ctx, need)
	if errors.Is(err, jetstream.ErrStreamNotFound) && !b.opts.ReadOnly && !b.opts.Attach {
		info, err = b.createStream(ctx, need)
	}
	if err != nil {
		return nil, err
	}
	return info, need.fits(info.Config)
}

func (b *Bus) createStream(ctx context.Context, need streamNeed) (*jetstream.StreamInfo, error) {
	creating, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	stream, err := b.js.CreateStream(creating, need.config)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // created by a twin just now
		return b.streamInfo(ctx, need)
	}
	if err != nil {
		return nil, b.createError(need, b.apiError(err))
	}
	if b.opened.Load() {
		b.log.Warn("stream was missing and has been created again, earlier events are gone", "stream", need.config.Name)
	} else {
		b.log.Info("stream created", "stream", need.config.Name)
	}
	return stream.CachedInfo(), nil
}

// createError says why a stream was not created.
func (b *Bus) createError(need streamNeed, err error) error {
	what := fmt.Sprintf("%s: create stream %s with subjects %s", need.variable, need.config.Name, strings.Join(need.config.Subjects, ", "))
	if b.leaderless(err) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return misconfigured(err, "name the stream that has these subjects, or permit this user to create it", "%s: %v", what, err)
}

// streamInfo asks the server about a stream. A missing one gives an error that
// is [jetstream.ErrStreamNotFound].
func (b *Bus) streamInfo(ctx context.Context, need streamNeed) (*jetstream.StreamInfo, error) {
	// A request can be lost while a cluster elects a leader.
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	stream, err := b.js.Stream(ctx, need.config.Name)
	if err != nil {
		return nil, fmt.Errorf("%s: look at stream %s: %w", need.variable, need.config.Name, b.apiError(err))
	}
	return stream.CachedInfo(), nil
}

// apiError adds to an error of the JetStream API what is known of its cause:
// without permission there is no answer at all.
func (b *Bus) apiError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		if denial := b.link.denial(""); denial != nil {
			return fmt.Errorf("%w: %w", err, denial)
		}
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount),
		errors.Is(err, nats.ErrNoResponders):
		return misconfigured(err, "enable it, or check NATS_URL", "the server, or this user's account, has no JetStream: %v", err)
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

// usualEvent is the room that an event takes at most, unless it is a very long one.
const usualEvent = 4 << 10

// full says that a stream has reached a limit at which it refuses new messages.
func (n streamNeed) full(info *jetstream.StreamInfo) error {
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

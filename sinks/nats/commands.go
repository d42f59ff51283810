package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	durable = "pushover-connector" // the consumer, shared by all connectors

	maxAckPending = 256 // those that wait for their next attempt count too, and must not hold up others
	ackWait       = 10 * time.Second
	nakDelay      = 5 * time.Second
	workers       = 4

	// heartbeat is how often a consumer without commands shows that it is there.
	heartbeat = 3 * time.Second

	// minAckPending is what a consumer must let be under way or waiting. One that a
	// connector of an earlier version created has 16, which is raised.
	minAckPending = 16

	// pullExpiry is how long a request for commands waits.
	pullExpiry = 30 * time.Second

	// finishTimeout is how long commands that have begun may take once ctx has ended.
	finishTimeout = 10 * time.Second

	// maxSettled bounds how many settled commands are remembered, so that one whose
	// settlement was lost is not carried out again.
	maxSettled = 1024
)

// ServeCommands takes commands from the control stream and has h carry them
// out, until ctx ends; then it finishes the commands that have begun, within
// [finishTimeout], and returns nil. It gives up on nothing: while the stream or
// the connection is gone it waits for it.
//
// A command is settled once h has returned without an error, and given back
// otherwise, after [connector.RetryError.After] or [nakDelay]. Commands are carried
// out side by side, in no order.
func (b *Bus) ServeCommands(ctx context.Context, h connector.CommandHandler) error {
	// The handler gets a context that outlives ctx, so that a command that has begun is
	// finished, but not without a limit.
	handling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	d := &dispatcher{bus: b, handler: h, queue: make(chan held, maxAckPending), held: map[place]jetstream.Msg{}, settled: map[place]bool{}}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() { d.work(ctx, handling) })
	}
	beat, endBeat := context.WithCancel(handling)
	group.Go(func() { d.heartbeat(beat) })
	group.Go(func() {
		<-ctx.Done()
		select {
		case <-time.After(finishTimeout):
			cancel()
		case <-beat.Done():
		}
	})

	b.receiveCommands(ctx, d)
	close(d.queue)
	d.drained.Wait()
	endBeat()
	group.Wait()
	return nil
}

// receiveCommands pulls commands until ctx ends, over any failure.
func (b *Bus) receiveCommands(ctx context.Context, d *dispatcher) {
	failures, doubt := 0, false
	for ctx.Err() == nil {
		err := b.pull(ctx, doubt, d.take, func() { failures = 0; b.commands.OK() })
		if ctx.Err() != nil {
			return
		}
		failures++
		doubt = errors.Is(err, jetstream.ErrNoHeartbeat)
		wait := backoff(failures)
		b.commands.Failed(b.classify(err), time.Now().Add(wait))
		again, cancel := context.WithTimeout(ctx, wait)
		if b.Connected() == nil || !b.link.await(again) {
			<-again.Done()
		}
		cancel()
	}
}

// pull hands on commands until ctx ends, the connection is lost or the consumer
// fails. It calls ok once it receives. A consumer can be there and silent all the
// same, which shows after two heartbeats: if that is in doubt, it calls ok only
// when a command or that time has come without it.
func (b *Bus) pull(ctx context.Context, doubt bool, take func(jetstream.Msg), ok func()) error {
	if err := b.Connected(); err != nil {
		return err
	}
	connected, cancel := b.link.while(ctx)
	defer cancel()
	cons, err := b.commandConsumer(connected)
	if err != nil {
		return cmp.Or(context.Cause(connected), err)
	}
	most := maxAckPending
	if limit := cons.CachedInfo().Config.MaxRequestBatch; limit > 0 {
		most = min(most, limit)
	}
	messages, err := cons.Messages(jetstream.PullMaxMessages(most), jetstream.PullHeartbeat(heartbeat), jetstream.PullExpiry(pullExpiry))
	if err != nil {
		return fmt.Errorf("receive commands: %w", err)
	}
	defer messages.Stop()
	if !doubt {
		ok()
	}
	for {
		waiting, cancel := connected, context.CancelFunc(func() {})
		if doubt {
			waiting, cancel = context.WithTimeout(connected, 2*heartbeat+heartbeat/2)
		}
		m, err := messages.Next(jetstream.NextContext(waiting))
		cancel()
		if ctx.Err() != nil {
			break
		}
		if connected.Err() != nil {
			return context.Cause(connected)
		}
		if doubt && (err == nil || waiting.Err() != nil) {
			doubt = false
			ok()
		}
		switch {
		case err == nil:
			take(m)
		case waiting.Err() == nil:
			return b.receiveError(err)
		}
	}
	// What has been delivered but not looked at is given back, not left to wait
	// for its time to pass.
	messages.Drain()
	for {
		m, err := messages.Next()
		if err != nil {
			return ctx.Err()
		}
		take(m)
	}
}

// receiveError adds to an error of the consumer that the server denied something,
// if it did: without permission there is no answer at all.
func (b *Bus) receiveError(err error) error {
	if denial := b.apiDenial(); denial != nil {
		return fmt.Errorf("receive commands: %w: %w", err, denial)
	}
	return fmt.Errorf("receive commands: %w", err)
}

// commandConsumer returns the durable consumer, created if missing. One that is
// there is taken if it is usable; ours is kept up to date if that is permitted.
func (b *Bus) commandConsumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*apiTimeout)
	defer cancel()
	stream := b.cfg.ControlStream
	cons, err := b.js.Consumer(ctx, stream, durable)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if _, err = b.ensureStream(ctx, b.needs()[1]); err == nil {
			cons, err = b.js.Consumer(ctx, stream, durable)
		}
	}
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		cons, err = b.js.CreateConsumer(ctx, stream, b.consumerConfig())
	}
	if err != nil {
		return nil, fmt.Errorf("NATS_CONTROL_STREAM: consumer %s of stream %s: %w", durable, stream, b.apiError(err))
	}
	if b.outdated(cons.CachedInfo().Config) {
		updating, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		newer, err := b.js.UpdateConsumer(updating, stream, b.consumerConfig())
		if err == nil {
			return newer, b.usable(newer.CachedInfo())
		}
		// It will do: this user may not be permitted to change it.
		b.log.Debug("consumer not updated", "consumer", durable, "error", err)
	}
	return cons, b.usable(cons.CachedInfo())
}

// consumerConfig is the durable consumer as it is created.
func (b *Bus) consumerConfig() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       durable,
		Description:   "Carries out commands",
		FilterSubject: b.controlSubject(),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxAckPending: maxAckPending,
		MaxDeliver:    -1,
	}
}

// outdated reports whether a consumer is one that an earlier version created.
func (b *Bus) outdated(c jetstream.ConsumerConfig) bool {
	want := b.consumerConfig()
	return c.Description == want.Description && c.FilterSubject == want.FilterSubject && c.MaxAckPending == minAckPending
}

// passesOver are the policies that pass over what was sent before the consumer was
// made. Those with a start are for who has restored a stream.
var passesOver = []jetstream.DeliverPolicy{jetstream.DeliverLastPolicy, jetstream.DeliverNewPolicy, jetstream.DeliverLastPerSubjectPolicy}

// usable checks that a consumer gets our commands, whole, in time, and as often as
// needed, and that they can be settled one by one. The server says nothing about
// what a consumer withholds: one that was created under another prefix gets no
// command at all.
func (b *Bus) usable(info *jetstream.ConsumerInfo) error {
	c := info.Config
	if info.Paused {
		return misconfigured(nil, fmt.Sprintf("run: nats consumer resume %s %s", b.cfg.ControlStream, durable),
			"NATS_CONTROL_STREAM: consumer %s of stream %s is paused until %s",
			durable, b.cfg.ControlStream, time.Now().Add(info.PauseRemaining).UTC().Format(time.RFC3339))
	}
	filters := c.FilterSubjects
	if c.FilterSubject != "" {
		filters = []string{c.FilterSubject}
	}
	var odd []string
	for _, setting := range []struct {
		name string
		odd  bool
	}{
		{"filter " + strings.Join(filters, ", "), len(filters) > 0 && !covered(b.controlSubject(), filters)},
		{"ack policy " + c.AckPolicy.String(), c.AckPolicy != jetstream.AckExplicitPolicy},
		{"push", c.DeliverSubject != ""},
		{fmt.Sprintf("at most %d deliveries", c.MaxDeliver), c.MaxDeliver > 0},
		{"headers only", c.HeadersOnly},
		{"deliver policy " + c.DeliverPolicy.String(), slices.Contains(passesOver, c.DeliverPolicy)},
		{"original pace", c.ReplayPolicy == jetstream.ReplayOriginalPolicy},
		{fmt.Sprintf("at most %d pending", c.MaxAckPending), c.MaxAckPending > 0 && c.MaxAckPending < minAckPending},
		{"ack wait " + c.AckWait.String(), c.AckWait > 0 && c.AckWait < ackWait},
		{"its own pace of redelivery", len(c.BackOff) > 0},
		{fmt.Sprintf("at most %d bytes a request", c.MaxRequestMaxBytes), c.MaxRequestMaxBytes > 0},
		{"requests of at most " + c.MaxRequestExpires.String(), c.MaxRequestExpires > 0 && c.MaxRequestExpires < pullExpiry},
		{"priority groups", len(c.PriorityGroups) > 0},
		{"kept in memory", c.MemoryStorage},
		{"removed after " + c.InactiveThreshold.String(), c.InactiveThreshold > 0},
	} {
		if setting.odd {
			odd = append(odd, setting.name)
		}
	}
	if len(odd) == 0 {
		return nil
	}
	return misconfigured(nil, fmt.Sprintf("run: nats consumer rm %s %s, and the connector creates it anew", b.cfg.ControlStream, durable),
		"NATS_CONTROL_STREAM: consumer %s of stream %s would withhold or repeat commands on %s: %s",
		durable, b.cfg.ControlStream, b.controlSubject(), strings.Join(odd, "; "))
}

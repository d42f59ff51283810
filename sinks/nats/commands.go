package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	durable = "pushover-connector" // the consumer, shared by all connectors

	maxAckPending = 16
	ackWait       = 10 * time.Second
	nakDelay      = 5 * time.Second
	workers       = 4

	// finishTimeout is how long commands in hand may take once ctx has ended.
	finishTimeout = 10 * time.Second

	// maxSettled bounds how many settled commands are remembered, lest one whose
	// settlement was lost is carried out again.
	maxSettled = 1024
)

// ServeCommands takes commands from the control stream and has h carry them
// out, until ctx ends; then it finishes the commands in hand, within
// [finishTimeout], and returns nil. It gives up on nothing: while the stream or
// the connection is gone it waits for it.
//
// A command is settled once h has returned without an error, and given back
// otherwise, after [connector.RetryError.After] or [nakDelay]. Commands with the
// same [connector.CommandKey] are carried out one after the other in the order
// of the stream, even if one of them is given back; after a restart, one that
// had been given back may come later than its successors.
func (b *Bus) ServeCommands(ctx context.Context, h connector.CommandHandler) error {
	// The handler gets a context that outlives ctx, so that a command in hand is
	// finished, but not for ever.
	handling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	d := &dispatcher{bus: b, handler: h, held: map[place]jetstream.Msg{}, waiting: map[string]deferral{}, settled: map[place]bool{}}
	var group sync.WaitGroup
	for i := range d.queues {
		d.queues[i] = make(chan held, maxAckPending)
		group.Go(func() { d.work(ctx, handling, d.queues[i]) })
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
	for i := range d.queues {
		close(d.queues[i])
	}
	d.drained.Wait()
	endBeat()
	group.Wait()
	return nil
}

// receiveCommands pulls commands until ctx ends, over any failure.
func (b *Bus) receiveCommands(ctx context.Context, d *dispatcher) {
	logged, failures := "", 0
	for ctx.Err() == nil {
		err := b.pull(ctx, func(m jetstream.Msg) {
			if failures > 0 {
				b.log.Info("nats commands are received again", "attempts", failures)
				logged, failures = "", 0
			}
			d.take(m)
		})
		if ctx.Err() != nil {
			return
		}
		failures++
		if text := fmt.Sprint(err); text != logged {
			logged = text
			b.log.Warn("nats commands cannot be received, trying again", "error", err)
		}
		select {
		case <-time.After(backoff(failures)):
		case <-ctx.Done():
		}
	}
}

// pull hands on commands until ctx ends or the consumer fails.
func (b *Bus) pull(ctx context.Context, take func(jetstream.Msg)) error {
	cons, err := b.commandConsumer(ctx)
	if err != nil {
		return err
	}
	messages, err := cons.Messages(jetstream.PullMaxMessages(maxAckPending))
	if err != nil {
		return fmt.Errorf("receive commands: %w", err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return fmt.Errorf("receive commands: %w", err)
		}
		take(m)
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

// commandConsumer returns the durable consumer, made if missing. One that is
// there is taken as it is if it is usable.
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
		cons, err = b.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			Durable:       durable,
			Description:   "Carries out acknowledge commands",
			FilterSubject: b.controlSubject(),
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       ackWait,
			MaxAckPending: maxAckPending,
			MaxDeliver:    -1,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("NATS_CONTROL_STREAM: consumer %s of stream %s: %w", durable, stream, b.apiError(err))
	}
	return cons, b.usable(cons.CachedInfo().Config)
}

// usable checks that a consumer gets our commands and that they can be settled
// one by one on it. One that was made under another prefix gets none, and the
// server says nothing about it.
func (b *Bus) usable(c jetstream.ConsumerConfig) error {
	filters := c.FilterSubjects
	if c.FilterSubject != "" {
		filters = []string{c.FilterSubject}
	}
	if c.AckPolicy == jetstream.AckExplicitPolicy && c.DeliverSubject == "" && c.MaxDeliver <= 0 &&
		(len(filters) == 0 || covered(b.controlSubject(), filters)) {
		return nil
	}
	return fmt.Errorf("NATS_CONTROL_STREAM: consumer %s of stream %s is not ours: want pull, explicit acks, no limit of deliveries and the subject %s, which NATS_SUBJECT_PREFIX sets; type: nats consumer rm %s %s",
		durable, b.cfg.ControlStream, b.controlSubject(), b.cfg.ControlStream, durable)
}

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func readNATS(ctx context.Context, a archive) error {
	nc, err := nats.Connect(os.Getenv("NATS_URL"), nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, "PUSHOVER")
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	// A stream that is deleted and made again counts from 1 again: it is another log.
	log := "PUSHOVER of " + info.Created.UTC().Format(time.DateTime)
	first := int64(max(1, info.State.FirstSeq))
	next, err := a.start(ctx, log, first, int64(info.State.LastSeq)+1)
	if err != nil {
		return err
	}
	if next < first {
		fmt.Fprintf(os.Stderr, "archive-go: what was before %d is gone from the stream, and read up to %d\n", first, next)
	}
	// The server keeps no position: the table has it.
	consumer, err := js.OrderedConsumer(ctx, "PUSHOVER", jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"pushover.messages.>"},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(next),
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		attribute := func(name string) string { return m.Headers().Get("ce-" + name) }
		if err := a.store(ctx, log, int64(meta.Sequence.Stream)+1, attribute, m.Data()); err != nil {
			return err
		}
	}
}

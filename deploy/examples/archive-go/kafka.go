package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func readKafka(ctx context.Context, a archive) error {
	topic := cmp.Or(os.Getenv("KAFKA_TOPIC"), "pushover.messages")
	// A position that Kafka does not have any more is an error: to go on elsewhere
	// by itself would leave alarms out without a word.
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(os.Getenv("KAFKA_BROKERS"), ",")...),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	beginnings, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	ends, err := admin.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return err
	}
	if err := beginnings.Error(); err != nil {
		return err
	}
	// No group: the table has the positions. A partition that is added is read from
	// the next start on.
	offsets := map[int32]kgo.Offset{}
	for p, beginning := range beginnings[topic] {
		end, _ := ends.Lookup(topic, p)
		next, err := a.start(ctx, fmt.Sprintf("%s/%d", topic, p), beginning.Offset, max(beginning.Offset, end.Offset))
		if err != nil {
			return err
		}
		offsets[p] = kgo.NewOffset().At(next)
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets})
	for {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			attribute := func(name string) string {
				for _, h := range r.Headers {
					if h.Key == "ce_"+name {
						return string(h.Value)
					}
				}
				return ""
			}
			if err := a.store(ctx, fmt.Sprintf("%s/%d", topic, r.Partition), r.Offset+1, attribute, r.Value); err != nil {
				return err
			}
		}
	}
}

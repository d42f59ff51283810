package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/pushover"
	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// BenchmarkStart measures from the start of the process, with credentials and
// one message waiting, to that message's event at a subscriber, and tells the
// memory the idle process has resident afterwards. The process is this test's
// binary; the shipped one is smaller.
func BenchmarkStart(b *testing.B) {
	w := newAckWorld(b)
	events := make(chan *nats.Msg, 1)
	if _, err := w.nc.ChanSubscribe("pushover.messages.>", events); err != nil {
		b.Fatal(err)
	}
	var all, anonymous float64
	for b.Loop() {
		b.StopTimer()
		w.sim.SendN(1, pushovertest.Outgoing{Message: "good morning", Queued: time.Now().Add(-time.Hour)})
		b.StartTimer()
		d := w.start(w.nats.ClientURL())
		select {
		case <-events:
		case <-w.within().Done():
			b.Fatalf("no event\n%s", &d.log)
		}
		b.StopTimer()
		err := w.sim.Wait(w.within(), func(s pushovertest.State) bool {
			return s.Device(ackDevice).Connected && len(s.Device(ackDevice).Queue) == 0
		})
		if err != nil {
			b.Fatal(err)
		}
		all += resident(b, d.cmd.Process.Pid, "VmRSS")
		anonymous += resident(b, d.cmd.Process.Pid, "RssAnon")
		d.stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/start")
	b.ReportMetric(all/float64(b.N), "MiB-resident")
	b.ReportMetric(anonymous/float64(b.N), "MiB-anonymous")
}

// BenchmarkDrainKafka compares the drain of a backlog to a real Kafka, by the
// program in a process of its own and from its start, with producing the same
// records by kafka-go's Writer: batches of up to 1 MB, confirmed by all replicas.
func BenchmarkDrainKafka(b *testing.B) {
	brokers := kafkatest.Brokers(b)
	for _, n := range []int{10_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			if n > 10_000 && testing.Short() {
				b.Skip("long")
			}
			var drain, raw time.Duration
			for i := 0; b.Loop(); i++ {
				topic := fmt.Sprintf("drain-%d-%d-%d", os.Getpid(), n, i)
				drain += drainToKafka(b, brokers, topic, n)
				records := readRecords(b, brokers, topic, n)
				raw += produceRaw(b, brokers, topic+"-raw", records)
			}
			b.ReportMetric(float64(n*b.N)/drain.Seconds(), "msg/s")
			b.ReportMetric(float64(n*b.N)/raw.Seconds(), "raw-msg/s")
			b.ReportMetric(raw.Seconds()/drain.Seconds(), "of-raw")
		})
	}
}

func drainToKafka(b *testing.B, brokers []string, topic string, n int) time.Duration {
	b.Helper()
	sim := pushovertest.New(pushovertest.Options{PageSize: 5000})
	if err := sim.Start(); err != nil {
		b.Fatal(err)
	}
	defer sim.Close()
	device := sim.AddDevice("bench")
	dir := b.TempDir()
	creds := pushover.Credentials{
		Secret: pushover.Secret(device.Secret), DeviceID: pushover.DeviceID(device.ID), DeviceName: device.Name,
	}
	if err := creds.Save(filepath.Join(dir, "credentials.json")); err != nil {
		b.Fatal(err)
	}
	w := &ackWorld{t: b, sim: sim, dir: dir}
	drain := func() time.Duration {
		began := time.Now()
		d := w.start("", "SINK=kafka", "KAFKA_BROKERS="+strings.Join(brokers, ","), "KAFKA_TOPIC="+topic,
			"KAFKA_CONTROL_TOPIC="+topic+"-control", "KAFKA_RESULT_TOPIC="+topic+"-results", "KAFKA_GROUP="+topic)
		defer d.kill()
		err := sim.Wait(w.within(), func(s pushovertest.State) bool { return len(s.Device("bench").Queue) == 0 })
		if err != nil {
			b.Fatalf("%v\n%s", err, &d.log)
		}
		return time.Since(began)
	}
	sim.SendN(1, pushovertest.Outgoing{Message: "the topics are made", Queued: time.Now().Add(-time.Hour)})
	drain()
	sim.SendN(n, pushovertest.Outgoing{Title: "Backup of nas-{n}", Message: "42 files in 17 seconds, run {n}", Queued: time.Now().Add(-time.Hour)})
	return drain()
}

// readRecords reads the first n records of a topic.
func readRecords(b *testing.B, brokers []string, topic string, n int) []kafka.Message {
	b.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	var records []kafka.Message
	for len(records) < n {
		fetches := client.PollFetches(b.Context())
		if err := fetches.Err(); err != nil {
			b.Fatal(err)
		}
		for _, r := range fetches.Records() {
			m := kafka.Message{Key: r.Key, Value: r.Value}
			for _, h := range r.Headers {
				m.Headers = append(m.Headers, kafka.Header{Key: h.Key, Value: h.Value})
			}
			records = append(records, m)
		}
	}
	return records
}

func produceRaw(b *testing.B, brokers []string, topic string, records []kafka.Message) time.Duration {
	b.Helper()
	admin := &kafka.Client{Addr: kafka.TCP(brokers...)}
	made, err := admin.CreateTopics(b.Context(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}},
	})
	if err != nil || made.Errors[topic] != nil {
		b.Fatal(err, made)
	}
	writer := &kafka.Writer{
		Addr: kafka.TCP(brokers...), Topic: topic, RequiredAcks: kafka.RequireAll,
		BatchSize: len(records), BatchTimeout: 10 * time.Millisecond,
	}
	warm := []kafka.Message{{Value: []byte("warm")}} // metadata and connections
	for err = writer.WriteMessages(b.Context(), warm...); err != nil && b.Context().Err() == nil; {
		err = writer.WriteMessages(b.Context(), warm...)
	}
	began := time.Now()
	if err := writer.WriteMessages(context.Background(), records...); err != nil {
		b.Fatal(err)
	}
	took := time.Since(began)
	if err := writer.Close(); err != nil {
		b.Fatal(err)
	}
	return took
}

// resident reads a figure of a process from Linux's procfs, in MiB.
func resident(b *testing.B, pid int, name string) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("memory is measured on Linux only")
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return float64(kb) / 1024
		}
	}
	b.Fatalf("no %s in the process's status", name)
	return 0
}

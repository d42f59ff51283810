package examples_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// A log is where the connector has written events in both content modes, and
// somebody else an event once more, and something that is not an event.
type log struct {
	*world
	bus     string
	env     []string // where it is, as the examples want it
	records []entry

	append func(headers map[string]string, body string)
	read   func(n int) []entry // waits for n records
}

// An entry is a record of a log.
type entry struct {
	headers map[string]string
	body    string
	next    int64 // the position after it
}

// each is how many events there are in one mode.
const each = 3

func newLog(t *testing.T, bus string) *log {
	t.Helper()
	l := &log{world: newWorld(t), bus: bus}
	prefix := "ce-"
	if bus == "nats" {
		l.onNATS()
	} else {
		l.onKafka()
		prefix = "ce_"
	}
	for i, mode := range []string{"structured", "binary"} {
		stop := l.connect(slices.Concat(l.env, []string{"SINK=" + bus, "EVENT_MODE=" + mode})...)
		for n := range each {
			l.sim.Send(pushovertest.Outgoing{App: "Wärme", Title: fmt.Sprint(mode, " ", n), Message: "98 % – hot"})
		}
		l.records = l.read((i + 1) * each)
		stop()
	}
	for i, r := range l.records {
		if binary := r.headers[prefix+"id"] != ""; binary != (i >= each) {
			t.Fatalf("event %d is in binary mode: %t", i, binary)
		}
	}
	l.append(l.records[each].headers, l.records[each].body)
	l.append(nil, "not an event")
	l.append(l.records[0].headers, l.records[0].body)
	l.records = l.read(2*each + 3)
	return l
}

// events is how many distinct events there are before a position.
func (l *log) events(before int64) int {
	n := 0
	for i, r := range l.records {
		if i < 2*each && r.next <= before {
			n++
		}
	}
	return n
}

func (l *log) end() int64 { return l.records[len(l.records)-1].next }

func (l *log) onNATS() {
	url, js := l.natsServer()
	l.env = []string{"NATS_URL=" + url}
	l.append = func(headers map[string]string, body string) {
		m := nats.NewMsg("pushover.messages.normal.other")
		m.Data = []byte(body)
		for name, value := range headers {
			if name != nats.MsgIdHdr && name != nats.ExpectedLastSeqHdr {
				m.Header[name] = []string{value}
			}
		}
		if _, err := js.PublishMsg(l.within(), m); err != nil {
			l.t.Fatal(err)
		}
	}
	l.read = func(n int) (all []entry) {
		consumer, err := js.OrderedConsumer(l.within(), "PUSHOVER", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"pushover.messages.>"}})
		if err != nil {
			l.t.Fatal(err)
		}
		for len(all) < n {
			m, err := consumer.Next(jetstream.FetchMaxWait(patience))
			if err != nil {
				l.t.Fatalf("%d of %d records are there: %v", len(all), n, err)
			}
			meta, err := m.Metadata()
			if err != nil {
				l.t.Fatal(err)
			}
			headers := map[string]string{}
			for name, values := range m.Headers() {
				headers[name] = values[0]
			}
			all = append(all, entry{headers, string(m.Data()), int64(meta.Sequence.Stream) + 1})
		}
		return all
	}
}

func (l *log) onKafka() {
	brokers := kafkatest.Brokers(l.t)
	topic := fmt.Sprintf("examples-%s-%d", l.sim.Account().UserKey, len(l.t.Name()))
	l.env = []string{
		"KAFKA_BROKERS=" + brokers[0], "KAFKA_TOPIC=" + topic, "KAFKA_GROUP=" + topic,
		"KAFKA_CONTROL_TOPIC=" + topic + ".control", "KAFKA_RESULT_TOPIC=" + topic + ".results",
	}
	client := func(options ...kgo.Opt) *kgo.Client {
		c, err := kgo.NewClient(append(options, kgo.SeedBrokers(brokers...))...)
		if err != nil {
			l.t.Fatal(err)
		}
		return c
	}
	l.append = func(headers map[string]string, body string) {
		c := client(kgo.ProducerBatchCompression(kgo.NoCompression())) // as the connector does; kafka-python needs libraries for others
		defer c.Close()
		r := &kgo.Record{Topic: topic, Value: []byte(body)}
		for name, value := range headers {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
		if err := c.ProduceSync(l.within(), r).FirstErr(); err != nil {
			l.t.Fatal(err)
		}
	}
	l.read = func(n int) (all []entry) {
		c := client(kgo.ConsumeTopics(topic))
		defer c.Close()
		for ctx := l.within(); len(all) < n; {
			fetches := c.PollFetches(ctx)
			if ctx.Err() != nil {
				l.t.Fatalf("%d of %d records are there", len(all), n)
			}
			for _, r := range fetches.Records() {
				headers := map[string]string{}
				for _, h := range r.Headers {
					headers[h.Key] = string(h.Value)
				}
				all = append(all, entry{headers, string(r.Value), r.Offset + 1})
			}
		}
		return all
	}
}

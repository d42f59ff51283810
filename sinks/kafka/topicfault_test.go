package kafka_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
)

func TestTroubleWithOneTopicStaysThere(t *testing.T) {
	cluster := fake(t)
	c := configFor(cluster.ListenAddrs())
	o := optionsFor(t, c)
	b := open(t, c, o)
	inits := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Observe: true, Count: -1})
	trouble := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: c.ResultTopic, Err: kerr.NotEnoughReplicasAfterAppend, Count: -1})
	result := []connector.Event{{
		ID: "result", Source: o.Source, Type: "test", Data: []byte(`{}`), Class: connector.ClassResult, Key: receipt(1),
	}}
	for i := range 3 {
		if n, err := b.Publish(waitContext(t), result); n != 0 || err == nil {
			t.Errorf("Publish of a result: got %d, %v, want an error", n, err)
		}
		mustPublish(t, b, messages(o.Source, 1+10*i, 10))
	}
	if n, err := b.Holds(waitContext(t), messages(o.Source, 1, 30)); n != 30 || err != nil {
		t.Errorf("Holds of messages: got %d, %v, want 30", n, err)
	}
	trouble.Remove()
	mustPublish(t, b, result)
	wantIDs(t, c.Brokers, c.Topic, false, idsOf(messages(o.Source, 1, 30)))
	wantIDs(t, c.Brokers, c.ResultTopic, false, []string{"result"})
	if n := inits.Hits(); n > 1 { // for the results
		t.Errorf("producers were taken over %d times, want once", n)
	}
}

func TestAMissingMessageTopicIsNamedAndTakenIntoUseWhenItIsThere(t *testing.T) {
	cluster := fake(t)
	c := configFor(cluster.ListenAddrs())
	o := optionsFor(t, c)
	closeBus(t, open(t, c, o))
	c.CreateTopics = false
	b := open(t, c, o)
	mustPublish(t, b, messages(o.Source, 1, 3))
	deleteTopic(t, c, c.Topic)
	want := "kafka-topics.sh --bootstrap-server " + c.Brokers[0] + " --create --topic " + c.Topic
	for range 3 {
		n, err := b.Publish(waitContext(t), messages(o.Source, 4, 3))
		if n != 0 || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Publish: got %d, %v, want %q", n, err, want)
		}
		if _, err := b.Holds(waitContext(t), messages(o.Source, 1, 3)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Holds: got %v, want %q", err, want)
		}
	}
	createTopic(t, c, c.Topic, nil)
	mustPublish(t, b, messages(o.Source, 1, 6))
	wantIDs(t, c.Brokers, c.Topic, false, idsOf(messages(o.Source, 1, 6)))
}

// Once all topics were there, one that is gone keeps waiting only what is for it.
func TestTopicThatIsGoneStopsNoOther(t *testing.T) {
	cluster := fake(t)
	c := configFor(cluster.ListenAddrs())
	o := optionsFor(t, c)
	closeBus(t, open(t, c, o))
	c.CreateTopics = false
	b := open(t, c, o)
	deleteTopic(t, c, c.ResultTopic)
	deleteTopic(t, c, c.DeadletterTopic)
	unknown := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: c.Topic, Err: kerr.UnknownProducerID})
	_, _ = b.Publish(waitContext(t), messages(o.Source, 1, 3)) // refused: the log is looked at again
	unknown.Remove()
	mustPublish(t, b, messages(o.Source, 1, 3))
	letter := messages(o.Source, 4, 1)
	letter[0].Class = connector.ClassDeadLetter
	if _, err := b.Publish(waitContext(t), letter); err == nil || !strings.Contains(err.Error(), c.DeadletterTopic) {
		t.Errorf("Publish of a dead letter: got %v, want its topic named", err)
	}
	createTopic(t, c, c.DeadletterTopic, nil)
	mustPublish(t, b, letter)
	wantIDs(t, c.Brokers, c.Topic, false, idsOf(messages(o.Source, 1, 3)))
	wantIDs(t, c.Brokers, c.DeadletterTopic, false, idsOf(letter))
}

func TestATopicThatMayNoLongerBeSeenIsNotSaidToBeMissing(t *testing.T) {
	cluster := fake(t)
	c := configFor(cluster.ListenAddrs())
	o := optionsFor(t, c)
	b := open(t, c, o)
	denied := cluster.Fault(kfake.Fault{Topic: c.Topic, Err: kerr.TopicAuthorizationFailed, Count: -1})
	for range 3 {
		_, err := b.Publish(waitContext(t), messages(o.Source, 1, 3))
		if err == nil || !strings.Contains(err.Error(), "kafka-acls.sh") || strings.Contains(err.Error(), "kafka-topics.sh") {
			t.Errorf("Publish: got %v, want the line to permit it", err)
		}
	}
	denied.Remove()
	mustPublish(t, b, messages(o.Source, 1, 3))
}

func TestACompactedEventTopicIsRefused(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		compact := "compact"
		createTopic(t, c, c.Topic, map[string]*string{"cleanup.policy": &compact})
		_, err := kafka.Open(waitContext(t), c, optionsFor(t, c))
		if err == nil || !strings.Contains(err.Error(), "compacted") {
			t.Errorf("Open: got %v, want a refusal", err)
		}
	})
}

func TestMissingTopicsAreNamedWithTheLineToCreateThem(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		c.CreateTopics = false
		_, err := kafka.Open(waitContext(t), c, optionsFor(t, c))
		for _, topic := range []string{c.Topic, c.ResultTopic, c.DeadletterTopic} {
			want := "kafka-topics.sh --bootstrap-server " + brokers[0] + " --create --topic " + topic
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Open: got %v, want %q", err, want)
			}
		}
	})
}

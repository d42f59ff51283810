package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/pushover-connector/pushover-connector/connector"
	"github.com/pushover-connector/pushover-connector/sinks/kafka"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

// checked runs the checks of a configuration as check does.
func checked(t *testing.T, c kafka.Config) []connector.Check {
	t.Helper()
	o := optionsFor(t, c)
	o.ReadOnly = true
	checks := open(t, c, o).Checks(waitContext(t))
	for _, check := range checks {
		t.Logf("%s: %s%v", check.Name, check.Detail, check.Err)
	}
	return checks
}

func failed(checks []connector.Check) error {
	for _, c := range checks {
		if c.Err != nil {
			return fmt.Errorf("%s: %w", c.Name, c.Err)
		}
	}
	return nil
}

func TestChecksCreateAndPublishAndFenceNothing(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		if err := failed(checked(t, c)); err != nil {
			t.Errorf("before the first start: %v", err)
		}
		if got := topicsOf(t, c); len(got) > 0 {
			t.Errorf("Checks created %v", got)
		}
		o := optionsFor(t, c)
		b := open(t, c, o)
		mustPublish(t, b, messages(o.Source, 1, 2))
		if err := failed(checked(t, c)); err != nil {
			t.Errorf("beside a running connector: %v", err)
		}
		mustPublish(t, b, messages(o.Source, 1, 4))
		if got := len(readTopic(t, brokers, c.Topic, false)); got != 4 {
			t.Errorf("records after Checks: got %d, want 4", got)
		}
	})
}

func TestChecksNameMissingTopicsWhereCreationIsForbidden(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		c.CreateTopics = false
		if err := failed(checked(t, c)); err == nil || !strings.Contains(err.Error(), "kafka-topics.sh") {
			t.Errorf("got %v, want the line to create the topic", err)
		}
	})
}

// topicsOf lists which of the configured topics exist.
func topicsOf(t *testing.T, c kafka.Config) []string {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	res, err := kadm.NewClient(cl).ListTopics(waitContext(t))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range []string{c.Topic, c.ControlTopic, c.ResultTopic, c.DeadletterTopic} {
		if res.Has(name) {
			out = append(out, name)
		}
	}
	return out
}

func TestOpenWaitsForAClusterThatIsNotThereYet(t *testing.T) {
	port, err := kafkatest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	c := configFor([]string{fmt.Sprintf("127.0.0.1:%d", port)})
	o := optionsFor(t, c)
	health := watch(&o)
	opening, giveUp := context.WithCancel(t.Context())
	opened := make(chan error, 1)
	try := func(ctx context.Context) {
		b, err := kafka.Open(ctx, c, o)
		if err == nil {
			closeBus(t, b)
		}
		opened <- err
	}

	go try(opening)
	if p := health.await(t, connector.PartBus, connector.ReasonBusUnreachable); p.NextAttempt == nil || !strings.Contains(p.Detail, "refused") {
		t.Errorf("health while it waits: got %+v, want the cause and the next attempt", p)
	}
	giveUp()
	if err := <-opened; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Open, given up: got %v, want the end of its context and the reason", err)
	}

	health = watch(&o)
	go try(waitContext(t))
	health.await(t, connector.PartBus, connector.ReasonBusUnreachable)
	fake(t, kfake.Ports(port))
	if err := <-opened; err != nil {
		t.Errorf("Open, with the cluster there at last: got %v", err)
	}
}

func TestOpenSaysWhichFileIsUnusable(t *testing.T) {
	c := configFor([]string{"127.0.0.1:9"})
	c.TLS = true
	c.CAFile = filepath.Join(t.TempDir(), "missing.pem")
	if _, err := kafka.Open(waitContext(t), c, optionsFor(t, c)); err == nil || !strings.Contains(err.Error(), "KAFKA_CA_FILE") {
		t.Errorf("missing file: got %v", err)
	}
	if err := os.WriteFile(c.CAFile, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := kafka.Open(waitContext(t), c, optionsFor(t, c)); err == nil || !strings.Contains(err.Error(), "KAFKA_CA_FILE") {
		t.Errorf("file without a certificate: got %v", err)
	}
}

func TestDurabilityIsGradedByReplicationAndSettings(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers []string) {
		c := configFor(brokers)
		short := "3600000"
		createTopic(t, c, c.Topic, map[string]*string{"retention.ms": &short})
		b := open(t, c, optionsFor(t, c))
		d, err := b.Durability(waitContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if d.Grade != connector.GradeCrash {
			t.Errorf("grade of one replica: got %v, want crash", d.Grade)
		}
		all := strings.Join(d.Warnings, "\n")
		for _, want := range []string{"one replica", "keeps events for only 1h0m0s"} {
			if !strings.Contains(all, want) {
				t.Errorf("warnings: got %q, want %q", all, want)
			}
		}
	})
}

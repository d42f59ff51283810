// Package kafka tests the ACLs beside it on a real broker.
package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/sasl/plain"

	"github.com/pushover-connector/pushover-connector/connector"
	sink "github.com/pushover-connector/pushover-connector/sinks/kafka"
	"github.com/pushover-connector/pushover-connector/sinks/kafka/kafkatest"
)

const password = "not-a-password"

// start starts a broker that lets nobody do anything but who comes without a
// name, and applies the script to it.
func start(t *testing.T) *kafkatest.Cluster {
	t.Helper()
	var users strings.Builder
	for _, u := range []string{"pushover-connector", "pushover-reader", "pushover-operator"} {
		fmt.Fprintf(&users, " user_%s=%q", u, password)
	}
	cluster := kafkatest.Start(t, kafkatest.Options{
		Listeners: []kafkatest.Listener{{Name: "SASL", Protocol: "SASL_PLAINTEXT"}},
		Properties: map[string]string{
			"sasl.enabled.mechanisms":                   "PLAIN",
			"listener.name.sasl.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule required" + users.String() + ";",
			"authorizer.class.name":                     "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
			"super.users":                               "User:ANONYMOUS",
		},
	})
	admin := client(t, cluster.Brokers()[0], "")
	answer, err := admin.CreateACLs(t.Context(), &kafka.CreateACLsRequest{ACLs: entries(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(answer.Errors...); err != nil {
		t.Fatal(err)
	}
	return cluster
}

// entries runs the script with a stand-in for kafka-acls.sh that prints what it
// is asked for, and reads that as the tool would.
func entries(t *testing.T) []kafka.ACLEntry {
	t.Helper()
	tool := filepath.Join(t.TempDir(), "kafka-acls.sh")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\nprintf '%s\\n' \"$*\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("sh", "acls.sh")
	command.Env = append(os.Environ(), "KAFKA_ACLS="+tool)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	var all []kafka.ACLEntry
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		e := kafka.ACLEntry{Host: "*", PermissionType: kafka.ACLPermissionTypeAllow, ResourcePatternType: kafka.PatternTypeLiteral}
		var operations []kafka.ACLOperationType
		words := strings.Fields(line)
		for i := 0; i < len(words); i++ {
			if words[i] == "--add" {
				continue
			}
			flag := words[i]
			i++
			switch flag {
			case "--allow-principal":
				e.Principal = words[i]
			case "--operation":
				var o kafka.ACLOperationType
				if err := o.UnmarshalText([]byte(words[i])); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				operations = append(operations, o)
			case "--topic":
				e.ResourceType, e.ResourceName = kafka.ResourceTypeTopic, words[i]
			case "--group":
				e.ResourceType, e.ResourceName = kafka.ResourceTypeGroup, words[i]
			case "--transactional-id":
				e.ResourceType, e.ResourceName = kafka.ResourceTypeTransactionalID, words[i]
			case "--resource-pattern-type":
				if words[i] != "prefixed" {
					t.Fatalf("%s: pattern %s", line, words[i])
				}
				e.ResourcePatternType = kafka.PatternTypePrefixed
			default:
				t.Fatalf("%s: unknown flag %s", line, flag)
			}
		}
		for _, o := range operations {
			e.Operation = o
			all = append(all, e)
		}
	}
	return all
}

// client is one of a user, or of nobody.
func client(t *testing.T, addr, user string) *kafka.Client {
	t.Helper()
	transport := &kafka.Transport{}
	if user != "" {
		transport.SASL = plain.Mechanism{Username: user, Password: password}
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(addr), Transport: transport, Timeout: 20 * time.Second}
}

func produce(ctx context.Context, c *kafka.Client, topic string) error {
	answer, err := c.Produce(ctx, &kafka.ProduceRequest{
		Topic: topic, RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte(receipt))}),
	})
	if err != nil {
		return err
	}
	return answer.Error
}

func fetch(ctx context.Context, c *kafka.Client, topic string) error {
	answer, err := c.Fetch(ctx, &kafka.FetchRequest{Topic: topic, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 10 * time.Second})
	if err != nil {
		return err
	}
	return answer.Error
}

const receipt = "abcdefghijklmnopqrstuvwxyz0123"

func TestACLs(t *testing.T) {
	cluster := start(t)
	ctx := t.Context()
	addr := cluster.Addr("SASL")

	bus, err := sink.Open(ctx, sink.Config{
		Brokers: []string{addr}, Topic: "pushover.messages", ControlTopic: "pushover.control",
		ResultTopic: "pushover.results", DeadletterTopic: "pushover.deadletter", Group: "pushover-connector", CreateTopics: true,
		SASLMechanism: "PLAIN", Username: "pushover-connector", Password: password,
	}, sink.Options{Mode: connector.ModeStructured, Source: connector.Source("d")})
	if err != nil {
		t.Fatalf("the connector opens the bus and makes its topics: %v", err)
	}
	t.Cleanup(func() { _ = bus.Close(context.Background()) })
	for _, check := range bus.Checks(ctx) {
		if check.Err != nil {
			t.Errorf("check %s: %v", check.Name, check.Err)
		}
	}
	event := connector.Event{
		ID: "1", Source: connector.Source("d"), Type: connector.TypeMessage, Subject: "app", Time: time.Unix(1, 0),
		Data: []byte(`{"message":"the text"}`), Class: connector.ClassMessage,
		Route: []string{"messages", "emergency", "app"}, Key: connector.Source("d"),
	}
	if n, err := bus.Publish(ctx, []connector.Event{event}); n != 1 || err != nil {
		t.Fatalf("the connector publishes: %d, %v", n, err)
	}
	commands := make(chan string, 1)
	serving, stop := context.WithCancel(ctx)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = bus.ServeCommands(serving, func(_ context.Context, c connector.Command) (connector.Result, error) {
			commands <- string(c.Body)
			return connector.Result{Receipt: receipt, Status: connector.StatusAcknowledged}, nil
		}) // ends with its context
	}()
	t.Cleanup(func() { stop(); <-served })

	reader, operator := client(t, addr, "pushover-reader"), client(t, addr, "pushover-operator")
	if err := fetch(ctx, reader, "pushover.messages"); err != nil {
		t.Errorf("a reader reads messages: %v", err)
	}
	if err := produce(ctx, operator, "pushover.control"); err != nil {
		t.Errorf("an operator sends a command: %v", err)
	}
	select {
	case got := <-commands:
		if got != receipt {
			t.Errorf("got command %q", got)
		}
	case <-time.After(30 * time.Second):
		t.Error("the connector does not get the operator's command")
	}
	if err := fetch(ctx, operator, "pushover.results"); err != nil {
		t.Errorf("an operator reads results: %v", err)
	}

	for what, do := range map[string]func() error{
		"a reader sends a command":     func() error { return produce(ctx, reader, "pushover.control") },
		"a reader writes events":       func() error { return produce(ctx, reader, "pushover.messages") },
		"a reader reads commands":      func() error { return fetch(ctx, reader, "pushover.control") },
		"an operator reads messages":   func() error { return fetch(ctx, operator, "pushover.messages") },
		"an operator reads deadletter": func() error { return fetch(ctx, operator, "pushover.deadletter") },
		"an operator writes events":    func() error { return produce(ctx, operator, "pushover.messages") },
		"an operator forges a result":  func() error { return produce(ctx, operator, "pushover.results") },
	} {
		if err := do(); !errors.Is(err, kafka.TopicAuthorizationFailed) && !errors.Is(err, protocol.ErrNoTopic) {
			t.Errorf("%s: got %v, want it refused", what, err)
		}
	}
}

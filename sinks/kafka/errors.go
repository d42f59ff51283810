package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/pushover-connector/pushover-connector/connector"
)

// The reasons why a cluster is not reached, as given to [Options.OnState]. The
// set is closed, so that it can label a metric.
const (
	ReasonDial      = "dial"      // no connection: refused, no route, unknown host
	ReasonTLS       = "tls"       // the TLS handshake failed, or the other side speaks plain
	ReasonAuth      = "auth"      // credentials were refused
	ReasonForbidden = "forbidden" // an ACL is missing
	ReasonTimeout   = "timeout"   // no answer in time
	ReasonClosed    = "closed"    // the connection broke
	ReasonLeader    = "leader"    // a partition or a group has no leader at the moment
	ReasonReplicas  = "replicas"  // too few replicas in sync to confirm a write
	ReasonTopic     = "topic"     // a topic does not exist
	ReasonFenced    = "fenced"    // another connector took over
	ReasonBroker    = "broker"    // the broker answers with another error
)

// linkError carries a reason that cannot be read off the error itself.
type linkError struct {
	reason string
	err    error
}

func (e *linkError) Error() string { return e.err.Error() }
func (e *linkError) Unwrap() error { return e.err }

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// reasonOf files an error under one of the reasons.
func reasonOf(err error) string {
	var le *linkError
	var auth *authError
	var code kafka.Error
	var op *net.OpError
	switch {
	case errors.As(err, &auth):
		return ReasonAuth
	case errors.Is(err, connector.ErrFenced):
		return ReasonFenced
	case errors.As(err, &le):
		return le.reason
	case errors.As(err, &code):
		return reasonOfCode(code)
	case errors.Is(err, protocol.ErrNoTopic), errors.Is(err, protocol.ErrNoPartition):
		return ReasonTopic
	case errors.Is(err, protocol.ErrNoLeader):
		return ReasonLeader
	case errors.As(err, &op) && op.Op == "dial":
		return ReasonDial
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return ReasonTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), isReset(err), errors.Is(err, net.ErrClosed):
		return ReasonClosed
	default:
		return ReasonBroker
	}
}

func reasonOfCode(code kafka.Error) string {
	switch code {
	case kafka.SASLAuthenticationFailed:
		return ReasonAuth
	case kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed,
		kafka.TransactionalIDAuthorizationFailed:
		return ReasonForbidden
	case kafka.RequestTimedOut:
		return ReasonTimeout
	case kafka.LeaderNotAvailable, kafka.NotLeaderForPartition, kafka.GroupLoadInProgress,
		kafka.GroupCoordinatorNotAvailable, kafka.NotCoordinatorForGroup, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch:
		return ReasonLeader
	case kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend:
		return ReasonReplicas
	case kafka.UnknownTopicOrPartition:
		return ReasonTopic
	case kafka.InvalidProducerEpoch, kafka.ProducerFenced:
		return ReasonFenced
	default:
		return ReasonBroker
	}
}

// codeOf is the broker's error code in err, or 0.
func codeOf(err error) kafka.Error {
	var code kafka.Error
	errors.As(err, &code)
	return code
}

// isFenced tells whether err is a broker's word that a newer producer has our
// transactional id.
func isFenced(err error) bool {
	code := codeOf(err)
	return code == kafka.InvalidProducerEpoch || code == kafka.ProducerFenced
}

// refusesRecord tells whether err speaks about the record itself, so that no
// repetition will be accepted.
func refusesRecord(err error) bool {
	switch codeOf(err) {
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidRecord:
		return true
	}
	return false
}

// refusesTime tells whether err speaks about the time in the records. It is the
// time of publishing, so a later try may be accepted: once the clock is right.
func refusesTime(err error) bool { return codeOf(err) == kafka.InvalidTimestamp }

// missingTopic tells whether err says that a topic, or a partition of it, is not
// there, which may be a broker's word or what the layout of the cluster shows.
func missingTopic(err error) bool {
	return codeOf(err) == kafka.UnknownTopicOrPartition || errors.Is(err, protocol.ErrNoTopic) || errors.Is(err, protocol.ErrNoPartition)
}

// lostSequence tells whether the broker no longer knows our sequence numbers, or
// knows better: only reading the log back tells what it holds.
func lostSequence(err error) bool {
	switch codeOf(err) {
	case kafka.OutOfOrderSequenceNumber, kafka.UnknownProducerId, kafka.InvalidProducerIDMapping:
		return true
	}
	return false
}

// remedyError is an error that names its remedy.
type remedyError struct {
	remedy string
	err    error
}

func (e *remedyError) Error() string { return e.remedy + ": " + e.err.Error() }
func (e *remedyError) Unwrap() error { return e.err }

// bare takes off what kafka-go's client wraps around every error: the name of
// its method.
func bare(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// explain adds the remedy to errors that only an administrator can end.
func (b *Bus) explain(err error, topic string) error {
	var known *remedyError
	if errors.As(err, &known) {
		return err
	}
	remedy := func(format string, args ...any) error {
		return &remedyError{fmt.Sprintf(format, args...), err}
	}
	switch codeOf(err) {
	case kafka.TopicAuthorizationFailed:
		return remedy("topic %s: no permission; allow it: %s", topic, b.aclLine("--operation Read --operation Write --operation Describe --topic "+topic))
	case kafka.GroupAuthorizationFailed:
		return remedy("group %s: no permission; allow it: %s", b.config.Group, b.aclLine("--operation Read --group "+b.config.Group))
	case kafka.TransactionalIDAuthorizationFailed:
		return remedy("transactional id %s: no permission; allow it: %s", b.txnID(), b.aclLine("--operation Write --operation Describe --transactional-id "+b.txnID()))
	case kafka.InvalidTimestamp:
		return remedy("topic %s: the broker refuses the time of publishing; set this machine's clock, or the broker's (%s now)",
			topic, time.Now().UTC().Format(time.RFC3339))
	case kafka.UnknownTopicOrPartition:
		return remedy("topic %s does not exist; create it: %s", topic, b.createLine(topic))
	}
	if errors.Is(err, protocol.ErrNoTopic) {
		return remedy("topic %s does not exist; create it: %s", topic, b.createLine(topic))
	}
	return err
}

func (b *Bus) aclLine(what string) string {
	user := b.config.Username
	if user == "" {
		user = "…"
	}
	return fmt.Sprintf("kafka-acls.sh --bootstrap-server %s --add --allow-principal User:%s %s", b.firstBroker(), user, what)
}

func (b *Bus) createLine(topic string) string {
	return fmt.Sprintf("kafka-topics.sh --bootstrap-server %s --create --topic %s --partitions 1 --config cleanup.policy=delete", b.firstBroker(), topic)
}

func (b *Bus) firstBroker() string { return b.config.brokers()[0] }

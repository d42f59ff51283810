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

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// isClosed tells whether the connection broke.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || isReset(err)
}

// failure gives an error its class, unless it has one.
func failure(err error) error {
	var known *connector.Failure
	if errors.As(err, &known) {
		return err
	}
	return &connector.Failure{Reason: reasonOf(err), Err: err}
}

func reasonOf(err error) connector.Reason {
	var known *connector.Failure
	var auth *authError
	var code kafka.Error
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.Is(err, connector.ErrFenced):
		return connector.ReasonFenced
	case errors.As(err, &known):
		return known.Reason
	case errors.As(err, &auth):
		return connector.ReasonBusAuth
	case errors.As(err, &code):
		return reasonOfCode(code)
	case errors.Is(err, protocol.ErrNoTopic), errors.Is(err, protocol.ErrNoPartition):
		return connector.ReasonBusMisconfigured
	case errors.As(err, &dns):
		return connector.ReasonDNS
	case errors.As(err, &op) && op.Op == "dial", errors.Is(err, protocol.ErrNoLeader), isClosed(err):
		return connector.ReasonBusUnreachable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return connector.ReasonTimeout
	case errors.Is(err, connector.ErrRejected):
		return connector.ReasonBusRefused
	default:
		return connector.ReasonUnexpected
	}
}

func reasonOfCode(code kafka.Error) connector.Reason {
	switch code {
	case kafka.SASLAuthenticationFailed:
		return connector.ReasonBusAuth
	case kafka.RequestTimedOut, kafka.ConcurrentTransactions:
		return connector.ReasonTimeout
	case kafka.LeaderNotAvailable, kafka.NotLeaderForPartition, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch,
		kafka.GroupLoadInProgress, kafka.GroupCoordinatorNotAvailable, kafka.NotCoordinatorForGroup,
		kafka.BrokerNotAvailable, kafka.NotController:
		return connector.ReasonBusUnreachable // nobody has taken over from a broker yet
	case kafka.UnknownTopicOrPartition:
		return connector.ReasonBusMisconfigured
	}
	if isForbidden(code) {
		return connector.ReasonBusAuth
	}
	return connector.ReasonBusRefused
}

func isForbidden(code kafka.Error) bool {
	switch code {
	case kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed,
		kafka.TransactionalIDAuthorizationFailed:
		return true
	}
	return false
}

// passes tells whether a cluster that is starting, or changing its leaders, may
// be all that is wrong.
func passes(err error) bool {
	switch reasonOf(err) {
	case connector.ReasonBusUnreachable, connector.ReasonDNS, connector.ReasonTimeout:
		return true
	}
	return false
}

// refusesUs tells whether the cluster refused our credentials or lacks an ACL.
func refusesUs(err error) bool {
	var auth *authError
	return errors.As(err, &auth) || isForbidden(codeOf(err))
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

// missingTopic tells whether err says that a topic, or a partition of it, does not
// exist, according to a broker or to the layout of the cluster.
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

// unwrapClient takes off the method's name that kafka-go's client wraps around
// every error.
func unwrapClient(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// explain adds what can be done to errors that only an administrator can end.
func (k *cluster) explain(err error, topic string) error {
	var known *connector.Failure
	if errors.As(err, &known) {
		return err
	}
	explained := func(detail, remedy string) error {
		return &connector.Failure{Reason: reasonOf(err), Detail: detail, Remedy: remedy, Err: err}
	}
	code := codeOf(err)
	switch {
	case code == kafka.TopicAuthorizationFailed:
		return explained("topic "+topic+": no permission",
			"allow it: "+k.aclLine("--operation Read --operation Write --operation Describe --topic "+topic))
	case code == kafka.GroupAuthorizationFailed:
		return explained("group "+k.config.Group+": no permission", "allow it: "+k.aclLine("--operation Read --group "+k.config.Group))
	case code == kafka.TransactionalIDAuthorizationFailed:
		return explained("transactional id "+k.txnIDs(k.source, topic)[0]+": no permission",
			"allow it: "+k.aclLine("--operation Write --operation Describe --resource-pattern-type prefixed --transactional-id "+txnPrefix))
	case code == kafka.LeaderNotAvailable, errors.Is(err, protocol.ErrNoLeader):
		return explained("topic "+topic+" has a partition without a leader", "check the brokers that keep it")
	case code == kafka.InvalidTimestamp:
		return explained(fmt.Sprintf("topic %s: the broker refuses the time of publishing, %s", topic, time.Now().UTC().Format(time.RFC3339)),
			"set this machine's clock, or the broker's")
	case code == kafka.UnknownTopicOrPartition, errors.Is(err, protocol.ErrNoTopic):
		return explained("topic "+topic+" does not exist", "create it: "+k.createLine(topic))
	}
	return err
}

func (k *cluster) aclLine(what string) string {
	user := k.config.Username
	if user == "" {
		user = "…"
	}
	return fmt.Sprintf("kafka-acls.sh --bootstrap-server %s --add --allow-principal User:%s %s", k.firstBroker(), user, what)
}

func (k *cluster) createLine(topic string) string {
	return fmt.Sprintf("kafka-topics.sh --bootstrap-server %s --create --topic %s --partitions 1 --config cleanup.policy=delete", k.firstBroker(), topic)
}

func (k *cluster) firstBroker() string { return k.config.brokers()[0] }

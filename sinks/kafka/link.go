package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
)

// A link is one connection to one broker. It carries one request at a time.
type link struct {
	addr string
	conn net.Conn
	pc   *protocol.Conn
	apis map[protocol.ApiKey]bool // what the broker offers

	// anonymous is set until the first answer on a connection without SASL.
	anonymous bool

	// spent is set when the answer came just as the request's context ended,
	// which leaves the connection with a deadline in the past.
	spent bool
}

func (l *link) negotiate() error {
	m, err := l.pc.RoundTrip(new(apiversions.Request))
	if err != nil {
		return err
	}
	res := m.(*apiversions.Response)
	if res.ErrorCode != 0 {
		return kafka.Error(res.ErrorCode)
	}
	versions := make(map[protocol.ApiKey]int16, len(res.ApiKeys))
	l.apis = make(map[protocol.ApiKey]bool, len(res.ApiKeys))
	for _, k := range res.ApiKeys {
		api := protocol.ApiKey(k.ApiKey)
		versions[api] = api.SelectVersion(k.MinVersion, k.MaxVersion)
		l.apis[api] = true
	}
	l.pc.SetVersions(versions)
	return nil
}

func (l *link) authenticate(ctx context.Context, mechanism sasl.Mechanism) error {
	m, err := l.pc.RoundTrip(&saslhandshake.Request{Mechanism: mechanism.Name()})
	if err != nil {
		return fmt.Errorf("SASL handshake: %w", err)
	}
	if hs := m.(*saslhandshake.Response); hs.ErrorCode != 0 {
		return &authError{fmt.Errorf("the broker does not offer %s, but %v: %w", mechanism.Name(), hs.Mechanisms, kafka.Error(hs.ErrorCode))}
	}
	host, port, _ := net.SplitHostPort(l.addr)
	number, _ := strconv.Atoi(port)
	ctx = sasl.WithMetadata(ctx, &sasl.Metadata{Host: host, Port: number})
	session, out, err := mechanism.Start(ctx)
	if err != nil {
		return err
	}
	for done := false; !done; {
		m, err := l.pc.RoundTrip(&saslauthenticate.Request{AuthBytes: out})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			// Some brokers hang up instead of answering.
			return &authError{fmt.Errorf("the broker hung up during %s: %w", mechanism.Name(), err)}
		}
		if err != nil {
			return fmt.Errorf("authenticate: %w", err)
		}
		res := m.(*saslauthenticate.Response)
		if res.ErrorCode != 0 {
			if e := kafka.Error(res.ErrorCode); e != kafka.SASLAuthenticationFailed && e.Temporary() {
				return fmt.Errorf("authenticate: %w", e)
			}
			return &authError{fmt.Errorf("%s: %s: %w", mechanism.Name(), res.ErrorMessage, kafka.Error(res.ErrorCode))}
		}
		if done, out, err = session.Next(ctx, res.AuthBytes); err != nil {
			return &authError{fmt.Errorf("%s: %w", mechanism.Name(), err)}
		}
	}
	return nil
}

// roundTrip exchanges one request for its answer. When ctx ends before that, it
// returns at once; the link must not be used again after an error.
func (l *link) roundTrip(ctx context.Context, req protocol.Message) (protocol.Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_ = l.conn.SetDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Unix(1, 0)) })
	res, err := l.pc.RoundTrip(req)
	l.spent = !stop()
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("broker %s: %w", l.addr, ctx.Err())
	}
	if err != nil && l.anonymous && reasonOf(err) == ReasonClosed {
		return nil, fmt.Errorf("broker %s: hangs up at the first request; if it wants SASL, set KAFKA_SASL_MECHANISM: %w", l.addr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", l.addr, err)
	}
	l.anonymous = false
	return res, nil
}

func (l *link) close() { _ = l.conn.Close() }

package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/pushover-connector/pushover-connector/connector"
)

// A link is one connection to one broker. It carries one request at a time.
type link struct {
	addr string
	conn net.Conn
	pc   *protocol.Conn
	apis map[protocol.ApiKey]bool // what the broker offers

	until     time.Time    // the broker wants to be shown credentials again by then; zero means never
	rested    bool         // has been idle
	anonymous bool         // without SASL
	proved    *atomic.Bool // set at the first answer of any broker

	// spent is set when the answer came just as the request's context ended,
	// which leaves the connection with a deadline in the past.
	spent bool
}

// greet asks which versions the broker speaks. It is the first exchange, and the
// other side may not be a broker at all: kafka-go would take a count out of
// foreign bytes and decode as many elements, past every deadline, so the answer
// is decoded here.
func (l *link) greet(clientID string) error {
	const correlation, header, maxAnswer = 1, 8, 1 << 16
	if err := protocol.WriteRequest(l.conn, 0, correlation, clientID, new(apiversions.Request)); err != nil {
		return err
	}
	head := make([]byte, header) // size and correlation id
	if n, err := io.ReadFull(l.conn, head); err != nil {
		if hint := foreignHint(head[:n]); hint != "" {
			return notKafka(l.addr, hint)
		}
		return err
	}
	size := binary.BigEndian.Uint32(head)
	if size < 10 || size > maxAnswer || binary.BigEndian.Uint32(head[4:]) != correlation {
		return notKafka(l.addr, foreignHint(head))
	}
	body := make([]byte, size-4) // error code, count, and for each API its key, lowest and highest version
	if _, err := io.ReadFull(l.conn, body); err != nil {
		return err
	}
	if code := kafka.Error(int16(binary.BigEndian.Uint16(body))); code != 0 {
		return code
	}
	apis := body[6:]
	if uint64(len(apis)) != 6*uint64(binary.BigEndian.Uint32(body[2:])) {
		return notKafka(l.addr, "")
	}
	versions := make(map[protocol.ApiKey]int16, len(apis)/6)
	l.apis = make(map[protocol.ApiKey]bool, len(apis)/6)
	for ; len(apis) > 0; apis = apis[6:] {
		number := func(i int) int16 { return int16(binary.BigEndian.Uint16(apis[i:])) }
		api := protocol.ApiKey(number(0))
		versions[api] = api.SelectVersion(number(2), number(4))
		l.apis[api] = true
	}
	l.pc.SetVersions(versions)
	return nil
}

// foreignHint tells from the first bytes of an answer what else may have sent it.
func foreignHint(b []byte) string {
	for start, hint := range map[string]string{
		"INFO": "is this a NATS server?", "HTTP": "is this a web server?", "\x15\x03": "is this a TLS port? then set KAFKA_TLS=true",
	} {
		if strings.HasPrefix(string(b), start) {
			return hint
		}
	}
	return ""
}

func notKafka(addr, hint string) error {
	detail := "no Kafka broker answers at " + addr + ": the answer is not Kafka's protocol"
	if hint != "" {
		detail += " (" + hint + ")"
	}
	return &connector.Failure{Reason: connector.ReasonBusMisconfigured, Detail: detail, Remedy: "check KAFKA_BROKERS"}
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
		if life := time.Duration(res.SessionLifetimeMs) * time.Millisecond; life > 0 {
			l.until = time.Now().Add(life * 4 / 5) // KIP-368; a new connection does it
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
	if err != nil && l.anonymous && isClosed(err) && !l.proved.Load() {
		return nil, &connector.Failure{
			Reason: connector.ReasonBusAuth, Detail: fmt.Sprintf("broker %s hangs up at the first request", l.addr),
			Remedy: "if it wants SASL, set KAFKA_SASL_MECHANISM", Err: err,
		}
	}
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", l.addr, err)
	}
	l.proved.Store(true)
	return res, nil
}

func (l *link) close() { _ = l.conn.Close() }

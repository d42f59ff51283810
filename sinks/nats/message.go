package nats

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Binding is CloudEvents on NATS (NATS binding 1.0.3-wip, section 3.1.3).
var Binding = connector.Binding{
	Prefix: "ce-", ContentType: "Content-Type", DataContentType: "ce-datacontenttype",
	StructuredType: "application/cloudevents+json", PercentEncode: true,
}

// subject returns where an event is published.
func (b *Bus) subject(e connector.Event) string {
	return b.cfg.SubjectPrefix + "." + strings.Join(e.Route, ".")
}

// encode makes the message of an event, its header names as they are.
func (b *Bus) encode(e connector.Event) (*nats.Msg, error) {
	if len(e.Route) == 0 {
		return nil, fmt.Errorf("%w: event has no route", connector.ErrRejected)
	}
	for _, token := range e.Route {
		if !validToken(token) {
			return nil, fmt.Errorf("%w: route %q is not a subject", connector.ErrRejected, e.Route)
		}
	}
	headers, body, err := e.Encode(b.opts.Mode, Binding)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", connector.ErrRejected, err)
	}
	msg := &nats.Msg{Subject: b.subject(e), Data: body, Header: make(nats.Header, len(headers)+2)}
	for _, h := range headers {
		msg.Header[h.Name] = append(msg.Header[h.Name], h.Value)
	}
	msg.Header[jetstream.MsgIDHeader] = []string{messageID(e)}
	return msg, nil
}

// storedAgain ends the message id of an event that the stream has lost: under its
// first id the stream would take it for a repeat and not store it.
const storedAgain = "/2"

func messageID(e connector.Event) string {
	if e.Lost {
		return e.DedupKey() + storedAgain
	}
	return e.DedupKey()
}

// An ack is the stream's answer to one message.
type ack struct {
	round     uint64
	index     int
	sequence  uint64 // in the stream
	duplicate bool
	err       error
}

func (p *publisher) reply(round uint64, index int) string {
	out := make([]byte, 0, len(p.prefix)+24)
	out = append(out, p.prefix...)
	out = append(out, '.')
	out = strconv.AppendUint(out, round, 10)
	out = append(out, '.')
	out = strconv.AppendInt(out, int64(index), 10)
	return string(out)
}

// receive takes one answer. It drops those of earlier runs; of a run there are
// never more than the channel holds.
func (p *publisher) receive(m *nats.Msg) {
	round, index, ok := strings.Cut(strings.TrimPrefix(m.Subject, p.prefix+"."), ".")
	if !ok {
		return
	}
	a := ack{}
	var err1, err2 error
	a.round, err1 = strconv.ParseUint(round, 10, 64)
	a.index, err2 = strconv.Atoi(index)
	if err1 != nil || err2 != nil || a.round != p.round.Load() {
		return
	}
	if a.sequence, a.duplicate, a.err = p.decode(m); errors.Is(a.err, errNotOurs) {
		return
	}
	select {
	case p.acks <- a:
	default:
	}
}

// errNotOurs says that an answer is of a stream of another JetStream domain, of
// another stream there is beside ours, or of a subscriber who answers what it gets:
// whatever it says, nothing is known of our stream.
var errNotOurs = errors.New("answer of another stream")

// decode reads one answer.
func (p *publisher) decode(m *nats.Msg) (sequence uint64, duplicate bool, err error) {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return 0, false, fmt.Errorf("no stream takes the subject: %w", jetstream.ErrNoStreamResponse)
	}
	var answer struct {
		Stream    string              `json:"stream"`
		Domain    string              `json:"domain"` // absent from errors
		Seq       uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
		Error     *jetstream.APIError `json:"error"`
	}
	if json.Unmarshal(m.Data, &answer) != nil || answer.Stream == "" && answer.Error == nil {
		return 0, false, errNotOurs
	}
	stream, failed := p.bus.cfg.Stream, answer.Error != nil
	switch {
	case failed && (answer.Stream == "" || answer.Stream == stream):
		return 0, false, answer.Error
	case failed, answer.Domain != p.stream.Load().Domain:
		p.others.note(answer.Stream, answer.Domain)
		return 0, false, errNotOurs
	case answer.Stream != stream:
		return 0, false, misconfigured(nil, "name it in NATS_STREAM", "the subject is taken by stream %q, not by %s", answer.Stream, stream)
	case answer.Seq == 0:
		return 0, false, errors.New("confirmation without a sequence")
	}
	return answer.Seq, answer.Duplicate, nil
}

// cause says what the server's error means for the run. A chained message that
// is too large may be so for its link only.
func (a ack) cause(chained bool) error {
	var api *jetstream.APIError
	if !errors.As(a.err, &api) {
		return a.err
	}
	switch api.ErrorCode {
	case codeWrongLastMsgID, jetstream.JSErrCodeStreamWrongLastSequence:
		return errRefusedChain
	case codeMessageTooLarge, codeHeaderTooLarge:
		if chained {
			return errRefusedChain
		}
		return fmt.Errorf("%w: %w", connector.ErrRejected, api)
	case codeDuplicateStaging:
		return fmt.Errorf("%w: the stream is still busy with the same message", api)
	default:
		return api
	}
}

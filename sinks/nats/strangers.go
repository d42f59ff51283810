package nats

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// strangers are the streams beside ours that take our subjects. Within one
// JetStream domain the server does not allow it, but a leaf node and its hub may
// each have one, and both then store and confirm what is published.
type strangers struct {
	log *slog.Logger

	mu    sync.Mutex
	known []string
}

// note takes down a stream that confirmed or refused a message of ours.
func (s *strangers) note(stream, domain string) {
	name := "stream " + stream
	if domain != "" {
		name += " of JetStream domain " + domain
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.known, name) {
		return
	}
	s.known = append(s.known, name)
	s.log.Warn("subjects are taken by another stream too, its confirmations do not count", "stream", stream, "domain", domain)
}

func (s *strangers) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.known)
}

// askTime is how long the streams have to answer.
const askTime = 500 * time.Millisecond

// takers returns the streams that took our messages when this connection was made.
// It sends a message that none can store, since it is for a stream whose name is not
// possible, and each refuses it in its own name. Subscribers without a stream get it,
// so it is sent only where there can be more than one stream, with JetStream domains,
// and once.
func (p *publisher) takers(ctx context.Context) []string {
	p.askTurn.Lock()
	defer p.askTurn.Unlock()
	session := p.bus.link.session()
	if p.asked == session {
		return p.answered
	}
	nc, inbox := p.bus.nc, p.bus.nc.NewInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil // which says that the connection is gone
	}
	defer func() { _ = answers.Unsubscribe() }() // it fails only if the connection is closed
	m := nats.NewMsg(p.bus.cfg.SubjectPrefix + ".messages.none.probe")
	m.Reply = inbox
	m.Header.Set(jetstream.ExpectedStreamHeader, "no.such.stream")
	if err := nc.PublishMsg(m); err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	p.asked, p.answered = session, nil
	for {
		answer, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return p.answered // no more in time
		}
		var refusal struct {
			Stream string `json:"stream"`
		}
		if json.Unmarshal(answer.Data, &refusal) == nil && refusal.Stream != "" {
			p.answered = append(p.answered, refusal.Stream)
		}
	}
}

// strangerWarning says that another stream takes our subjects, or nothing.
func (b *Bus) strangerWarning(ctx context.Context, info *streamInfo) string {
	others := b.pub.others.list()
	if len(others) == 0 && info.Domain != "" {
		names := b.pub.takers(ctx)
		if len(names) < 2 {
			return ""
		}
		others = []string{fmt.Sprintf("streams %s of several JetStream domains", strings.Join(names, ", "))}
	}
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("Subjects %s.> are taken by more than stream %s of domain %q: %s. Each stores every message; only ours counts. Set NATS_SUBJECT_PREFIX, or deny the subjects on the leaf node's connection.",
		b.cfg.SubjectPrefix, b.cfg.Stream, info.Domain, strings.Join(others, ", "))
}

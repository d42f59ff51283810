package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	// maxScan bounds how many messages of the tail are read back.
	maxScan = 100_000

	// firstScan is the number of sequences looked at first, growing fourfold.
	firstScan = 256

	// lateIDs is how far the ids of messages that follow a late one may be above it:
	// a minute, since the upper half of an id is seconds. Messages come late by a few.
	lateIDs = 60 << 32

	// scanBatch is how many messages are asked for at once; only headers come.
	scanBatch = 512
)

// Holds implements [connector.Verifier]: it reads the stream's tail back, the
// headers only, as far as the oldest of events can be, at most [maxScan]
// messages. A stream that drops what was consumed cannot be read back: whatever
// it confirmed counts as held.
func (b *Bus) Holds(ctx context.Context, events []connector.Event) (held int, err error) {
	if len(events) == 0 {
		return 0, nil
	}
	if err := b.Connected(); err != nil {
		return 0, fmt.Errorf("read back events: %w", err)
	}
	if info := b.pub.stream.Load(); info != nil && !keeps(info.Config) {
		return len(events), nil
	}
	asking, cancel := b.link.while(ctx)
	defer cancel()
	found, err := b.find(asking, events)
	if err != nil {
		return 0, fmt.Errorf("read back events: %w", b.classify(cmp.Or(ended(asking), err)))
	}
	return leading(events, found, true), nil
}

// A search is for the keys of some events in the stream's tail.
type search struct {
	wanted map[string]uint64 // sequences by key; 0 until found
	oldest map[string]uint64 // lowest message id wanted, by source
	open   int               // keys not found yet
	others bool              // there are events without an order to stop at
	passed map[string]bool   // sources of which a message was seen that is too old to have come late
}

func newSearch(events []connector.Event) *search {
	s := &search{wanted: map[string]uint64{}, oldest: map[string]uint64{}, passed: map[string]bool{}}
	for _, e := range events {
		s.wanted[e.DedupKey()] = 0
		id, err := strconv.ParseUint(e.ID, 10, 64)
		if err != nil || e.Class != connector.ClassMessage {
			s.others = true
			continue
		}
		if old, ok := s.oldest[e.Source]; !ok || id < old {
			s.oldest[e.Source] = id
		}
	}
	s.open = len(s.wanted)
	return s
}

// see notes a message of the stream by its id.
func (s *search) see(key string, sequence uint64) {
	key = strings.TrimSuffix(key, storedAgain)
	if found, ok := s.wanted[key]; ok && found == 0 {
		s.wanted[key] = sequence
		s.open--
	}
	hash := strings.LastIndexByte(key, '#')
	if hash < 0 {
		return
	}
	source := key[:hash]
	oldest, ours := s.oldest[source]
	if !ours {
		return
	}
	if id, err := strconv.ParseUint(key[hash+1:], 10, 64); err == nil && id < oldest-min(oldest, lateIDs) {
		s.passed[source] = true
	}
}

// done reports whether nothing further back can be wanted: a device's messages
// are stored in the order of their ids, but for those that came late.
func (s *search) done() bool {
	return s.open == 0 || !s.others && len(s.passed) == len(s.oldest)
}

// find returns the sequences of the events that the stream holds, by key, and 0
// for the others.
func (b *Bus) find(ctx context.Context, events []connector.Event) (map[string]uint64, error) {
	s := newSearch(events)
	filters := []string{b.cfg.SubjectPrefix + ".messages.>"}
	if s.others {
		filters = append(filters, b.cfg.SubjectPrefix+".results.>", b.cfg.SubjectPrefix+".deadletter")
	} else {
		key, sequence, err := b.lastKey(ctx, filters[0])
		if err != nil {
			return nil, err
		}
		if key != "" {
			s.see(key, sequence)
		}
		if key == "" || s.done() {
			return s.wanted, nil
		}
	}
	info, err := b.streamInfo(ctx, b.needs()[0])
	if err != nil {
		return nil, err
	}
	state := info.State
	if state.Msgs == 0 {
		return s.wanted, nil
	}
	end, scanned := state.LastSeq+1, uint64(0)
	for span := uint64(firstScan); !s.done() && end > state.FirstSeq && scanned < maxScan; span *= 4 {
		start := state.FirstSeq
		if end-start > span {
			start = end - span
		}
		if err := b.scan(ctx, filters, start, end, s.see); err != nil {
			return nil, err
		}
		scanned += end - start
		end = start
	}
	return s.wanted, nil
}

// scan calls see with the id and the sequence of each message from sequence start
// to before end.
func (b *Bus) scan(ctx context.Context, filters []string, start, end uint64, see func(key string, sequence uint64)) error {
	s := stretch{filters: filters, start: start, end: end, headers: true, batch: scanBatch}
	return b.walk(ctx, s, func(m jetstream.Msg, at *jetstream.MsgMetadata) error {
		see(m.Headers().Get(jetstream.MsgIDHeader), at.Sequence.Stream)
		return nil
	})
}

// lastKey returns the id and the sequence of the newest message under filter, ""
// if there is none. It asks the stream's leader, since a replica may lag behind.
func (b *Bus) lastKey(ctx context.Context, filter string) (key string, sequence uint64, err error) {
	var found struct {
		Message struct {
			Sequence uint64 `json:"seq"`
			Header   []byte `json:"hdrs"`
		} `json:"message"`
	}
	err = b.api(ctx, "STREAM.MSG.GET."+b.cfg.Stream, map[string]string{"last_by_subj": filter}, &found)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return "", 0, nil
	case err != nil:
		return "", 0, b.apiError(err)
	case len(found.Message.Header) == 0:
		return "-", found.Message.Sequence, nil // of another program, without an id
	}
	header, err := nats.DecodeHeadersMsg(found.Message.Header)
	if err != nil {
		return "", 0, fmt.Errorf("decode the last message: %w", err)
	}
	if key := header.Get(jetstream.MsgIDHeader); key != "" {
		return key, found.Message.Sequence, nil
	}
	return "-", found.Message.Sequence, nil
}

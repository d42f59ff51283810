package nats

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

const (
	// maxScan bounds how many messages of the tail are read back.
	maxScan = 100_000

	// firstScan is the number of sequences looked at first, growing fourfold.
	firstScan = 256

	// scanBatch is how many messages are asked for at once; only headers come.
	scanBatch = 512
)

// Holds implements [connector.Verifier]: it reads the stream's tail back, the
// headers only, as far as the oldest of events can be, at most [maxScan]
// messages.
func (b *Bus) Holds(ctx context.Context, events []connector.Event) (held int, err error) {
	if len(events) == 0 {
		return 0, nil
	}
	if err := b.Connected(); err != nil {
		return 0, fmt.Errorf("read back events: %w", err)
	}
	asking, cancel := b.link.while(ctx)
	defer cancel()
	found, err := b.find(asking, events)
	if err != nil {
		return 0, fmt.Errorf("read back events: %w", err)
	}
	return leading(events, found, true), nil
}

// A search is for the keys of some events in the stream's tail.
type search struct {
	wanted map[string]bool   // by key; true once found
	oldest map[string]uint64 // lowest message id wanted, by source
	open   int               // keys not found yet
	others bool              // there are events without an order to stop at
	passed map[string]bool   // sources of which an older message was seen
}

func newSearch(events []connector.Event) *search {
	s := &search{wanted: map[string]bool{}, oldest: map[string]uint64{}, passed: map[string]bool{}}
	for _, e := range events {
		s.wanted[e.DedupKey()] = false
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
func (s *search) see(key string) {
	if found, ok := s.wanted[key]; ok && !found {
		s.wanted[key] = true
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
	if id, err := strconv.ParseUint(key[hash+1:], 10, 64); err == nil && id < oldest {
		s.passed[source] = true
	}
}

// done reports whether nothing further back can be wanted: a device's messages
// are stored in the order of their ids.
func (s *search) done() bool {
	return s.open == 0 || !s.others && len(s.passed) == len(s.oldest)
}

// find returns which of the events the stream holds, by key.
func (b *Bus) find(ctx context.Context, events []connector.Event) (map[string]bool, error) {
	s := newSearch(events)
	filters := []string{b.cfg.SubjectPrefix + ".messages.>"}
	if s.others {
		filters = append(filters, b.cfg.SubjectPrefix+".results.>", b.cfg.SubjectPrefix+".deadletter")
	} else {
		key, err := b.lastKey(ctx, filters[0])
		if err != nil {
			return nil, err
		}
		if key != "" {
			s.see(key)
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

// scan calls see with the id of each message from sequence start to before end.
func (b *Bus) scan(ctx context.Context, filters []string, start, end uint64, see func(string)) error {
	making, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	cons, err := b.js.CreateConsumer(making, b.cfg.Stream, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       start,
		FilterSubjects:    filters,
		AckPolicy:         jetstream.AckNonePolicy,
		HeadersOnly:       true,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return b.apiError(err)
	}
	info := cons.CachedInfo()
	defer func() {
		// It would end by itself, but until then counts against limits.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := b.js.DeleteConsumer(ctx, b.cfg.Stream, info.Name); err != nil {
			b.log.Debug("nats consumer not deleted", "consumer", info.Name, "error", err)
		}
	}()
	for pending := info.NumPending; pending > 0; {
		pending, err = fetch(ctx, cons, int(min(pending, scanBatch)), end, see)
		if err != nil {
			return cmp.Or(ended(ctx), err)
		}
	}
	return nil
}

// fetch reads up to want messages and returns how many are left before end, or
// more.
func fetch(ctx context.Context, cons jetstream.Consumer, want int, end uint64, see func(string)) (pending uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	batch, err := cons.Fetch(want, jetstream.FetchContext(ctx))
	if err != nil {
		return 0, err
	}
	got := 0
	for msg := range batch.Messages() {
		got++
		meta, err := msg.Metadata()
		if err != nil {
			return 0, err
		}
		if meta.Sequence.Stream >= end {
			return 0, nil
		}
		pending = meta.NumPending
		see(msg.Headers().Get(jetstream.MsgIDHeader))
	}
	if err := batch.Error(); err != nil {
		return 0, err
	}
	if got == 0 {
		return 0, errors.New("the stream sent nothing though it has messages")
	}
	return pending, nil
}

// ended returns why ctx ended, or is about to: a deadline may have passed before
// its timer noticed.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return context.Cause(ctx)
}

// lastKey returns the id of the newest message under filter, "" if there is
// none. It asks the stream's leader, since a replica may lag behind.
func (b *Bus) lastKey(ctx context.Context, filter string) (string, error) {
	request, err := json.Marshal(map[string]string{"last_by_subj": filter})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	answer, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+b.cfg.Stream, request)
	if err != nil {
		return "", b.apiError(err)
	}
	var found struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Header []byte `json:"hdrs"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &found); err != nil {
		return "", fmt.Errorf("decode the last message: %w", err)
	}
	switch {
	case found.Error != nil && found.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return "", nil
	case found.Error != nil:
		return "", found.Error
	case len(found.Message.Header) == 0:
		return "-", nil // somebody else's, without an id
	}
	header, err := nats.DecodeHeadersMsg(found.Message.Header)
	if err != nil {
		return "", fmt.Errorf("decode the last message: %w", err)
	}
	if key := header.Get(jetstream.MsgIDHeader); key != "" {
		return key, nil
	}
	return "-", nil
}

package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

// readBatch is how many messages are asked for at once with their bodies.
const readBatch = 64

// Read implements [connector.Reader] on the stream of messages, which holds the
// results and dead letters too. With q.Follow it goes on over reconnects and
// changes of the stream once it has begun; a failure before that is returned.
func (b *Bus) Read(ctx context.Context, q connector.Query, f func(connector.Stored) error) error {
	if b.nc == nil {
		return b.cfg.notRunning(nil)
	}
	if q.Priority != "" && !validToken(q.Priority) {
		return fmt.Errorf("read stream %s: %q is not a priority", b.cfg.Stream, q.Priority)
	}
	r := &reader{bus: b, q: q, f: f, filters: b.filters(q)}
	for attempt := 1; ; attempt++ {
		before := r.next
		err := r.pass(ctx)
		moved := r.next != before
		switch {
		case r.stopped != nil:
			return r.stopped
		case ctx.Err() != nil && q.Follow:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("read stream %s: %w", b.cfg.Stream, ctx.Err())
		case err == nil:
			return nil
		case !moved && !(q.Follow && r.begun):
			return fmt.Errorf("read stream %s: %w", b.cfg.Stream, b.classify(err))
		case moved:
			attempt = 1
		}
		b.log.Debug("stream read interrupted", "stream", b.cfg.Stream, "error", err)
		select {
		case <-time.After(backoff(attempt)):
		case <-ctx.Done():
		}
	}
}

// filters are the subjects of what q selects.
func (b *Bus) filters(q connector.Query) []string {
	p := b.cfg.SubjectPrefix
	messages := p + ".messages.>"
	if q.Priority != "" {
		messages = p + ".messages." + q.Priority + ".>"
	}
	var all []string
	for class, filter := range map[connector.Class]string{
		connector.ClassMessage:    messages,
		connector.ClassResult:     p + ".results.>",
		connector.ClassDeadLetter: p + ".deadletter",
	} {
		if len(q.Classes) == 0 || slices.Contains(q.Classes, class) {
			all = append(all, filter)
		}
	}
	return all
}

// A reader is one Read under way.
type reader struct {
	bus     *Bus
	q       connector.Query
	f       func(connector.Stored) error
	filters []string

	begun   bool
	created time.Time // of the stream that next belongs to
	next    uint64    // sequence to go on from; 0 means from q.Since
	end     uint64    // one more than the last sequence, without q.Follow
	stopped error     // by f
}

// pass reads until the end, or until something breaks.
func (r *reader) pass(ctx context.Context) error {
	connected, cancel := r.bus.link.while(ctx)
	defer cancel()
	if err := r.read(connected); err != nil {
		return cmp.Or(ended(connected), err)
	}
	return nil
}

func (r *reader) read(ctx context.Context) error {
	info, err := r.bus.streamInfo(ctx, r.bus.needs()[0])
	if err != nil {
		return err
	}
	switch {
	case !r.begun:
		if err := r.begin(ctx, info.State); err != nil {
			return err
		}
		r.begun, r.created = true, info.Created
	case !r.created.Equal(info.Created): // all of the new stream came after
		if !r.q.Follow {
			return nil
		}
		r.created, r.next = info.Created, 1
	}
	s := stretch{filters: r.filters, start: r.next, since: r.q.Since, end: r.end, follow: r.q.Follow, batch: readBatch}
	return r.bus.walk(ctx, s, func(m jetstream.Msg, at *jetstream.MsgMetadata) error {
		if e, ok := r.selected(m, at); ok {
			if r.stopped = r.f(e); r.stopped != nil {
				return r.stopped
			}
		}
		r.next = at.Sequence.Stream + 1
		return nil
	})
}

// begin finds where to read from, and where to.
func (r *reader) begin(ctx context.Context, state jetstream.StreamState) error {
	if !r.q.Follow {
		r.end = state.LastSeq + 1
	}
	switch {
	case r.q.Last > 0:
		start, err := r.startOfLast(ctx, state)
		r.next = start
		return err
	case r.q.Since.IsZero():
		r.next = max(1, state.FirstSeq)
	}
	return nil
}

// startOfLast returns the sequence of the first of the last events. It looks at
// the stream's tail, further back each time.
func (r *reader) startOfLast(ctx context.Context, state jetstream.StreamState) (uint64, error) {
	first := max(1, state.FirstSeq)
	end, missing, old := max(first, state.LastSeq+1), r.q.Last, false
	for span := uint64(firstScan); end > first && !old; span *= 4 {
		start := first
		if end-start > span {
			start = end - span
		}
		var found []uint64
		s := stretch{filters: r.filters, start: start, end: end, batch: readBatch}
		err := r.bus.walk(ctx, s, func(m jetstream.Msg, at *jetstream.MsgMetadata) error {
			old = old || at.Timestamp.Before(r.q.Since)
			if _, ok := r.selected(m, at); ok {
				found = append(found[max(0, len(found)+1-missing):], at.Sequence.Stream)
			}
			return nil
		})
		switch {
		case err != nil:
			return 0, err
		case len(found) == missing:
			return found[0], nil
		}
		missing -= len(found)
		end = start
	}
	return end, nil
}

// selected returns the event that a message carries, if it is one that q selects.
func (r *reader) selected(m jetstream.Msg, at *jetstream.MsgMetadata) (connector.Stored, bool) {
	if at.Timestamp.Before(r.q.Since) {
		return connector.Stored{}, false
	}
	e, err := Binding.Decode(m.Headers().Get, m.Data())
	if err != nil || len(r.q.Classes) > 0 && !slices.Contains(r.q.Classes, e.Class) {
		return connector.Stored{}, false
	}
	return connector.Stored{Event: e, Place: placeOf(at.Stream, at.Sequence.Stream), At: at.Timestamp}, true
}

// placeOf names a message's place in a stream.
func placeOf(stream string, sequence uint64) string {
	return fmt.Sprintf("%s#%d", stream, sequence)
}

// A stretch is a part of the stream of messages.
type stretch struct {
	filters []string
	start   uint64    // sequence; 0 means by time
	since   time.Time // of the first message, if start is 0
	end     uint64    // sequence behind the last
	follow  bool      // wait for what comes: there is no end
	headers bool      // bodies are not wanted
	batch   int       // messages to ask for at once
}

// errGap says that a message was lost on its way to us.
var errGap = errors.New("a message was lost on the way from the stream")

// walk calls see for each message of a stretch, in order. It ends with an error
// of see, or when one of the messages did not arrive.
func (b *Bus) walk(ctx context.Context, s stretch, see func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	config := jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       s.start,
		FilterSubjects:    s.filters,
		AckPolicy:         jetstream.AckNonePolicy,
		HeadersOnly:       s.headers,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: 30 * time.Second,
	}
	if s.start == 0 {
		config.DeliverPolicy, config.OptStartSeq, config.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &s.since
	}
	creating, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	cons, err := b.js.CreateConsumer(creating, b.cfg.Stream, config)
	if err != nil {
		return b.apiError(err)
	}
	info := cons.CachedInfo()
	defer func() {
		// It would end by itself, but until then counts against limits.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := b.js.DeleteConsumer(ctx, b.cfg.Stream, info.Name); err != nil {
			b.log.Debug("consumer not deleted", "consumer", info.Name, "error", err)
		}
	}()
	w := walker{stretch: s, cons: cons, see: see, pending: info.NumPending}
	for w.pending > 0 || s.follow {
		if err := w.fetch(ctx); err != nil {
			return err
		}
	}
	return nil
}

// A walker reads one stretch through one consumer.
type walker struct {
	stretch
	cons    jetstream.Consumer
	see     func(jetstream.Msg, *jetstream.MsgMetadata) error
	got     uint64 // messages so far
	pending uint64 // messages to come, or more
}

// fetch reads one batch.
func (w *walker) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	want := w.batch
	if !w.follow {
		want = int(min(w.pending, uint64(w.batch)))
	}
	batch, err := w.cons.Fetch(want, jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	before := w.got
	for m := range batch.Messages() {
		at, err := m.Metadata()
		if err != nil {
			return err
		}
		if w.got++; at.Sequence.Consumer != w.got {
			return errGap
		}
		if w.end > 0 && at.Sequence.Stream >= w.end {
			w.pending = 0
			return nil
		}
		w.pending = at.NumPending
		if err := w.see(m, at); err != nil {
			return err
		}
	}
	if err := batch.Error(); err != nil {
		return err
	}
	if w.got > before || w.follow {
		return nil
	}
	// They may have been removed meanwhile.
	info, err := w.cons.Info(ctx)
	if err != nil {
		return err
	}
	if w.pending = info.NumPending; w.pending > 0 {
		return errors.New("the stream sent nothing though it has messages")
	}
	return nil
}

// ended returns why ctx ended, or is about to: a deadline may have passed before
// its timer noticed.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return context.Cause(ctx)
}

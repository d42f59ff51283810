package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	kafka "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
)

const (
	// A connection that was idle for longer is not used again: brokers and what
	// lies before them hang up on idle connections, four minutes being the
	// shortest limit in use (Azure), ten the broker's own.
	maxIdle = 3 * time.Minute

	// Leaders move. A layout older than this is asked for again.
	layoutAge = 5 * time.Minute
)

// A wire carries requests to the brokers they are for. It is the transport of a
// [kafka.Client] in place of kafka-go's own, which answers from a cache that
// cannot be refreshed, lets a cancelled request keep its connection until the
// broker answers, and asks for metadata every few seconds for ever. This one
// owns no goroutine, ends a request when its context ends, and forgets what it
// knows of the cluster whenever something fails. It is safe for concurrent use.
type wire struct {
	dialer *dialer
	topics []string // whose layout is asked for

	mu         sync.Mutex
	bootstrap  []string
	idle       map[string][]parked // by address
	live       map[*link]struct{}
	apis       map[protocol.ApiKey]bool
	layout     protocol.Cluster
	layoutTime time.Time              // zero = unknown
	missing    map[string]kafka.Error // why topics are not in the layout
	coords     map[coordinatorKey]string
	closed     bool
}

type parked struct {
	link  *link
	since time.Time
}

type coordinatorKey struct {
	name string
	kind int8
}

// Kinds of coordinator in FindCoordinator requests.
const (
	groupCoordinator int8 = 0
	txnCoordinator   int8 = 1
)

var errWireClosed = errors.New("the connection to the cluster is closed")

func newWire(d *dialer, bootstrap, topics []string) *wire {
	return &wire{
		dialer: d, bootstrap: bootstrap, topics: topics,
		idle: map[string][]parked{}, live: map[*link]struct{}{}, coords: map[coordinatorKey]string{},
		missing: map[string]kafka.Error{},
	}
}

// RoundTrip implements [kafka.RoundTripper]. The address is ignored: the wire
// knows its cluster. No request of ours is for several brokers.
func (w *wire) RoundTrip(ctx context.Context, _ net.Addr, req kafka.Request) (kafka.Response, error) {
	res, err := w.send(ctx, req)
	if err != nil {
		w.forget()
	}
	return res, err
}

func (w *wire) send(ctx context.Context, req protocol.Message) (protocol.Message, error) {
	switch m := req.(type) {
	case protocol.BrokerMessage:
		layout, err := w.cluster(ctx)
		if err != nil {
			return nil, err
		}
		broker, err := m.Broker(layout)
		if err != nil {
			return nil, w.withTopicCause(err)
		}
		if broker.Host == "" {
			return nil, kafka.LeaderNotAvailable
		}
		return w.exchange(ctx, brokerAddr(broker.Host, broker.Port), req)
	case protocol.GroupMessage:
		return w.coordinated(ctx, coordinatorKey{m.Group(), groupCoordinator}, req)
	case protocol.TransactionalMessage:
		if m.Transaction() != "" {
			return w.coordinated(ctx, coordinatorKey{m.Transaction(), txnCoordinator}, req)
		}
	}
	return w.anyBroker(ctx, req)
}

// exchange sends req to one broker.
func (w *wire) exchange(ctx context.Context, addr string, req protocol.Message) (protocol.Message, error) {
	l, err := w.take(ctx, addr)
	if err != nil {
		return nil, err
	}
	return w.roundTrip(ctx, l, req)
}

// roundTrip sends req on l. A connection that broke while it was idle is replaced
// without a word; not for events, whose sender must know that they were sent twice.
func (w *wire) roundTrip(ctx context.Context, l *link, req protocol.Message) (protocol.Message, error) {
	for {
		res, err := l.roundTrip(ctx, req)
		if err == nil {
			w.park(l)
			return res, nil
		}
		w.drop(l)
		if !l.rested || !isClosed(err) || ctx.Err() != nil || req.ApiKey() == protocol.Produce {
			return nil, err
		}
		if l, err = w.take(ctx, l.addr); err != nil {
			return nil, err
		}
	}
}

// anyBroker sends req to the first broker that can be connected to. Once a
// request is on its way no other broker is tried.
func (w *wire) anyBroker(ctx context.Context, req protocol.Message) (protocol.Message, error) {
	var errs []error
	for _, addr := range w.candidates() {
		l, err := w.take(ctx, addr)
		if err == nil {
			res, err := w.roundTrip(ctx, l, req)
			if err == nil {
				return res, nil
			}
			return nil, errors.Join(append(errs, err)...)
		}
		errs = append(errs, err)
		var auth *authError
		if ctx.Err() != nil || errors.As(err, &auth) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// candidates lists addresses to reach the cluster by: those with an idle
// connection first, then the configured ones, then the brokers last seen.
func (w *wire) candidates() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	seen := map[string]bool{}
	add := func(addr string) {
		if !seen[addr] {
			seen[addr] = true
			out = append(out, addr)
		}
	}
	for addr, links := range w.idle {
		if len(links) > 0 {
			add(addr)
		}
	}
	for _, addr := range w.bootstrap {
		add(addr)
	}
	for _, b := range w.layout.Brokers {
		add(brokerAddr(b.Host, b.Port))
	}
	return out
}

func (w *wire) coordinated(ctx context.Context, key coordinatorKey, req protocol.Message) (protocol.Message, error) {
	w.mu.Lock()
	addr := w.coords[key]
	w.mu.Unlock()
	if addr == "" {
		var err error
		if addr, err = w.findCoordinator(ctx, key); err != nil {
			return nil, err
		}
	}
	return w.exchange(ctx, addr, req)
}

// findCoordinator asks which broker coordinates a group or a transactional id.
func (w *wire) findCoordinator(ctx context.Context, key coordinatorKey) (string, error) {
	m, err := w.anyBroker(ctx, &findcoordinator.Request{Key: key.name, KeyType: key.kind})
	if err != nil {
		return "", err
	}
	res := m.(*findcoordinator.Response)
	if res.ErrorCode != 0 {
		return "", fmt.Errorf("find coordinator: %w", kafka.Error(res.ErrorCode))
	}
	addr := brokerAddr(res.Host, res.Port)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.coords[key] = addr
	return addr, nil
}

// forget drops what is known of leaders and coordinators, so that the next
// request asks for it. Brokers' addresses are kept: they are ways in.
func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.layoutTime = time.Time{}
	clear(w.coords)
}

// supports tells whether the last broker connected to offers api.
func (w *wire) supports(api protocol.ApiKey) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.apis[api]
}

func (w *wire) take(ctx context.Context, addr string) (*link, error) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil, errWireClosed
	}
	var stale []*link
	links := w.idle[addr]
	for len(links) > 0 {
		p := links[len(links)-1]
		links = links[:len(links)-1]
		w.idle[addr] = links
		if time.Since(p.since) < maxIdle && (p.link.until.IsZero() || time.Now().Before(p.link.until)) {
			w.mu.Unlock()
			w.dropAll(stale)
			p.link.rested = true
			return p.link, nil
		}
		stale = append(stale, p.link)
	}
	w.mu.Unlock()
	w.dropAll(stale)

	l, err := w.dialer.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		l.close()
		return nil, errWireClosed
	}
	w.live[l] = struct{}{}
	w.apis = l.apis
	return l, nil
}

func (w *wire) park(l *link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || l.spent {
		l.close()
		delete(w.live, l)
		return
	}
	w.idle[l.addr] = append(w.idle[l.addr], parked{l, time.Now()})
}

func (w *wire) drop(l *link) {
	l.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.live, l)
}

func (w *wire) dropAll(links []*link) {
	for _, l := range links {
		w.drop(l)
	}
}

// close ends every connection and every request on one.
func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for l := range w.live {
		l.close()
	}
	clear(w.live)
	clear(w.idle)
}

func brokerAddr(host string, port int32) string {
	return net.JoinHostPort(host, fmt.Sprint(port))
}

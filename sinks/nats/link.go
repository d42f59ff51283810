package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// errNotConnected says that the connection is down at the moment.
var errNotConnected = errors.New("not connected to NATS")

// A link is what is known about the connection: whether it is up, and if not,
// why. It logs the first failure, each change of it, and the recovery.
type link struct {
	cfg     Config
	log     *slog.Logger
	onState func(connected bool, reason string, err error)

	mu       sync.Mutex
	up       bool
	opened   bool             // was up before: a failure is news, and so is a recovery
	closed   bool             // for good, by us
	lost     chan struct{}    // closed when the connection is lost
	err      error            // why it is not up
	logged   string           // the failure last logged
	failures int              // attempts since it was lost
	denied   map[string]error // subjects of this connection, by text
	forbid   chan struct{}    // gets a token when a subject is denied

	conn atomic.Pointer[nats.Conn] // once it was made
}

func newLink(c Config, log *slog.Logger, onState func(bool, string, error)) *link {
	if onState == nil {
		onState = func(bool, string, error) {}
	}
	return &link{
		cfg: c, log: log, onState: onState,
		lost: make(chan struct{}), err: errNotConnected,
		denied: map[string]error{}, forbid: make(chan struct{}, 1),
	}
}

func (l *link) state() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up {
		return nil
	}
	return l.err
}

// session returns a channel that is closed when the connection of this moment
// is lost.
func (l *link) session() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// while returns a context that ends with ctx, or when the connection of this
// moment is lost: a request that is under way then would wait in vain.
func (l *link) while(ctx context.Context) (context.Context, context.CancelFunc) {
	lost := l.session()
	during, cancel := context.WithCancelCause(ctx)
	finished := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-lost:
			cancel(errNotConnected)
		case <-finished:
		case <-during.Done():
		}
	})
	return during, func() {
		close(finished)
		watch.Wait()
		cancel(nil)
	}
}

func (l *link) connected() {
	l.mu.Lock()
	again, failures := l.opened, l.failures
	l.up, l.opened, l.err, l.logged, l.failures = true, true, nil, "", 0
	clear(l.denied)
	l.mu.Unlock()
	if again {
		l.log.Info("connection to nats restored", "url", l.cfg.address(), "attempts", failures+1)
	}
	l.onState(true, "connected", nil)
}

// disconnected is called once for each connection that is lost.
func (l *link) disconnected(err error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.up = false
	close(l.lost)
	l.lost = make(chan struct{})
	l.mu.Unlock()
	if err == nil {
		err = errors.New("closed by request")
	}
	l.trouble("disconnected", fmt.Errorf("%w: %w", errNotConnected, err))
}

// failed is called for each attempt to connect that failed.
func (l *link) failed(err error) {
	if err == nil || errors.Is(err, nats.ErrConnectionClosed) {
		return
	}
	l.mu.Lock()
	l.failures++
	l.mu.Unlock()
	reason := "unreachable"
	if refused(err) {
		reason = "refused"
	}
	l.trouble(reason, fmt.Errorf("%w: %w", errNotConnected, l.cfg.explain(err)))
}

func (l *link) trouble(reason string, err error) {
	l.mu.Lock()
	if l.up || l.closed {
		l.mu.Unlock()
		return
	}
	news := l.logged != err.Error()
	l.err, l.logged = err, err.Error()
	l.mu.Unlock()
	if news {
		l.log.Warn("connection to nats is down", "reason", reason, "error", err, "url", l.cfg.address())
		l.onState(false, reason, err)
	}
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed, l.up, l.err = true, false, fmt.Errorf("%w: closed", errNotConnected)
	close(l.lost)
	l.onState(false, "closed", nil)
}

// deny notes that the server forbade a subject; it says so in a message of its
// own and leaves the request without an answer.
func (l *link) deny(err error) {
	l.mu.Lock()
	_, known := l.denied[err.Error()]
	l.denied[err.Error()] = err
	l.mu.Unlock()
	if !known {
		l.log.Warn("nats denied a subject", "error", err)
	}
	select {
	case l.forbid <- struct{}{}:
	default:
	}
}

// denial returns the error with which the server forbade the use of subject, or
// nil. With "" it returns any.
func (l *link) denial(subject string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for text, err := range l.denied {
		if strings.Contains(text, `"`+subject+`"`) || subject == "" {
			return err
		}
	}
	return nil
}

package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/pushover-connector/pushover-connector/connector"
)

// errNotConnected says that the connection is down at the moment.
var errNotConnected = errors.New("not connected to NATS")

// A link is what is known about the connection: whether it is up, and if not,
// why. It reports both to the health of the bus.
type link struct {
	log      *slog.Logger
	activity *connector.Activity
	remedy   string // for a server that is gone

	mu      sync.Mutex
	up      bool
	closed  bool               // for good, by us
	ready   chan struct{}      // closed while the connection is up
	lost    chan struct{}      // closed when the connection is lost
	why     *connector.Failure // why it is not up
	planned *connector.Failure // why we are about to end it ourselves
	denied  map[string]error   // subjects of this connection, by text
	forbid  chan struct{}      // gets a token when a subject is denied

	conn atomic.Pointer[nats.Conn] // once it was made
}

func newLink(b *Bus) *link {
	return &link{
		log: b.log, activity: b.opts.Health.Activity(connector.PartBus), remedy: b.cfg.serverRemedy(),
		ready: make(chan struct{}), lost: make(chan struct{}),
		why:    &connector.Failure{Reason: connector.ReasonStarting, Detail: "connecting to " + b.cfg.address()},
		denied: map[string]error{}, forbid: make(chan struct{}, 1),
	}
}

func (l *link) state() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up {
		return nil
	}
	return fmt.Errorf("%w: %w", errNotConnected, l.why)
}

// session returns a channel that is closed when the connection of this moment
// is lost.
func (l *link) session() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// await waits until the connection is up. It returns false if ctx ends before.
func (l *link) await(ctx context.Context) bool {
	l.mu.Lock()
	ready := l.ready
	l.mu.Unlock()
	select {
	case <-ready:
		return true
	case <-ctx.Done():
		return false
	}
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
			cancel(cmp.Or(l.state(), errNotConnected))
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
	if !l.up && !l.closed {
		close(l.ready)
	}
	l.up, l.planned = true, nil
	clear(l.denied)
	l.mu.Unlock()
	l.activity.OK()
}

// plan says why the connection is going to be ended by this side.
func (l *link) plan(why *connector.Failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.planned = why
}

// disconnected is called once for each connection that is lost.
func (l *link) disconnected(err error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	if l.up {
		l.ready = make(chan struct{})
	}
	why := l.planned
	if why == nil {
		why = &connector.Failure{Reason: connector.ReasonBusUnreachable, Detail: "the connection was lost", Remedy: l.remedy}
		if err != nil {
			why.Detail, why.Err = fmt.Sprintf("the connection was lost: %v", err), err
		}
	}
	l.up, l.planned, l.why = false, nil, why
	close(l.lost)
	l.lost = make(chan struct{})
	l.mu.Unlock()
	l.activity.Failed(why, time.Now().Add(minReconnect))
}

// failed is called for each attempt to connect that failed.
func (l *link) failed(why *connector.Failure, next time.Time) {
	l.mu.Lock()
	if l.up || l.closed {
		l.mu.Unlock()
		return
	}
	l.why = why
	l.mu.Unlock()
	l.activity.Failed(why, next)
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed, l.up = true, false
	l.why = &connector.Failure{Reason: connector.ReasonBusUnreachable, Detail: "closed"}
	close(l.lost)
	l.activity.End()
}

// deny notes that the server forbade a subject; it says so in a message of its
// own and leaves the request without an answer.
func (l *link) deny(err error) {
	text := err.Error()
	l.mu.Lock()
	_, known := l.denied[text]
	l.denied[text] = denialOf(err)
	l.mu.Unlock()
	if !known {
		l.log.Warn("subject denied", "error", err)
	}
	select {
	case l.forbid <- struct{}{}:
	default:
	}
}

// denialOf names the permission that is missing.
func denialOf(err error) error {
	action, subject := "publish to", ""
	if strings.Contains(err.Error(), "Subscription") {
		action = "subscribe to"
	}
	if _, quoted, ok := strings.Cut(err.Error(), `"`); ok {
		subject, _, _ = strings.Cut(quoted, `"`)
	}
	return &connector.Failure{
		Reason: connector.ReasonBusAuth, Detail: err.Error(), Err: err,
		Remedy: fmt.Sprintf("permit this user to %s %s", action, subject),
	}
}

// denial returns the error with which the server forbade the use of subject, or
// nil. With "" it returns any, and with a subject that ends in a dot that of one that
// begins so.
func (l *link) denial(subject string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := `"`
	if strings.HasSuffix(subject, ".") {
		end = ""
	}
	for text, err := range l.denied {
		if subject == "" || strings.Contains(text, `"`+subject+end) {
			return err
		}
	}
	return nil
}

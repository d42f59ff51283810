package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pushover-connector/pushover-connector/connector"
)

// Options say how a [Bus] is to be opened. The zero value is an ordinary one
// for an external server.
type Options struct {
	// Mode is the CloudEvents content mode of what is published.
	Mode connector.Mode

	// StoreDir is where the embedded server keeps its streams. It is needed if
	// Config.URL is empty, unless ReadOnly or Attach is set.
	StoreDir string

	// ReadOnly creates nothing: no stream, no directory, no embedded server. If
	// Config.URL is empty, it connects to a server on Config.Listen if one is
	// there; if not, the Bus is for [Bus.Checks] and [Bus.Durability] alone, which
	// speak of the embedded server as it would be started. A stream that is
	// missing is left to Checks.
	ReadOnly bool

	// Attach connects to the embedded server of another process, on
	// Config.Listen, if Config.URL is empty, and does not look at the streams. It
	// is for a command that talks to a running connector.
	Attach bool

	// Name is how the server lists the connection. Empty means
	// "pushover-connector".
	Name string

	// Logger gets what is worth a line and is not a matter of health. Nil discards.
	Logger *slog.Logger

	// Health gets the state of the connection and the streams, of the commands, and
	// of the embedded server's store, unless ReadOnly or Attach is set. Nil is
	// allowed.
	Health *connector.Health

	// OnDuplicate gets the number of events of a batch that the stream already held.
	// It must not block. Nil is allowed.
	OnDuplicate func(n int)
}

// A Bus is a connection to NATS with its two streams. Its methods are safe for
// concurrent use. It must be closed.
type Bus struct {
	cfg  Config
	opts Options
	log  *slog.Logger

	server *embedded  // nil for an external one
	nc     *nats.Conn // nil if ReadOnly and the embedded server is not started yet
	js     jetstream.JetStream
	link   *link
	pub    *publisher

	streams  *connector.Activity // looking at the stream of messages
	commands *connector.Activity // receiving commands

	opened atomic.Bool // both streams were there

	stop  context.CancelFunc // ends the background work
	tasks sync.WaitGroup
}

var (
	_ connector.Sink     = (*Bus)(nil)
	_ connector.Verifier = (*Bus)(nil)
	_ connector.Reader   = (*Bus)(nil)
)

// Open starts the embedded server if there is to be one, connects, and verifies
// the streams or creates them. It waits until ctx ends for a server that cannot
// be reached and for a JetStream without a leader, and returns at once when the
// server refuses the login or a certificate, or when a stream does not fit. Errors
// name the variable to change.
func Open(ctx context.Context, c Config, o Options) (*Bus, error) {
	c = c.withDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Name == "" {
		o.Name = "pushover-connector"
	}
	if o.ReadOnly || o.Attach {
		o.Health = nil
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	b := &Bus{
		cfg: c, opts: o, log: o.Logger, stop: stop,
		streams: o.Health.Activity(connector.PartBus), commands: o.Health.Activity(connector.PartCommands),
	}
	b.link = newLink(b)
	if err := b.open(ctx, background); err != nil {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		return nil, errors.Join(err, b.Close(closing))
	}
	return b, nil
}

// closeTimeout is how long a server that was started may take to stop when Open
// fails after all.
const closeTimeout = 5 * time.Second

func (b *Bus) open(ctx, background context.Context) error {
	if b.cfg.URL == "" && !b.opts.ReadOnly && !b.opts.Attach {
		if b.opts.StoreDir == "" {
			return errNoStore
		}
		server, err := startEmbedded(ctx, b.cfg, b.opts, b.log)
		if err != nil {
			return err
		}
		b.server = server
		b.tasks.Go(func() { b.tendStore(background) })
	}
	watch := b.watchFiles() // from before they are read
	nc, err := b.connect(ctx)
	if err != nil && b.opts.ReadOnly && b.cfg.URL == "" && ctx.Err() == nil && unreachable(err) {
		return nil
	}
	if err != nil {
		return err
	}
	b.nc = nc
	if b.js, err = jetstream.NewWithAPIPrefix(nc, b.cfg.api(), jetstream.WithDefaultTimeout(apiTimeout)); err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	if b.pub, err = newPublisher(b); err != nil {
		return err
	}
	b.tasks.Go(func() { watch(background) })
	if b.opts.ReadOnly || b.opts.Attach {
		return nil
	}
	info, err := b.ensureStreams(ctx)
	if err != nil {
		return b.classify(err)
	}
	b.opened.Store(true)
	b.pub.stream.Store(info)
	b.pub.session = b.link.session()
	b.streams.OK()
	b.tasks.Go(func() { b.watchStreams(background) })
	return nil
}

// URL returns the address that clients of the bus connect to, without secrets.
func (b *Bus) URL() string {
	if b.server != nil {
		return b.server.url()
	}
	return b.cfg.address()
}

// address is that of the server, or of the servers, external or embedded.
func (c Config) address() string {
	if c.URL != "" {
		return c.URL
	}
	return "nats://" + c.Listen
}

// api is the subject prefix of the JetStream API.
func (c Config) api() string {
	if c.JSDomain != "" {
		return "$JS." + c.JSDomain + ".API"
	}
	return cmp.Or(c.JsAPIPrefix, defaultAPI)
}

// Connected returns nil while the connection is up, and otherwise why it is not.
func (b *Bus) Connected() error { return b.link.state() }

// Close ends the connection and stops the embedded server. It is to be called
// when no other method is running any more; a second call does nothing. If ctx
// ends before the server has stopped, Close returns its error, and the server
// stops by itself.
func (b *Bus) Close(ctx context.Context) error {
	b.stop()
	b.tasks.Wait()
	b.link.close()
	b.streams.End()
	b.commands.End()
	if b.nc != nil {
		b.nc.Close()
	}
	server := b.server
	if server == nil {
		return nil
	}
	stopped := make(chan error, 1)
	go func() { stopped <- server.close() }()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		return fmt.Errorf("stop the embedded NATS server: %w", ctx.Err())
	}
}

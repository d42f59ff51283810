package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/pushover-connector/pushover-connector/connector"
)

// maxPayload is what the embedded server takes in one message: room for an
// event or a command of a mebibyte and its headers.
const maxPayload = 2 << 20

// listenTimeout is how long the embedded server may take to listen once it has
// recovered its streams.
const listenTimeout = 30 * time.Second

// errNoStore says that there is no place for the embedded server's streams.
var errNoStore = errors.New("DATA_DIR: is needed for the embedded NATS server")

// embeddedName is what the embedded server calls itself. Clients tell by it that
// each write is synced.
const embeddedName = "pushover-connector-embedded"

// An embedded is a NATS server inside this process, with JetStream on disk. It
// syncs every write to the disk before it confirms it.
type embedded struct {
	dir      string
	options  natsserver.Options
	lock     *os.File
	log      *serverLog
	activity *connector.Activity
	failed   chan struct{} // gets a token when the store fails

	mu      sync.Mutex
	srv     *natsserver.Server // nil while it is restarted
	address string             // for clients
	failure *connector.Failure // of the store
	closed  bool               // or will be, by the goroutine that starts it
}

// startEmbedded starts a server on c.Listen that keeps its streams under
// o.StoreDir. The directory is locked: two servers on one store would destroy it.
func startEmbedded(ctx context.Context, c Config, o Options, log *slog.Logger) (*embedded, error) {
	host, portText, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("NATS_LISTEN: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("NATS_LISTEN: %w", err)
	}
	if err := portFree(ctx, c.Listen); err != nil {
		return nil, err
	}
	if port == 0 {
		port = natsserver.RANDOM_PORT
	}
	token, password, err := c.secrets()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.StoreDir, 0o700); err != nil {
		return nil, fmt.Errorf("DATA_DIR: create the store of the embedded NATS server: %w", err)
	}
	lock, err := lockStore(o.StoreDir)
	if err != nil {
		return nil, err
	}
	e := &embedded{
		dir: o.StoreDir, lock: lock, activity: o.Health.Activity(connector.PartStore), failed: make(chan struct{}, 1),
		options: natsserver.Options{
			ServerName:    embeddedName,
			Host:          host,
			Port:          port,
			Username:      c.User,
			Password:      password,
			Authorization: token,
			JetStream:     true,
			StoreDir:      o.StoreDir,
			SyncAlways:    true,
			MaxPayload:    maxPayload,
			NoSigs:        true,
		},
	}
	e.log = &serverLog{log: log, storeFailed: func(text string) { e.fail(connector.ReasonUnexpected, text) }}
	if err := e.start(ctx); err != nil {
		e.activity.End()
		if ctx.Err() == nil {
			err = errors.Join(err, e.close())
		}
		return nil, err
	}
	e.activity.OK()
	return e, nil
}

// start starts the server on the store. Recovering a large store takes long and
// cannot be interrupted: if ctx ends meanwhile, start returns, and the server is
// closed once it has started.
func (e *embedded) start(ctx context.Context) error {
	options := e.options // the server changes it
	srv, err := natsserver.NewServer(&options)
	if err != nil {
		return fmt.Errorf("configure the embedded NATS server: %w", err)
	}
	srv.SetLoggerV2(e.log, false, false, false)
	ready := make(chan bool)
	go func() {
		srv.Start()
		ok := srv.JetStreamEnabled() && srv.ReadyForConnections(listenTimeout)
		select {
		case ready <- ok:
		case <-ctx.Done():
			stop(srv)
			_ = e.lock.Close() // it ends with the process either way
		}
	}()
	select {
	case <-ctx.Done():
		e.mu.Lock()
		e.closed = true
		e.mu.Unlock()
		return fmt.Errorf("start the embedded NATS server on the store in %s: %w", e.dir, ctx.Err())
	case ok := <-ready:
		if !ok {
			stop(srv)
			return fmt.Errorf("the embedded NATS server did not start on %s with its store in %s: %s",
				net.JoinHostPort(options.Host, strconv.Itoa(options.Port)), e.dir, e.log.lastFailure())
		}
	}
	if addr, ok := srv.Addr().(*net.TCPAddr); ok {
		e.options.Port = addr.Port // the same when it is started again
	}
	address := srv.ClientURL()
	e.mu.Lock() // and under it no call to the server, which may be calling fail
	defer e.mu.Unlock()
	e.srv, e.address = srv, address
	return nil
}

// stop stops a server and waits until it is stopped.
func stop(srv *natsserver.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

// InProcessConn implements [nats.InProcessConnProvider] for whichever server runs
// at the moment.
func (e *embedded) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	srv := e.srv
	e.mu.Unlock()
	if srv == nil {
		return nil, errors.New("the embedded server is not running")
	}
	return srv.InProcessConn()
}

func (e *embedded) url() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.address
}

// close stops the server, waits until it is stopped, and releases the store. A
// second call does nothing.
func (e *embedded) close() error {
	e.activity.End()
	e.mu.Lock()
	srv, closed := e.srv, e.closed
	e.srv, e.closed = nil, true
	e.mu.Unlock()
	if closed {
		return nil
	}
	if srv != nil {
		stop(srv)
	}
	return e.lock.Close()
}

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

// lockStore locks the store, which has to be there, for one server.
func lockStore(dir string) (*os.File, error) {
	lock, err := lockFile(lockPath(dir))
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("DATA_DIR: %s is in use by another process; stop it, or set another DATA_DIR", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("DATA_DIR: lock the store of the embedded NATS server: %w", err)
	}
	return lock, nil
}

// portFree fails, naming the variable, if the address cannot be listened on.
// The server itself only logs it.
func portFree(ctx context.Context, addr string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("NATS_LISTEN: %w; stop what uses the address, choose another, or set NATS_URL to use the server that is there", err)
	}
	return l.Close()
}

// secrets returns the token and the password, read from their files now.
func (c Config) secrets() (token, password string, err error) {
	token, password = c.Token.Reveal(), c.Password.Reveal()
	if c.TokenFile != "" {
		if token, err = readSecret("NATS_TOKEN_FILE", c.TokenFile); err != nil {
			return "", "", err
		}
	}
	if c.PasswordFile != "" {
		if password, err = readSecret("NATS_PASSWORD_FILE", c.PasswordFile); err != nil {
			return "", "", err
		}
	}
	return token, password, nil
}

// readSecret reads a file whose only line is a secret.
func readSecret(variable, path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", variable, err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// serverLog passes on what the embedded server logs: notices as debug, since
// they speak of the server's own start and stop, and what concerns the store too,
// since it is reported as its health.
type serverLog struct {
	log         *slog.Logger
	storeFailed func(text string)

	mu   sync.Mutex
	last string // the last error, for one that keeps the server from starting
}

// storeErrors are parts of the texts with which the server logs that its store
// cannot be written. For a file system error it has no other sign: the publisher
// gets no answer.
var storeErrors = []string{"ritical write error", "failed to store a msg", "no space left on device", "disabling JetStream", "will be DISABLED"}

func (l *serverLog) write(level slog.Level, format string, v []any) {
	text := fmt.Sprintf(format, v...)
	if level >= slog.LevelError {
		l.mu.Lock()
		l.last = text
		l.mu.Unlock()
	}
	if level >= slog.LevelWarn && slices.ContainsFunc(storeErrors, func(s string) bool { return strings.Contains(text, s) }) {
		l.storeFailed(text)
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, "embedded NATS server", "text", text)
}

func (l *serverLog) lastFailure() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == "" {
		return "not ready in time"
	}
	return l.last
}

func (l *serverLog) Noticef(format string, v ...any) { l.write(slog.LevelDebug, format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { l.write(slog.LevelWarn, format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.write(slog.LevelError, format, v) }
func (l *serverLog) Fatalf(format string, v ...any)  { l.write(slog.LevelError, format, v) }
func (l *serverLog) Debugf(string, ...any)           {}
func (l *serverLog) Tracef(string, ...any)           {}

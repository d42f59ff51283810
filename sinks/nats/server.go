package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// maxPayload is what the embedded server takes in one message: room for an
// event or a command of a mebibyte and its headers.
const maxPayload = 2 << 20

// listenTimeout is how long the embedded server may take to listen once it has
// recovered its streams.
const listenTimeout = 30 * time.Second

// errNoStore says that there is no place for the embedded server's streams.
var errNoStore = errors.New("DATA_DIR: is needed for the embedded NATS server")

// An embedded is a NATS server inside this process, with JetStream on disk. It
// syncs every write to the disk before it confirms it.
type embedded struct {
	srv  *natsserver.Server
	lock *os.File
}

// startEmbedded starts a server on c.Listen that keeps its streams under dir.
// The directory is locked: two servers on one store would destroy it.
func startEmbedded(ctx context.Context, c Config, dir string, log *slog.Logger) (*embedded, error) {
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
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("DATA_DIR: create the store of the embedded NATS server: %w", err)
	}
	lock, err := lockStore(dir)
	if err != nil {
		return nil, err
	}
	e := &embedded{lock: lock}
	srv, err := natsserver.NewServer(&natsserver.Options{
		ServerName:    "pushover-connector",
		Host:          host,
		Port:          port,
		Username:      c.User,
		Password:      password,
		Authorization: token,
		JetStream:     true,
		StoreDir:      dir,
		SyncAlways:    true,
		MaxPayload:    maxPayload,
		NoSigs:        true,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("configure the embedded NATS server: %w", err), e.lock.Close())
	}
	logged := &serverLog{log: log}
	srv.SetLoggerV2(logged, false, false, false)
	e.srv = srv
	ready := make(chan bool)
	go e.start(ctx, ready)
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("start the embedded NATS server on the store in %s: %w", dir, ctx.Err())
	case ok := <-ready:
		if !ok {
			err := fmt.Errorf("embedded NATS server did not start on %s with its store in %s: %s", c.Listen, dir, logged.lastFailure())
			return nil, errors.Join(err, e.close())
		}
		return e, nil
	}
}

// start says whether the server is ready. Recovering a large store takes long
// and cannot be interrupted: if ctx has ended meanwhile, nobody waits any more,
// and the server is stopped here.
func (e *embedded) start(ctx context.Context, ready chan<- bool) {
	e.srv.Start()
	ok := e.srv.JetStreamEnabled() && e.srv.ReadyForConnections(listenTimeout)
	select {
	case ready <- ok:
	case <-ctx.Done():
		_ = e.close() // only the file of the lock, which ends with it either way
	}
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

// close stops the server, waits until it is stopped, and releases the store.
func (e *embedded) close() error {
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
	return e.lock.Close()
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
// they speak of the server's own start and stop.
type serverLog struct {
	log *slog.Logger

	mu   sync.Mutex
	last string // the last error, for one that keeps the server from starting
}

func (l *serverLog) write(level slog.Level, format string, v []any) {
	text := fmt.Sprintf(format, v...)
	if level >= slog.LevelError {
		l.mu.Lock()
		l.last = text
		l.mu.Unlock()
	}
	switch {
	case level >= slog.LevelError:
		l.log.Error("embedded nats server", "text", text)
	case level >= slog.LevelWarn:
		l.log.Warn("embedded nats server", "text", text)
	default:
		l.log.Debug("embedded nats server", "text", text)
	}
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

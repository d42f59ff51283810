package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/pushover-connector/pushover-connector/pushover/pushovertest"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// run serves until ctx ends. Standard output gets one line, the description
// of the service as JSON, once it answers; everything else goes to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parse(args, stdout, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "pushover-sim:", err)
		_, _ = fmt.Fprintln(stderr, "Run pushover-sim -help for its use.")
		return exitUsage
	}
	if err := serve(ctx, c, stdout, stderr); err != nil {
		_, _ = fmt.Fprintln(stderr, "pushover-sim:", err)
		return exitError
	}
	return exitOK
}

func serve(ctx context.Context, c config, stdout, stderr io.Writer) (err error) {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: c.level}))
	c.options.Logger = log
	s := pushovertest.New(c.options)
	if err := s.StartOn(c.listen, c.tlsListen); err != nil {
		return err
	}
	defer s.Close()
	if c.tlsListen != "" {
		remove, err := publishCA(s, c.caFile)
		if err != nil {
			return err
		}
		defer remove()
	}
	if err := json.NewEncoder(stdout).Encode(s.Describe(s.Account())); err != nil {
		return fmt.Errorf("print description: %w", err)
	}
	log.Info("serving", "listen", s.APIURL(), "tls_listen", s.TLSAddr())
	<-ctx.Done()
	log.Info("stopping", "violations", len(s.Violations()))
	return nil
}

// publishCA writes the authority's certificate. Without a path it goes to a
// directory of its own, which the returned function removes.
func publishCA(s *pushovertest.Server, path string) (remove func(), err error) {
	remove = func() {}
	if path == "" {
		dir, err := os.MkdirTemp("", "pushover-sim-")
		if err != nil {
			return nil, fmt.Errorf("directory for the CA file: %w", err)
		}
		remove = func() { _ = os.RemoveAll(dir) } // left to the system's cleaning
		path = filepath.Join(dir, "ca.pem")
	}
	if path, err = filepath.Abs(path); err != nil {
		remove()
		return nil, fmt.Errorf("-ca-file: %w", err)
	}
	if err := writeFile(path, s.CAPEM()); err != nil {
		remove()
		return nil, fmt.Errorf("-ca-file: %w", err)
	}
	s.SetCAFile(path)
	return remove, nil
}

// writeFile replaces a file atomically: a reader sees the old content or the
// new and never a part.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error is the one to report
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	return nil
}

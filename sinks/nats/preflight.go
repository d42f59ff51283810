package nats

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pushover-connector/pushover-connector/connector"
)

// checksBeforeStart tell whether the embedded server could be started.
func (b *Bus) checksBeforeStart(ctx context.Context) []connector.Check {
	return []connector.Check{
		{Name: "nats embedded server", Detail: "will be started on " + b.cfg.Listen, Err: portFree(ctx, b.cfg.Listen)},
		{Name: "nats store", Detail: b.opts.StoreDir, Err: storeUsable(b.opts.StoreDir)},
	}
}

// durabilityBeforeStart grades the stream that the embedded server would create.
func (b *Bus) durabilityBeforeStart() connector.Durability {
	d := grade(b.needs()[0].config, true)
	d.Facts = append(d.Facts, "embedded server not running, graded as it creates its stream")
	return d
}

// storeUsable checks that the embedded server could keep its store in dir, which
// need not be there yet. It leaves nothing behind.
func storeUsable(dir string) error {
	if dir == "" {
		return errNoStore
	}
	at := dir
	info, err := os.Stat(at)
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(at) != at {
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	switch {
	case err != nil:
		return fmt.Errorf("DATA_DIR: look at the store of the embedded NATS server: %w", err)
	case !info.IsDir():
		return fmt.Errorf("DATA_DIR: %s is not a directory", at)
	}
	if err := writable(at); err != nil {
		return fmt.Errorf("DATA_DIR: write to %s: %w", at, err)
	}
	if _, err := os.Stat(lockPath(dir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := lockStore(dir)
	if err != nil {
		return err
	}
	return lock.Close()
}

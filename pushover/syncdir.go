//go:build !windows

package pushover

import (
	"errors"
	"fmt"
	"os"
)

// syncDir makes the rename of a file in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) // #nosec G304 -- the path is the caller's choice
	if err != nil {
		return fmt.Errorf("save credentials: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("save credentials: sync directory: %w", err)
	}
	return nil
}

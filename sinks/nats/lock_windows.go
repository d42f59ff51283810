package nats

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// errLocked says that another process, or another server in this one, holds the
// lock.
var errLocked = errors.New("locked")

// lockFile takes an exclusive lock that ends with the process, however that
// ends, or when the file is closed.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		err = errLocked
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// writable takes every directory for one in which this user can create files: only
// the attempt would tell.
func writable(string) error { return nil }

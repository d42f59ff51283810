//go:build darwin || dragonfly || freebsd || linux

package nats

import "golang.org/x/sys/unix"

// freeBytes returns the space that is free for this user on the volume of dir,
// and whether it is known.
func freeBytes(dir string) (uint64, bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return uint64(max(0, s.Bavail)) * uint64(s.Bsize), true //nolint:unconvert // the fields' types differ by system
}

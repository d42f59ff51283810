package pushover

// syncDir does nothing: Windows has no way to sync a directory, and NTFS keeps a
// journal of its renames.
func syncDir(string) error { return nil }

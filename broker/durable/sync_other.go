//go:build !linux

package durable

import "os"

// syncFile makes the content durable. On macOS os.File.Sync asks for
// F_FULLFSYNC: fsync(2) there leaves it in the drive's own cache.
func syncFile(f *os.File) error { return f.Sync() }

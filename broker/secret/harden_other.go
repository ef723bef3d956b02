//go:build unix && !linux

package secret

// keepIn does nothing: macOS has no dumpable flag.
func keepIn() error { return nil }

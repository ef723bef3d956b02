//go:build unix && !linux

package secret

// keepOut does nothing: macOS has no such advice, and RLIMIT_CORE is 0.
func keepOut([]byte) {}

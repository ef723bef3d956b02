package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Jitter returns how much later than the others a secret is started: from 0 up
// to, not including, window, in whole seconds, and the same each time. key is
// the secret's name with something of the machine, so that machines with the
// same config do not ask a service at once either.
func Jitter(key string, window time.Duration) time.Duration {
	seconds := uint64(max(window, 0) / time.Second)
	if seconds == 0 {
		return 0
	}
	sum := sha256.Sum256([]byte(key))
	return time.Duration(binary.BigEndian.Uint64(sum[:])%seconds) * time.Second
}

// spread is the window over which what waited so long is started: an hour after
// a night, an afternoon after a weekend.
func spread(waited time.Duration) time.Duration {
	return min(max(waited/8, minSpread), maxSpread)
}

const (
	minSpread = 10 * time.Minute
	maxSpread = 4 * time.Hour
)

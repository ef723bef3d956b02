package providers

import "time"

// Version is what is known of one version of a secret besides its value.
type Version struct {
	Number  uint64
	ID      string            // what the service calls it; see [Credential]
	Facts   map[string]string // see [Credential]
	Created time.Time
	Expires time.Time // zero: never, or not known
	Ended   bool      // its service was told to end it with none in its place, and it is not to be used
}

//go:build !linux && !darwin

package clock

import "time"

// sinceBoot refuses: without a clock that counts through sleep no lease can be
// bounded.
func sinceBoot() time.Duration { panic("clock: this system is not supported") }

func readBootID() string { return "" }

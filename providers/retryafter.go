package providers

import (
	"net/http"
	"strconv"
	"time"
)

// LongestWait bounds what a service asks to wait for: more is a mistake.
const LongestWait = 24 * time.Hour

// RetryAfter reads how long a service asks to wait, 0 when it does not say. A
// date is measured by the service's own clock, which came with the answer.
func RetryAfter(h http.Header) time.Duration {
	says := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(says, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, LongestWait)
	}
	until, err := http.ParseTime(says)
	now, noDate := http.ParseTime(h.Get("Date"))
	if err != nil || noDate != nil {
		return 0
	}
	return min(max(until.Sub(now), 0), LongestWait)
}

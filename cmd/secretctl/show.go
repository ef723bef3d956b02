package main

import (
	"strings"

	"secretctl/broker/audit"
)

// maxShown is the longest text shown in one place, in bytes. A sanity check.
const maxShown = 4 << 10

// shown returns text as a terminal may have it, on one line: what does not
// print is spelled out as [audit.Sanitise] does. Quotes and backslashes, which
// only the log has no use for, stay.
func shown(s string) string {
	s = strings.ReplaceAll(s, "\n", "; ")
	var b strings.Builder
	for len(s) > 0 && b.Len() < maxShown {
		at := strings.IndexAny(s, `"\`)
		if at < 0 {
			at = len(s)
		}
		b.WriteString(audit.Sanitise(s[:at], maxShown))
		if at < len(s) {
			b.WriteByte(s[at])
			at++
		}
		s = s[at:]
	}
	return b.String()
}

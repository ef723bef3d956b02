package secret

import (
	"errors"
	"fmt"
	"strings"
)

// Name is the name of a secret, in its one canonical form. Only [ParseName]
// makes one from outside text, so a Name in hand has been checked.
type Name string

// MaxName is the longest name, in bytes. Names become paths and JSON; the limit
// keeps a vault path below every file system's own.
const MaxName = 128

// ownPrefix begins the names of the broker's own credentials.
const ownPrefix = "own/"

// ParseName checks a name: segments `[a-z0-9][a-z0-9-]*([.][a-z0-9-]+)*` joined
// by single slashes, at most [MaxName] bytes. Anything else is refused rather
// than mended, so that two spellings never mean one secret.
func ParseName(s string) (Name, error) {
	switch {
	case s == "":
		return "", errors.New("a name is needed, such as openai/api-key")
	case len(s) > MaxName:
		return "", fmt.Errorf("name %.20q… is %d bytes long; at most %d", s, len(s), MaxName)
	}
	for segment := range strings.SplitSeq(s, "/") {
		if why := badSegment(segment); why != "" {
			return "", fmt.Errorf("name %q: %s; names are lower-case words, digits, - and . joined by /", s, why)
		}
	}
	return Name(s), nil
}

// badSegment says what is wrong with one segment, or nothing.
func badSegment(s string) string {
	if s == "" {
		return "it has an empty part"
	}
	if s[0] == '-' || s[0] == '.' {
		return fmt.Sprintf("the part %q begins with %q", s, s[:1])
	}
	for i, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-':
		case c == '.' && i+1 < len(s) && s[i+1] != '.':
		case c == '.':
			return fmt.Sprintf("the part %q has a dot that nothing follows", s)
		default:
			return fmt.Sprintf("it has %q", c)
		}
	}
	return ""
}

// Own reports whether the name is of a credential of the broker's own, which
// is nobody's lease.
func (n Name) Own() bool { return strings.HasPrefix(string(n), ownPrefix) }

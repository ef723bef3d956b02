package grant

import (
	"fmt"
	"slices"
	"strings"

	"secretctl/broker/secret"
)

// Malformed is a word of a rule that cannot be read. Problem says what is
// wrong with it, Remedy what would be right.
type Malformed struct {
	Problem, Remedy string
}

// Error returns the problem without the remedy.
func (m *Malformed) Error() string { return m.Problem }

// malformed makes a [Malformed] whose problem is formatted.
func malformed(remedy, format string, args ...any) error {
	return &Malformed{Problem: fmt.Sprintf(format, args...), Remedy: remedy}
}

// Door is a way a credential is used.
type Door string

// The doors, in the order of how much the agent ends up holding, most first.
const (
	DoorValue  Door = "value"  // the agent gets the value
	DoorMint   Door = "mint"   // it gets a short-lived child credential
	DoorInject Door = "inject" // it uses the credential and never sees it
	DoorSign   Door = "sign"   // it has something signed
)

var doors = []Door{DoorValue, DoorMint, DoorInject, DoorSign}

// ParseDoor reads the name of a door. The error is a [*Malformed].
func ParseDoor(s string) (Door, error) {
	if slices.Contains(doors, Door(s)) {
		return Door(s), nil
	}
	return "", malformed("a door is value, mint, inject or sign", "unknown door %q", s)
}

// Pattern is the name of one secret, or the beginning of names followed by
// "*". It comes from [ParsePattern]; any other, the empty one included, may
// match nothing.
type Pattern string

// patternForm is what a pattern may look like, for hints.
const patternForm = `a pattern is a name, "openai/api-key", or the beginning of names and a *, "openai/*"`

// ParsePattern reads a pattern. It refuses "*" alone, a "*" anywhere but at the
// end, what is not the beginning of any name, and what could match only names
// of the broker's own. The error is a [*Malformed].
func ParsePattern(s string) (Pattern, error) {
	prefix, wild := strings.CutSuffix(s, "*")
	switch {
	case s == "*":
		return "", malformed(`name the secrets, or a group of them: "openai/*"`, `pattern "*" would grant every secret`)
	case strings.Contains(prefix, "*"):
		return "", malformed(patternForm, "pattern %q has a * before its end", s)
	}
	name, err := secret.ParseName(s)
	if wild {
		name, err = extend(prefix)
	}
	if err != nil {
		return "", malformed(patternForm, "pattern %q can match no name", s)
	}
	if name.Own() {
		return "", malformed("remove it: names under own/ are the broker's own credentials and are never handed out",
			"pattern %q names a secret of the broker's own", s)
	}
	return Pattern(s), nil
}

// extend returns a name that begins with prefix, or why there is none. Wherever
// the grammar of names allows another byte it allows an "a", so one try
// decides; only a prefix as long as a name may be is tried as it stands.
func extend(prefix string) (secret.Name, error) {
	if name, err := secret.ParseName(prefix + "a"); err == nil {
		return name, nil
	}
	return secret.ParseName(prefix)
}

// Match reports whether the pattern covers the name. Names of the broker's own
// are covered by none.
func (p Pattern) Match(name secret.Name) bool {
	if name.Own() {
		return false
	}
	if prefix, wild := strings.CutSuffix(string(p), "*"); wild {
		return prefix != "" && strings.HasPrefix(string(name), prefix)
	}
	return p != "" && string(p) == string(name)
}

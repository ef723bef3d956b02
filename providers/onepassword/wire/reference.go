package wire

import (
	"fmt"
	"strings"
)

// Reference is where a secret lies in 1Password: op://Vault/Item/Field, or with a
// section before the field. Each part is a name or an ID.
type Reference struct {
	Vault, Item string
	Section     string // "": whatever section the field is in
	Field       string
}

// referenceRemedy is what a right one looks like.
const referenceRemedy = `ref = "op://Agents/github/token", or "op://Agents/github/section/token"; 1Password shows it: Copy Secret Reference`

// ParseReference reads one, or says what is wrong with it and what would be right.
func ParseReference(text string) (ref Reference, problem, remedy string) {
	path, ok := strings.CutPrefix(text, "op://")
	if !ok {
		return ref, fmt.Sprintf("%q is no reference of 1Password's", text), referenceRemedy
	}
	if _, attribute, ok := strings.Cut(path, "?"); ok {
		if strings.HasPrefix(attribute, "attribute=otp") || strings.HasPrefix(attribute, "attribute=totp") {
			return ref, "a one-time password is another one every 30 seconds, so no lease on it is worth anything",
				"remove it: who needs such a password needs its seed, which is the field without ?attribute"
		}
		return ref, "a reference with an attribute is not supported", "name the field alone: " + referenceRemedy
	}
	parts := strings.Split(path, "/")
	for _, p := range parts {
		switch {
		case strings.TrimSpace(p) != p || p == "":
			return ref, fmt.Sprintf("reference %q has a part that is empty, or has space at an end", text), referenceRemedy
		case strings.Trim(p, namable) != "":
			return ref, fmt.Sprintf("reference %q has a name with something else in it than letters, digits, space, dots, hyphens and underscores", text),
				"give its ID instead of the name: op item get NAME --format json shows it"
		}
	}
	switch len(parts) {
	case 3:
		return Reference{Vault: parts[0], Item: parts[1], Field: parts[2]}, "", ""
	case 4:
		return Reference{Vault: parts[0], Item: parts[1], Section: parts[2], Field: parts[3]}, "", ""
	}
	return ref, fmt.Sprintf("reference %q does not name a vault, an item and a field", text), referenceRemedy
}

// namable is what a part may be made of, as documented at
// https://developer.1password.com/docs/cli/secret-reference-syntax
const namable = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_. "

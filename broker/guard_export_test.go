package broker

import (
	"bufio"
	"strings"
)

// NamedIn reports whether sudoers with this text name the user.
func NamedIn(text, name string, uid uint32) bool {
	return namedIn(bufio.NewScanner(strings.NewReader(text)), name, uid)
}

package shape

import (
	"bytes"
	"strings"
)

// keywords are what the name of a secret holds. A name is read around each.
var keywords = []string{
	"password", "passwd", "passphrase", "pass_", "_pass", "pwd", "secret", "token", "credential", "apikey", "api_key", "api-key",
	"accesskey", "access_key", "access-key",
	"account_key", "accountkey", "privatekey", "private_key", "encryption_key", "signing_key", "master_key", "masterkey",
	"auth_key", "authkey", "shared_key", "sharedaccesskey",
	"license_key", "session_key", "service_key", "jwt_key", "app_key", "appkey", "admin_key", "deploy_key",
}

// assignments returns the rules for NAME = value. They differ in what they say.
func assignments() []Rule {
	return []Rule{
		{ID: "password-assignment", What: "password", literals: keywords, fold: true, vague: 2,
			find: func(b []byte, at int) (int, int, bool) { return assignment(b, at, true) }},
		{ID: "secret-assignment", What: "key, token or secret", literals: keywords, fold: true, vague: 2,
			find: func(b []byte, at int) (int, int, bool) { return assignment(b, at, false) }},
	}
}

// The longest name and value of an assignment, in bytes.
const (
	maxName  = 80
	maxValue = 512
)

// assignment finds the value that a name with a keyword at a place is given:
// name = value, "name": "value", --name value, <name>value</name>.
func assignment(b []byte, at int, chosen bool) (start, end int, ok bool) {
	left, right := at, at
	for left > 0 && at-left < maxName && isName(b[left-1]) {
		left--
	}
	for right < len(b) && right-at < maxName && isName(b[right]) {
		right++
	}
	a, ok := assigned(b, left, right)
	if !ok {
		return 0, 0, false
	}
	isChosen, ok := secretName(string(b[left:right]))
	if !ok || isChosen != chosen {
		return 0, 0, false
	}
	return a.start, a.end, a.strong(b[a.start:a.end], chosen)
}

func isName(c byte) bool { return isWord(c) || c == '-' || c == '.' }

// given is a value and how it is written.
type given struct {
	start, end int
	quoted     bool
	tight      bool // no space between name and value, as in a file of variables
}

// assigned reads what stands behind a name.
func assigned(b []byte, left, right int) (g given, ok bool) {
	i := right
	quotedName := false
	if i < len(b) && b[i] == '\\' {
		i++
	}
	if i < len(b) && (b[i] == '"' || b[i] == '\'' || b[i] == '`') {
		quotedName = true
		i++
	}
	if i < len(b) && b[i] == ']' {
		i++
	}
	after := i
	i = blank(b, i)
	if i >= len(b) {
		return g, false
	}
	flag := left >= 2 && b[left-1] == '-' || left < right && b[left] == '-'
	switch c := b[i]; {
	case c == '=' && (i+1 == len(b) || b[i+1] != '=' && b[i+1] != '~'):
		i++
		if i < len(b) && b[i] == '>' {
			i++
		}
	case c == ':' && (i+1 == len(b) || b[i+1] != ':'):
		i++
		if i < len(b) && b[i] == '=' {
			i++
		}
	case c == ',' && quotedName:
		i++
	case c == '>' && left > 0 && b[left-1] == '<':
		i++
	case flag && i > after && !quotedName:
	default:
		return g, false
	}
	value := blank(b, i)
	argument := b[i-1] == ',' // of a call, and then it is quoted
	g.tight = after == right+btoi(quotedName) && value == i && (i == after+1 || flag)
	if value >= len(b) {
		return g, false
	}
	g, ok = g.read(b, value)
	return g, ok && (g.quoted || !argument)
}

func btoi(v bool) int {
	if v {
		return 1
	}
	return 0
}

// blank returns where the blanks from a place on end. There are few.
func blank(b []byte, i int) int {
	for n := 0; n < 32 && i < len(b) && (b[i] == ' ' || b[i] == '\t'); n++ {
		i++
	}
	return i
}

// read finds where a value that begins at a place ends.
func (g given) read(b []byte, at int) (given, bool) {
	quote := b[at]
	escaped := quote == '\\' && at+1 < len(b) && (b[at+1] == '"' || b[at+1] == '\'')
	if escaped {
		at++
		quote = b[at]
	}
	rest := b[at:min(len(b), at+maxValue+2)]
	if g.quoted = quote == '"' || quote == '\'' || quote == '`'; g.quoted {
		g.start = at + 1
		n := bytes.IndexByte(rest[1:], quote)
		if n < 0 || bytes.IndexByte(rest[1:1+n], '\n') >= 0 {
			return g, false
		}
		if escaped && n > 0 && rest[n] == '\\' {
			n--
		}
		g.end = g.start + n
		return g, n > 0
	}
	g.start = at
	n := bytes.IndexFunc(rest, func(r rune) bool { return r <= ' ' || r == 0x7f })
	if n < 0 {
		n = len(rest)
	}
	if k := bytes.IndexAny(rest[:n], "\"'`;,&<>\\"); k >= 0 {
		n = k
	}
	g.end = at + n
	return g, n > 0
}

// strong reports whether a value is one that was made to be secret.
func (g given) strong(v []byte, chosen bool) bool {
	if len(v) < 8 || reference(v) || location(v) {
		return false
	}
	if !g.written(v, chosen) {
		return false
	}
	if !mixed(v) || number(v) {
		return false
	}
	entropy := Entropy(v)
	if jumpy(v) {
		if entropy < 2.5 || len(v) >= 12 && entropy < 3 {
			return false
		}
	} else if !chosen || !g.quoted && !g.tight || !upper(v) || !bytes.ContainsAny(v, "!@#$%^&*+=?~") || entropy < 2.8 {
		// Not words with a number and a sign either, as people choose them.
		return false
	}
	return !weak(v) && !placeholder(v)
}

// written reports whether a value is of the characters that secrets have, and not
// a piece of a program: keys come in few alphabets, passwords in all but that.
func (g given) written(v []byte, chosen bool) bool {
	if g.quoted && bytes.IndexByte([]byte(",;:)]}?"), v[0]) >= 0 { // the quote has ended something
		return false
	}
	for _, c := range v {
		switch {
		case isAlnum(c):
		case c <= ' ' || c >= 0x7f:
			return false
		case !chosen && strings.IndexByte("_-+/=.~:!@#%&*^", c) < 0:
			return false
		case !g.quoted && strings.IndexByte("()[]{}|", c) >= 0:
			return false
		}
	}
	return !bytes.ContainsAny(v, "(") || !bytes.ContainsAny(v, ")")
}

// number reports whether v is a number as programs write it.
func number(v []byte) bool {
	v = bytes.TrimLeft(v, "+-")
	return bytes.HasPrefix(bytes.ToLower(v), []byte("0x")) && len(v) <= len("0x")+16
}

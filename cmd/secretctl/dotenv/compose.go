package dotenv

import (
	"bytes"
	"strconv"
	"unicode"
	"unicode/utf8"
)

var (
	composeExport = lazily(`^export\s+`)
	composeEscape = lazily(`\\(?:[abcfnrtv$"\\]|0\d{0,3})`)
	// composeVariable is the pattern of compose-go's template package: $$, $NAME,
	// ${NAME}, ${NAME:-default} and its like, or a brace that is none of these.
	composeVariable = lazily(`\$(?i:(\$)|([_a-z][_a-z0-9]*)|{(?:([_a-z][_a-z0-9]*)(:?[-+?].*)?}|()))`)
)

// readCompose reads as compose-go's dotenv package does.
func readCompose(b []byte) (found []assignment, refused int) {
	at := 0
	if bytes.HasPrefix(b, bom) {
		at = len(bom)
	}
	for {
		if at = statement(b, at); at == len(b) {
			return found, -1
		}
		key, next, inherited, ok := composeKey(b, at)
		if !ok {
			return found, at
		}
		if at = next; inherited {
			continue
		}
		var a assignment
		if a, next, ok = composeValue(b, at); !ok {
			return found, at
		}
		a.key = key
		if !a.expand(b, found) {
			return found, at
		}
		found = append(found, a)
		at = next
	}
}

// composeKey reads up to the value. A key that a line ends after has the value
// that it has in the environment.
func composeKey(b []byte, at int) (key Span, next int, inherited, ok bool) {
	if composeExport().Match(b[at:]) {
		at = skipWhile(b, at+len("export"), isBlank)
	}
	if at == len(b) {
		return key, at, false, false
	}
	key = Span{at, at}
	next = at // a file that ends within a key is all value
	for i := at; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == '=' || r == ':' || r == '\n' {
			key.End, next, inherited = i, i+n, r == '\n'
			break
		}
		if !isBlank(r) && !unicode.IsLetter(r) && !unicode.IsNumber(r) && bytes.IndexByte([]byte("_.-[]"), b[i]) < 0 {
			return key, i, false, false
		}
		i += n
	}
	key = trimmedEnd(b, key, unicode.IsSpace)
	return key, skipWhile(b, next, isBlank), inherited, bytes.IndexByte(key.of(b), ' ') < 0
}

// composeValue reads a value, with its quotes and escapes undone but $ as it is.
func composeValue(b []byte, at int) (a assignment, next int, ok bool) {
	if at == len(b) || b[at] != '"' && b[at] != '\'' {
		end := lineEnd(b, at)
		a.raw = Span{at, end}
		if n := bytes.Index(a.raw.of(b), []byte(" #")); n >= 0 {
			a.raw.End = at + n
		}
		a.raw = trimmedEnd(b, a.raw, unicode.IsSpace)
		a.value = bytes.Clone(a.raw.of(b))
		return a, min(end+1, len(b)), true
	}
	a.quote = b[at]
	a.raw.Start = at + 1
	escaped := false
	for i := at + 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == a.quote && !escaped:
			a.raw.End = i
			if a.quote == '"' {
				a.value = composeEscape().ReplaceAllFunc(a.value, unescaped)
			}
			return a, i + 1, true
		case c == a.quote:
			escaped = false
			a.value = append(a.value, c)
		case c == '\\' && !escaped:
			escaped = true
		case escaped:
			escaped = false
			a.value = append(a.value, '\\', c)
		default:
			a.value = append(a.value, c)
		}
	}
	return a, at, false
}

// unescaped is what one escape of a double-quoted value stands for.
func unescaped(escape []byte) []byte {
	if escape[1] == '$' {
		return []byte("$$")
	}
	if escape[1] == '0' {
		escape = append([]byte{'\\'}, escape[2:]...)
	}
	r, _, _, err := strconv.UnquoteChar(string(escape), '"') // a character, not a value
	if err != nil {
		return escape
	}
	return utf8.AppendRune(nil, r)
}

// expand replaces $$ by $, which is all that does not depend on other variables.
// It reports whether compose-go would go on with the file.
func (a *assignment) expand(b []byte, before []assignment) (ok bool) {
	if a.quote == '\'' {
		return true
	}
	for _, m := range composeVariable().FindAllSubmatchIndex(a.value, -1) {
		braced, operator := m[6] >= 0, m[8] >= 0
		switch {
		case m[10] >= 0:
			return false // a brace that is not closed
		case braced && operator && bytes.HasPrefix(bytes.TrimPrefix(a.value[m[8]:m[9]], []byte(":")), []byte("?")) &&
			!assigned(b, before, a.value[m[6]:m[7]]):
			return false // a variable that must be set, and is not
		case m[2] < 0:
			a.open = true
		}
	}
	if !a.open {
		a.value = bytes.ReplaceAll(a.value, []byte("$$"), []byte("$"))
	}
	return true
}

func assigned(b []byte, before []assignment, key []byte) bool {
	for _, a := range before {
		if bytes.Equal(a.key.of(b), key) {
			return true
		}
	}
	return false
}

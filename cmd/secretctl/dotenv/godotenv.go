package dotenv

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

var (
	godotenvEscape   = lazily(`\\.`)
	godotenvUnescape = lazily(`\\([^$])`)
	godotenvVariable = lazily(`(\\)?\$\(?\{?([A-Z0-9_]+)?\}?`)
)

// readGodotenv reads as github.com/joho/godotenv does.
func readGodotenv(b []byte) (found []assignment, refused int) {
	t := withLF(b, false)
	defer t.clear()
	at := 0
	for {
		if at = statement(t.b, at); at == len(t.b) {
			return found, -1
		}
		key, next, ok := godotenvKey(t.b, at)
		if !ok {
			return found, t.span(next, next).Start
		}
		at = next
		a, next, ok := godotenvValue(t.b, at)
		if !ok {
			return found, t.span(at, at).Start
		}
		a.key, a.raw = t.span(key.Start, key.End), t.span(a.raw.Start, a.raw.End)
		found = append(found, a)
		at = next
	}
}

// godotenvKey reads up to the value. It looks at bytes, as godotenv does.
func godotenvKey(b []byte, at int) (key Span, next int, ok bool) {
	if rest, is := bytes.CutPrefix(b[at:], []byte("export")); is {
		if n := skipWhile(rest, 0, isBlank); n > 0 {
			at += len("export") + n
		}
	}
	if at == len(b) {
		return key, at, false
	}
	key = Span{at, at}
	next = at // a file that ends within a key is all value
	for i := at; i < len(b); i++ {
		c := rune(b[i])
		if c == '=' || c == ':' {
			key.End, next = i, i+1
			break
		}
		if !isBlank(c) && c != '_' && c != '.' && !unicode.IsLetter(c) && !unicode.IsNumber(c) {
			return key, i, false
		}
	}
	return trimmedEnd(b, key, unicode.IsSpace), skipWhile(b, next, isBlank), true
}

func godotenvValue(b []byte, at int) (a assignment, next int, ok bool) {
	if at == len(b) || b[at] != '"' && b[at] != '\'' {
		end := len(b)
		if n := bytes.IndexAny(b[at:], "\r\n"); n >= 0 {
			end = at + n
		}
		a.raw = trimmedEnd(b, Span{at, godotenvComment(b, at, end)}, isBlank)
		a.value = bytes.Clone(a.raw.of(b))
		a.open = !utf8.Valid(a.value) // each byte that is no UTF-8 becomes U+FFFD
		a.expandUpper()
		return a, end, true
	}
	a.quote = b[at]
	for i := at + 1; i < len(b); i++ {
		if b[i] != a.quote || b[i-1] == '\\' {
			continue
		}
		a.raw = Span{at + 1, i}
		a.value = bytes.Clone(bytes.Trim(b[at:i], string(rune(a.quote))))
		if a.quote == '"' {
			a.value = godotenvEscape().ReplaceAllFunc(a.value, func(escape []byte) []byte {
				switch escape[1] {
				case 'n':
					return []byte{'\n'}
				case 'r':
					return []byte{'\r'}
				}
				return escape
			})
			a.value = godotenvUnescape().ReplaceAll(a.value, []byte("$1"))
			a.expandUpper()
		}
		return a, i + 1, true
	}
	return a, at, false
}

// godotenvComment returns where a line's value ends: at the last # that follows
// a blank, or at the end.
func godotenvComment(b []byte, at, end int) int {
	for i := end - 1; i > at; i-- {
		if b[i] == '#' {
			if r, _ := utf8.DecodeLastRune(b[at:i]); isBlank(r) {
				return i
			}
		}
	}
	return end
}

// expandUpper undoes \$. A $ before capitals, digits and _ depends on other
// variables, any other is a $.
func (a *assignment) expandUpper() {
	a.value = godotenvVariable().ReplaceAllFunc(a.value, func(match []byte) []byte {
		m := godotenvVariable().FindSubmatch(match)
		switch {
		case len(m[1]) > 0:
			return match[1:]
		case len(m[2]) > 0:
			a.open = true
		}
		return match
	})
}

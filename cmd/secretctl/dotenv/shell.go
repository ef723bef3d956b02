package dotenv

import (
	"bytes"
	"slices"
)

// readShell reads as sh and bash do when they source a file that assigns and
// exports. It knows words, quotes and comments. It does not know what commands
// do: whatever would be run, expanded or redirected leaves an assignment open, and
// so does all that follows a compound command. A quote or an expansion without an
// end is refused.
func readShell(b []byte) (found []assignment, refused int) {
	s := script{b: b}
	for s.at < len(b) {
		start := s.at
		words, ok := s.command()
		if !ok {
			return found, start
		}
		found = append(found, s.assignments(words)...)
	}
	for i := range found {
		found[i].open = found[i].open || s.appended[string(found[i].key.of(b))]
	}
	return found, -1
}

// script is a shell's way through a file.
type script struct {
	b        []byte
	at       int
	lost     bool            // what follows may be a part of a larger command
	appended map[string]bool // the names that NAME+= is said of, which only bash knows
}

// word is one word of a command, or an operator.
type word struct {
	assignment
	begin    int
	equals   int  // where the = of an assignment is, 0: it is none
	plain    bool // nothing in it is quoted or expanded
	globs    bool // it has an unquoted character that a pattern or a brace is made of
	operator bool // a list, a pipe, a redirection or a parenthesis
}

// command reads a command and what ends it.
func (s *script) command() (words []word, ok bool) {
	for {
		s.blank()
		if s.at == len(s.b) {
			return words, true
		}
		switch s.b[s.at] {
		case '\n', ';':
			s.at++
			return words, true
		case '#':
			s.at = lineEnd(s.b, s.at)
		case '&', '|', '<', '>', '(', ')':
			words = append(words, word{operator: true})
			s.lost = s.lost || s.b[s.at] == '(' || s.b[s.at] == ')'
			s.at++
		default:
			w, ok := s.word()
			if !ok {
				return nil, false
			}
			words = append(words, w)
		}
	}
}

// assignments returns those of a command. Before another command they would hold
// for that one alone. With operators it is not for this reader to say what takes
// effect.
func (s *script) assignments(words []word) (found []assignment) {
	open := slices.ContainsFunc(words, func(w word) bool { return w.operator })
	declares := false
	for i, w := range words {
		var name []byte // of a command, or what would be one
		if w.plain && !w.operator {
			name = s.b[w.begin:w.raw.End]
		}
		key, _, appends := bytes.Cut(name, []byte("+="))
		switch {
		case w.operator, i > 0 && declares && w.equals == 0:
		case w.equals > 0:
			w.open = w.open || open || s.lost || declares && w.globs
			found = append(found, w.assignment)
		case i == 0 && (string(name) == "export" || string(name) == "readonly"):
			declares = true
		case appends && isName(key):
			if s.appended == nil {
				s.appended = make(map[string]bool)
			}
			s.appended[string(key)] = true
		default:
			s.lost = s.lost || reserved[string(name)]
			if !open {
				return nil
			}
		}
	}
	return found
}

// reserved are the words that a command begins with that is a part of a larger
// one.
var reserved = map[string]bool{
	"!": true, "{": true, "}": true, "[[": true, "case": true, "do": true, "done": true, "elif": true, "else": true, "esac": true, "fi": true,
	"for": true, "function": true, "if": true, "in": true, "select": true, "then": true, "time": true, "until": true, "while": true,
}

// blank skips what separates words.
func (s *script) blank() {
	for s.at < len(s.b) && (s.b[s.at] == ' ' || s.b[s.at] == '\t' || s.continued()) {
		if s.continued() {
			s.at++
		}
		s.at++
	}
}

// continued reports whether a line goes on behind its end.
func (s *script) continued() bool { return bytes.HasPrefix(s.b[s.at:], []byte("\\\n")) }

// word reads up to an unquoted blank, line end or operator.
func (s *script) word() (w word, ok bool) {
	w.begin, w.plain = s.at, true
	w.raw.Start = s.at
	for s.at < len(s.b) {
		c := s.b[s.at]
		switch {
		case bytes.IndexByte([]byte(" \t\n;&|<>()"), c) >= 0:
			s.finish(&w)
			return w, true
		case c == '=' && w.equals == 0 && w.plain && isName(s.b[w.begin:s.at]):
			w.equals, w.key = s.at, Span{w.begin, s.at}
			w.raw.Start = s.at + 1
			clear(w.value)
			w.value = w.value[:0]
			s.at++
			continue
		case c == '~' && (s.at == w.raw.Start || s.b[s.at-1] == ':'):
			w.open = true
		case bytes.IndexByte([]byte("*?[{"), c) >= 0:
			w.globs = true
		}
		if !s.piece(&w) {
			return w, false
		}
	}
	s.finish(&w)
	return w, true
}

// finish says where the value of a word is written: between quotes only where
// all of it is between one pair.
func (s *script) finish(w *word) {
	w.raw.End = s.at
	if raw := w.raw.of(s.b); w.equals > 0 && quoted(raw) && raw[0] != '`' && onePair(raw) {
		w.quote = raw[0]
		w.raw = Span{w.raw.Start + 1, w.raw.End - 1}
	}
}

// onePair reports whether the quote that a word begins with ends at its end.
func onePair(raw []byte) bool {
	for i := 1; i < len(raw); i++ {
		switch {
		case raw[i] == '\\' && raw[0] == '"':
			i++
		case raw[i] == raw[0]:
			return i == len(raw)-1
		}
	}
	return false
}

// piece reads a character, an escape, or what is between quotes.
func (s *script) piece(w *word) bool {
	c := s.b[s.at]
	if c == '\\' || c == '\'' || c == '"' || c == '$' || c == '`' {
		w.plain = false
	}
	switch c {
	case '\\':
		if s.continued() {
			s.at += 2
			return true
		}
		if s.at++; s.at == len(s.b) {
			w.value = append(w.value, '\\')
			return true
		}
		w.value = append(w.value, s.b[s.at])
	case '\'':
		n := bytes.IndexByte(s.b[s.at+1:], '\'')
		if n < 0 {
			return false
		}
		w.value = append(w.value, s.b[s.at+1:s.at+1+n]...)
		s.at += n + 1
	case '"':
		return s.double(w)
	case '$', '`':
		return s.dollar(w, false)
	default:
		w.value = append(w.value, c)
	}
	s.at++
	return true
}

// double reads what is between double quotes.
func (s *script) double(w *word) bool {
	for s.at++; s.at < len(s.b); {
		switch c := s.b[s.at]; {
		case c == '"':
			s.at++
			return true
		case s.continued():
			s.at += 2
		case c == '\\' && s.at+1 < len(s.b) && bytes.IndexByte([]byte("$`\"\\"), s.b[s.at+1]) >= 0:
			w.value = append(w.value, s.b[s.at+1])
			s.at += 2
		case c == '$' || c == '`':
			if !s.dollar(w, true) {
				return false
			}
		default:
			w.value = append(w.value, c)
			s.at++
		}
	}
	return false
}

// dollar reads a $ or a backquote. What either begins is skipped, to where it
// ends: quotes in it are its own.
func (s *script) dollar(w *word, quoted bool) bool {
	if s.b[s.at] == '`' {
		w.open = true
		return s.skip('`')
	}
	s.at++
	next := byte(0)
	if s.at < len(s.b) {
		next = s.b[s.at]
	}
	switch {
	case next == '{':
		w.open = true
		rest := s.b[s.at+1:]
		return len(rest) > 0 && rest[0] != '}' && s.skip('}')
	case next == '(':
		w.open = true
		return s.skip(')')
	case isName([]byte{next}), next >= '0' && next <= '9', next != 0 && bytes.IndexByte([]byte("@*#?-$!"), next) >= 0:
		w.open = true
		s.at++
	case !quoted && (next == '\'' || next == '"'):
		w.open = true // bash has quotes of these kinds, sh has not
	default:
		w.value = append(w.value, '$')
	}
	return true
}

// skip goes on behind the next unescaped end of an expansion. One in another is
// not followed: the word is open anyway.
func (s *script) skip(end byte) bool {
	depth, begin := 0, s.b[s.at]
	for s.at++; s.at < len(s.b); s.at++ {
		switch c := s.b[s.at]; {
		case c == '\\':
			s.at++
		case c == end && depth == 0:
			s.at++
			return true
		case c == end:
			depth--
		case c == begin:
			depth++
		}
	}
	return false
}

// isName reports whether a shell can have a variable of that name.
func isName(b []byte) bool {
	for i, c := range b {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return len(b) > 0
}

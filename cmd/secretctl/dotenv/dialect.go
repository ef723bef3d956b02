package dotenv

import (
	"bytes"
	"regexp"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Dialect names one reader of .env files, as people call it.
type Dialect string

// The dialects.
const (
	Motdotla Dialect = "motdotla dotenv"   // npm's dotenv, 16 to 18, and what copies its regular expression
	Compose  Dialect = "docker compose"    // env_file and .env; compose-go v2
	Godotenv Dialect = "godotenv"          // github.com/joho/godotenv 1.5
	Docker   Dialect = "docker --env-file" // docker run; podman's is the same
	Shell    Dialect = "shell"             // set -a; . FILE, in sh and bash alike
)

// others are the dialects besides motdotla's, in the order in which they are
// asked where a value is written.
var others = [...]struct {
	name Dialect
	read reader
}{{Compose, readCompose}, {Godotenv, readGodotenv}, {Shell, readShell}, {Docker, readDocker}}

// Dialects returns all of them, the one that is believed first.
func Dialects() []Dialect {
	all := []Dialect{Motdotla}
	for _, d := range others {
		all = append(all, d.name)
	}
	return all
}

// reader reads a file as one dialect does in an empty environment. refused is
// where that dialect gives up on the whole file, or -1.
type reader func(b []byte) (found []assignment, refused int)

// assignment is a KEY=value as a dialect reads it.
type assignment struct {
	key   Span
	raw   Span // what is written between the quotes, if there are any
	quote byte
	value []byte // never a part of the file
	open  bool   // the value depends on other variables, or on what a program prints
}

// Span is a part of a file: the bytes from Start up to End.
type Span struct{ Start, End int }

func (s Span) of(b []byte) []byte { return b[s.Start:s.End] }

// bom is the byte order mark of UTF-8.
var bom = []byte("\ufeff")

// text is a file with other line ends, and where each byte came from.
type text struct {
	b  []byte
	at []int // nil: b is the file itself
}

// withLF makes a line end of \r\n and, where alone says so, of \r.
func withLF(b []byte, alone bool) text {
	if bytes.IndexByte(b, '\r') < 0 {
		return text{b: b}
	}
	t := text{make([]byte, 0, len(b)), make([]int, 0, len(b)+1)}
	for i := 0; i < len(b); i++ {
		c, at := b[i], i
		if c == '\r' {
			pair := i+1 < len(b) && b[i+1] == '\n'
			if pair || alone {
				c = '\n'
			}
			if pair {
				i++
			}
		}
		t.b, t.at = append(t.b, c), append(t.at, at)
	}
	t.at = append(t.at, len(b))
	return t
}

// span returns where in the file a part of the text is.
func (t text) span(start, end int) Span {
	if t.at == nil {
		return Span{start, end}
	}
	return Span{t.at[start], t.at[end]}
}

// clear overwrites the text, unless it is the file itself.
func (t text) clear() {
	if t.at != nil {
		clear(t.b)
	}
}

// isBlank is what godotenv and compose-go take for space within a line.
func isBlank(r rune) bool {
	switch r {
	case '\t', '\v', '\f', '\r', ' ', 0x85, 0xa0:
		return true
	}
	return false
}

// skipWhile returns the first place from which on a rune is not as asked, or the
// end.
func skipWhile(b []byte, at int, is func(rune) bool) int {
	for at < len(b) {
		r, n := utf8.DecodeRune(b[at:])
		if !is(r) {
			break
		}
		at += n
	}
	return at
}

// lineEnd returns where the line ends that a place is in, before its \n.
func lineEnd(b []byte, at int) int {
	if n := bytes.IndexByte(b[at:], '\n'); n >= 0 {
		return at + n
	}
	return len(b)
}

// statement returns where the next statement begins, past space, empty lines and
// comments, as godotenv and compose-go have it.
func statement(b []byte, at int) int {
	for {
		at = skipWhile(b, at, unicode.IsSpace)
		if at == len(b) || b[at] != '#' {
			return at
		}
		at = lineEnd(b, at)
	}
}

// trimmedEnd returns where a part ends when what satisfies is taken off its end.
func trimmedEnd(b []byte, s Span, is func(rune) bool) Span {
	return Span{s.Start, s.Start + len(bytes.TrimRightFunc(s.of(b), is))}
}

// lazily compiles an expression when it is first asked for: most runs of the
// program that this is in read no file.
func lazily(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

package ssh

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// edit is a change of an authorized_keys file, in whole lines.
type edit struct {
	was   []byte
	parts []part
}

// part is what follows next in the changed file: lines of the old one, counted
// from 0, or a text.
type part struct {
	from, to int // to is not included; lines of the old file where text is ""
	text     string
}

// result returns the changed file.
func (e *edit) result() []byte {
	lines := split(e.was)
	var b []byte
	for _, p := range e.parts {
		for _, l := range lines[p.from:p.to] {
			b = append(b, l...)
		}
		b = append(b, p.text...)
	}
	return b
}

// keep adds lines of the old file.
func (e *edit) keep(from, to int) {
	if from < to {
		e.parts = append(e.parts, part{from: from, to: to})
	}
}

// split returns the lines of a file, each with its end. The last may have none.
func split(content []byte) [][]byte {
	lines := bytes.SplitAfter(content, []byte("\n"))
	if len(lines[len(lines)-1]) == 0 {
		return lines[:len(lines)-1]
	}
	return lines
}

// holds reports whether a line of the file is about the key.
func holds(content []byte, key ssh.PublicKey) bool {
	for _, l := range split(content) {
		if _, k := keyIn(l); same(k, key) {
			return true
		}
	}
	return false
}

// expires reports whether a line of the key has an option after whose time sshd
// refuses the key.
func expires(content []byte, key ssh.PublicKey) bool {
	for _, l := range split(content) {
		if at, k := keyIn(l); same(k, key) && hasOption(l[:at], "expiry-time") {
			return true
		}
	}
	return false
}

// hasOption reports whether an option with a value is among those of a line.
// sshd knows them in any case.
func hasOption(list []byte, name string) bool {
	list = bytes.TrimLeft(list, " \t")
	for quoted, from, at := false, 0, 0; at <= len(list); at++ {
		switch {
		case at == len(list) || !quoted && list[at] == ',':
			if option, _, ok := bytes.Cut(list[from:at], []byte("=")); ok && strings.EqualFold(string(option), name) {
				return true
			}
			from = at + 1
		case list[at] == '\\' && at+1 < len(list) && list[at+1] == '"':
			at++
		case list[at] == '"':
			quoted = !quoted
		}
	}
	return false
}

// adding puts a line with the new key behind each line of the old, with the same
// options, or one without options at the end where there is no old key. It
// returns nil when the new key is there.
func adding(content []byte, old, key ssh.PublicKey, comment string) *edit {
	switch {
	case holds(content, key):
		return nil
	case old == nil:
		return appending(content, "", key, comment)
	}
	e := &edit{was: content}
	text := authorized(key) + " " + comment
	lines, from := split(content), 0
	for i, l := range lines {
		at, k := keyIn(l)
		if !same(k, old) {
			continue
		}
		e.keep(from, i+1)
		from = i + 1
		e.parts = append(e.parts, part{text: missingEnd(l) + string(l[:at]) + text + ending(l)})
	}
	e.keep(from, len(lines))
	return e
}

// appending puts a line with the new key and these options at the end.
func appending(content []byte, list string, key ssh.PublicKey, comment string) *edit {
	e := &edit{was: content}
	lines := split(content)
	e.keep(0, len(lines))
	var last []byte
	if len(lines) > 0 {
		last = lines[len(lines)-1]
	}
	e.parts = append(e.parts, part{text: missingEnd(last) + list + authorized(key) + " " + comment + ending(last)})
	return e
}

// optionsOf returns the options of the first line of a key, and the blanks around
// them.
func optionsOf(content []byte, key ssh.PublicKey) string {
	for _, l := range split(content) {
		if at, k := keyIn(l); same(k, key) {
			return string(l[:at])
		}
	}
	return ""
}

// missingEnd is what a line lacks before another can follow.
func missingEnd(line []byte) string {
	if len(line) == 0 || bytes.HasSuffix(line, []byte("\n")) {
		return ""
	}
	return "\n"
}

// ending is how a line like that one ends.
func ending(line []byte) string {
	if bytes.HasSuffix(line, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

// removing takes the lines of a key away. It returns nil when there is none, and
// the number of keys that remain.
func removing(content []byte, key ssh.PublicKey) (*edit, int) {
	e := &edit{was: content}
	lines, from, remain := split(content), 0, 0
	for i, l := range lines {
		switch _, k := keyIn(l); {
		case same(k, key):
			e.keep(from, i)
			from = i + 1
		case k != nil:
			remain++
		}
	}
	if from == 0 {
		return nil, remain
	}
	e.keep(from, len(lines))
	return e, remain
}

func same(a, b ssh.PublicKey) bool {
	return a != nil && b != nil && bytes.Equal(a.Marshal(), b.Marshal())
}

// keyIn finds the key in a line as sshd does, and where its text begins: before
// it are the options. The key is nil where there is none.
func keyIn(line []byte) (at int, key ssh.PublicKey) {
	line = bytes.TrimRight(line, "\r\n")
	line, _, _ = bytes.Cut(line, []byte{0}) // where sshd stops reading
	at = blanks(line, 0)
	if at == len(line) || line[at] == '#' {
		return 0, nil
	}
	if key := parseAt(line, at); key != nil {
		return at, key
	}
	if at = blanks(line, options(line, at)); at == len(line) {
		return 0, nil
	}
	return at, parseAt(line, at)
}

func blanks(line []byte, at int) int {
	for at < len(line) && (line[at] == ' ' || line[at] == '\t') {
		at++
	}
	return at
}

// options returns where the options that begin at a place end: at the first
// blank outside quotes.
func options(line []byte, at int) int {
	for quoted := false; at < len(line); at++ {
		switch c := line[at]; {
		case !quoted && (c == ' ' || c == '\t'):
			return at
		case c == '\\' && at+1 < len(line) && line[at+1] == '"':
			at++
		case c == '"':
			quoted = !quoted
		}
	}
	return len(line)
}

func parseAt(line []byte, at int) ssh.PublicKey {
	kind, rest, ok := cutBlank(line[at:])
	if !ok {
		return nil
	}
	text, _, _ := cutBlank(rest[blanks(rest, 0):])
	blob, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return nil
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil || key.Type() != string(kind) {
		return nil
	}
	if _, ok := key.(*ssh.Certificate); ok {
		return nil
	}
	return key
}

func cutBlank(b []byte) (before, after []byte, found bool) {
	if i := bytes.IndexAny(b, " \t"); i >= 0 {
		return b[:i], b[i:], true
	}
	return b, nil, false
}

// cksum is what the program of that name says of a text, as POSIX defines it.
func cksum(b []byte) string {
	var table [256]uint32
	for i := range table {
		c := uint32(i) << 24
		for range 8 {
			if c&(1<<31) != 0 {
				c = c<<1 ^ 0x04c11db7
			} else {
				c <<= 1
			}
		}
		table[i] = c
	}
	var crc uint32
	for _, x := range b {
		crc = crc<<8 ^ table[byte(crc>>24)^x]
	}
	for n := len(b); n > 0; n >>= 8 {
		crc = crc<<8 ^ table[byte(crc>>24)^byte(n)]
	}
	return fmt.Sprintf("%d %d", ^crc, len(b))
}

// quote writes a text as one word of a shell's.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

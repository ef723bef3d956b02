package dotenv

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// maxDockerLine is the longest line that docker reads, in bytes: the default of
// bufio.Scanner, which counts the line end.
const maxDockerLine = 64<<10 - 1

// readDocker reads as docker run --env-file does (docker/cli, pkg/kvfile): a line
// is a key, = and the value, to the last byte. It knows no quotes, no escapes and
// no comment after a value.
func readDocker(b []byte) (found []assignment, refused int) {
	for at := 0; at < len(b); {
		end := lineEnd(b, at)
		line := Span{at, end}
		if at == 0 && bytes.HasPrefix(b, bom) {
			line.Start = len(bom)
		}
		tooLong := end-at > maxDockerLine
		at = end + 1
		if tooLong || !utf8.Valid(line.of(b)) {
			return found, line.Start
		}
		if bytes.HasSuffix(line.of(b), []byte{'\r'}) {
			line.End--
		}
		if line.Start = skipWhile(b[:line.End], line.Start, unicode.IsSpace); line.Start == line.End || b[line.Start] == '#' {
			continue
		}
		n := bytes.IndexByte(line.of(b), '=')
		key := line
		if n >= 0 {
			key.End = key.Start + n
		}
		switch {
		case key.Start == key.End, bytes.IndexFunc(key.of(b), unicode.IsSpace) >= 0:
			return found, line.Start
		case n < 0: // what it is in the environment
			continue
		}
		raw := Span{key.End + 1, line.End}
		found = append(found, assignment{key: key, raw: raw, value: bytes.Clone(raw.of(b))})
	}
	return found, -1
}

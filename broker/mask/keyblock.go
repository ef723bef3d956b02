package mask

import "bytes"

// privateKey is the rule of package shape for private keys.
const privateKey = "private-key"

// keyBlock finds the body of a private key that has a line of its own for every
// 64 characters or so, while its lines come. The first line and the last, which
// are no secret, are left as they are.
type keyBlock int

// How far a block is.
const (
	noKey   keyBlock = iota
	keyOpen          // its first line was there
	keyBody          // lines of its body were there
	keyEnds          // so was a short one, after which nothing but a checksum comes
)

// fullLine is the least length of a line of a body that is not the last.
const fullLine = 16

var (
	pemBegin = []byte("-----BEGIN ")
	pemEnd   = []byte("-----END ")
	puttyKey = []byte("Private-Lines: ")
)

// search marks the bodies in the lines of w.buf from a place to another.
func (k *keyBlock) search(w *Writer, from, to int) {
	// Dashes are everywhere; what follows them is not.
	if b := w.buf[from:to]; *k == noKey && !bytes.Contains(b, pemBegin[len("-----"):]) && !bytes.Contains(b, puttyKey) {
		return
	}
	for from < to {
		line, size, _ := cutLine(w.buf[from:to])
		line = bytes.TrimRight(line, " \t")
		had := *k
		if text, is := k.take(line); is {
			s := span{start: from + len(line) - text, end: from + len(line), shape: true}
			switch {
			case had == keyOpen:
				s.label = shapeLabel(privateKey)
			case s.start == from:
				s.end = from + size
			}
			w.found = append(w.found, s)
		}
		from += size
	}
}

// take takes the next line, and reports whether it is of a body, and how many
// bytes at its end are: something else may stand before them, as in a log.
func (k *keyBlock) take(line []byte) (text int, is bool) {
	word := lastWord(line)
	switch {
	case *k == noKey, bytes.Contains(line, pemEnd):
	case len(word) == 0, *k == keyOpen && bytes.Contains(line, []byte(": ")): // headers of the block
		return 0, false
	case len(word) >= fullLine && *k != keyEnds && isBase64(word):
		*k = keyBody
		return len(word), true
	case *k == keyBody && isBase64(word), *k == keyEnds && word[0] == '=' && isBase64(word):
		*k = keyEnds
		return len(word), true
	}
	*k = noKey
	if opensKey(line) {
		*k = keyOpen
	}
	return 0, false
}

// begun returns how much of a line that has not ended is no part of a key.
func (k *keyBlock) begun(line []byte) int {
	if word := lastWord(line); *k != noKey && len(word) > 0 && isBase64(word) {
		return len(line) - len(word)
	}
	at := bytes.LastIndex(line, pemBegin)
	if at < 0 || !bytes.Contains(line[at:], []byte("PRIVATE KEY")) || opensKey(line[at:]) {
		return len(line)
	}
	if _, end, ok := bytes.Cut(line[at:], pemEnd); ok && bytes.Contains(end, []byte("-----")) {
		return len(line)
	}
	return at // all of it on this line, which has not come to its end
}

// opensKey reports whether a line ends as the first of a private key.
func opensKey(line []byte) bool {
	line = bytes.TrimRight(line, " \t")
	if at := bytes.LastIndex(line, pemBegin); at >= 0 {
		label, rest, ok := bytes.Cut(line[at+len(pemBegin):], []byte("-----"))
		return ok && len(rest) == 0 && (bytes.HasSuffix(label, []byte("PRIVATE KEY")) || bytes.HasSuffix(label, []byte("PRIVATE KEY BLOCK")))
	}
	return bytes.Contains(line, puttyKey)
}

// lastWord returns what stands behind the last space of a line. Spaces after it
// make it no word.
func lastWord(line []byte) []byte { return line[bytes.LastIndexAny(line, " \t")+1:] }

func isBase64(b []byte) bool {
	for _, c := range b {
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '=') {
			return false
		}
	}
	return true
}

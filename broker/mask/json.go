package mask

import (
	"unicode/utf16"
	"unicode/utf8"
)

// jsonStyle is what a writer of JSON escapes besides what it must.
type jsonStyle struct {
	html   bool   // < > & and the two line ends of Unicode
	ascii  bool   // everything outside ASCII, and DEL
	slash  bool   // the slash
	digits string // of \u
}

var jsonStyles = []jsonStyle{
	{digits: lowerDigits},                           // JavaScript; Go without SetEscapeHTML
	{digits: lowerDigits, html: true},               // Go
	{digits: lowerDigits, ascii: true},              // Python
	{digits: lowerDigits, slash: true},              // PHP with JSON_UNESCAPED_UNICODE
	{digits: lowerDigits, slash: true, ascii: true}, // PHP
	{digits: upperDigits},                           // Java
	{digits: upperDigits, html: true},               // the same
	{digits: upperDigits, ascii: true},              // the same
	{digits: upperDigits, html: true, ascii: true},  // the same
}

// append appends v, which is valid UTF-8, as the inside of a JSON string.
func (s jsonStyle) append(dst, v []byte) []byte {
	for len(v) > 0 {
		r, n := utf8.DecodeRune(v)
		switch short := shortEscape(r); {
		case short != 0:
			dst = append(dst, '\\', short)
		case r == '/' && s.slash:
			dst = append(dst, '\\', '/')
		case r < ' ',
			s.html && (r == '<' || r == '>' || r == '&' || r == '\u2028' || r == '\u2029'),
			s.ascii && r >= 0x7f && r < 0x10000:
			dst = s.unit(dst, r)
		case s.ascii && r >= 0x10000:
			high, low := utf16.EncodeRune(r)
			dst = s.unit(s.unit(dst, high), low)
		default:
			dst = append(dst, v[:n]...)
		}
		v = v[n:]
	}
	return dst
}

// appendTwice appends v as the inside of a JSON string within another, which
// inner and s have written.
func (s jsonStyle) appendTwice(dst []byte, inner jsonStyle, v []byte) []byte {
	var once [2 * len(`\u0001`)]byte
	defer clear(once[:])
	for len(v) > 0 {
		_, n := utf8.DecodeRune(v)
		dst = s.append(dst, inner.append(once[:0], v[:n]))
		v = v[n:]
	}
	return dst
}

func (s jsonStyle) unit(dst []byte, r rune) []byte {
	d := s.digits
	return append(dst, '\\', 'u', d[r>>12&15], d[r>>8&15], d[r>>4&15], d[r&15])
}

// shortEscape returns what follows the backslash in the escape of a character
// that has a short one, else 0.
func shortEscape(r rune) byte {
	switch r {
	case '"', '\\':
		return byte(r)
	case '\b':
		return 'b'
	case '\f':
		return 'f'
	case '\n':
		return 'n'
	case '\r':
		return 'r'
	case '\t':
		return 't'
	}
	return 0
}

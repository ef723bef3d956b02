package secret

import "unicode/utf8"

// Text reports whether b can be a JSON string as it is: valid UTF-8 without
// control characters other than tab, newline and carriage return. Anything
// else leaves as base64.
func Text(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(b)
}

// AppendJSON appends b, which is [Text], as the inside of a JSON string. It
// allocates nothing when dst has [JSONLen] bytes of room.
func AppendJSON(dst, b []byte) []byte {
	for _, c := range b {
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\t':
			dst = append(dst, '\\', 't')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// JSONLen returns how many bytes [AppendJSON] appends.
func JSONLen(b []byte) int {
	n := len(b)
	for _, c := range b {
		switch c {
		case '"', '\\', '\t', '\n', '\r':
			n++
		}
	}
	return n
}

package json5

import (
	"bytes"
	"encoding/hex"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// quoted reads over a string, which it checks.
func (p *parser) quoted() error {
	quote := p.b[p.at]
	for p.at++; p.at < len(p.b); p.at++ {
		switch c := p.b[p.at]; {
		case c == quote:
			p.at++
			return nil
		case c == '\\':
			p.at++
			if n := p.escape(); n < 0 {
				return errors.New("a string has an escape that is none")
			} else {
				p.at += n
			}
		case c == '\n', c == '\r', p.strict && c < 0x20:
			return errors.New("a string holds a control character")
		}
	}
	return errors.New("a string does not end")
}

// escape returns how many bytes of an escape come after the one after the
// backslash, -1 where it is none.
func (p *parser) escape() int {
	rest := p.b[p.at:]
	if len(rest) == 0 {
		return -1
	}
	switch c := rest[0]; {
	case c == 'u':
		return hexDigits(rest[1:], 4)
	case bytes.IndexByte([]byte(`"\/bfnrt`), c) >= 0:
		return 0
	case p.strict:
		return -1
	case c == 'x':
		return hexDigits(rest[1:], 2)
	case c == '\r' && len(rest) > 1 && rest[1] == '\n':
		return 1
	case c >= '1' && c <= '9', c == '0' && len(rest) > 1 && digits(rest[1:2]) == 1:
		return -1
	case c >= utf8.RuneSelf:
		_, size := utf8.DecodeRune(rest)
		return size - 1
	}
	return 0
}

// hexDigits returns n where b begins with n hexadecimal digits, else -1.
func hexDigits(b []byte, n int) int {
	var to [2]byte
	if len(b) < n {
		return -1
	}
	if _, err := hex.Decode(to[:], b[:n]); err != nil {
		return -1
	}
	return n
}

// AppendText appends what a string says to dst: the bytes between its quotes,
// with the escapes undone. It appends nothing for a node of another kind, and
// allocates nothing when dst has room for the string as it is written.
func (n *Node) AppendText(dst, text []byte) []byte {
	if n == nil || n.Kind != String {
		return dst
	}
	return appendText(dst, text[n.Start:n.End])
}

// appendText decodes a string in its quotes, which has been checked.
func appendText(dst, quoted []byte) []byte {
	for b := quoted[1 : len(quoted)-1]; len(b) > 0; {
		if b[0] != '\\' {
			dst = append(dst, b[0])
			b = b[1:]
			continue
		}
		c := b[1]
		b = b[2:]
		switch c {
		case 'u':
			r := unit(b)
			b = b[4:]
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(b) >= 6 && b[0] == '\\' && b[1] == 'u' {
					pair = utf16.DecodeRune(r, unit(b[2:]))
				}
				if r = pair; pair != utf8.RuneError {
					b = b[6:]
				}
			}
			dst = utf8.AppendRune(dst, r)
		case 'x':
			var one [1]byte
			_, _ = hex.Decode(one[:], b[:2])
			dst = utf8.AppendRune(dst, rune(one[0]))
			b = b[2:]
		case '\r':
			b = bytes.TrimPrefix(b, []byte("\n"))
		case '\n':
		case 0xe2: // U+2028 and U+2029 continue a line, as a newline does
			if b[0] == 0x80 && (b[1] == 0xa8 || b[1] == 0xa9) {
				b = b[2:]
				continue
			}
			dst = append(dst, c)
		default:
			dst = append(dst, unescaped(c))
		}
	}
	return dst
}

// unit reads one UTF-16 unit of four hexadecimal digits.
func unit(b []byte) rune {
	var to [2]byte
	_, _ = hex.Decode(to[:], b[:4])
	return rune(to[0])<<8 | rune(to[1])
}

// unescaped returns what a backslash and this byte stand for.
func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'v':
		return '\v'
	case '0':
		return 0
	}
	return c
}

// AppendString appends a string as JSON writes it, quotes included.
func AppendString(dst, text []byte) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

package openbao

import (
	"bytes"
	"encoding/base64"
	"errors"
	"unicode/utf16"
	"unicode/utf8"

	"secretctl/broker/secret"
)

// text is a JSON string that is a value: it goes from an answer to locked memory
// of its own without being a string in between.
type text struct{ secret.Value }

// based is one that holds base64.
type based struct{ secret.Value }

var errNotAValue = errors.New("not a value")

// inside returns what is between the quotes of a JSON string. A value that was
// there already is a key that came twice.
func inside(b []byte, already secret.Value) ([]byte, error) {
	if len(b) < 2 || b[0] != '"' || !already.IsZero() {
		return nil, errNotAValue
	}
	return b[1 : len(b)-1], nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *text) UnmarshalJSON(b []byte) error {
	b, err := inside(b, t.Value)
	if err != nil {
		return err
	}
	n, err := unescape(nil, b)
	if err != nil {
		return err
	}
	t.Value, err = secret.Fill(n, func(mem []byte) error { _, err := unescape(mem, b); return err })
	return err
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *based) UnmarshalJSON(b []byte) error {
	b, err := inside(b, t.Value)
	if err != nil {
		return err
	}
	t.Value, err = decodeBase64(b)
	return err
}

// decodeBase64 takes what is base64 from its first byte to its last: of anything
// else the decoder writes another length than can be foreseen.
func decodeBase64(b []byte) (secret.Value, error) {
	digits := bytes.TrimRight(b, "=")
	pad := len(b) - len(digits)
	if len(b)%4 != 0 || pad > 2 || bytes.ContainsFunc(digits, notBase64) {
		return secret.Value{}, errNotAValue
	}
	return secret.Fill(len(b)/4*3-pad, func(mem []byte) error {
		// What it says is not passed on: it says where in the value something is.
		if _, err := base64.StdEncoding.Decode(mem, b); err != nil {
			return errNotAValue
		}
		return nil
	})
}

func notBase64(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '+' && r != '/'
}

// unescape writes what the inside of a JSON string means, and returns how long
// that is. Without a dst it only counts. It reads what encoding/json has found
// to be JSON.
func unescape(dst, b []byte) (n int, err error) {
	put := func(p ...byte) {
		if dst != nil {
			copy(dst[n:], p)
		}
		n += len(p)
	}
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			put(b[i])
			continue
		}
		if i++; i == len(b) {
			return 0, errNotAValue
		}
		switch c := b[i]; c {
		case '"', '\\', '/':
			put(c)
		case 'b':
			put('\b')
		case 'f':
			put('\f')
		case 'n':
			put('\n')
		case 'r':
			put('\r')
		case 't':
			put('\t')
		case 'u':
			r, ok := hex4(b[i+1:])
			if !ok {
				return 0, errNotAValue
			}
			i += 4
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if len(b) > i+2 && b[i+1] == '\\' && b[i+2] == 'u' {
					low, ok = hex4(b[i+3:])
				}
				if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
					return 0, errNotAValue // half a character, of which there is no byte
				}
				i += 6
			}
			var four [utf8.UTFMax]byte
			put(four[:utf8.EncodeRune(four[:], r)]...)
			clear(four[:])
		default:
			return 0, errNotAValue
		}
	}
	return n, nil
}

// hex4 reads the four digits that b begins with.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		r <<= 4
		switch {
		case '0' <= c && c <= '9':
			r |= rune(c - '0')
		case 'a' <= c && c <= 'f':
			r |= rune(c - 'a' + 10)
		case 'A' <= c && c <= 'F':
			r |= rune(c - 'A' + 10)
		default:
			return 0, false
		}
	}
	return r, true
}

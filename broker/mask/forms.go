package mask

import (
	"bytes"
	"encoding/base64"
	"sync"
	"unicode/utf8"
)

// growth is how many times longer than a value its longest form may be: a byte
// as \\u0001.
const growth = 7

// usual is longer than most keys, in bytes. Of what is longer only the most
// usual forms are known where there are very many.
const usual = 512

// eachForm calls yield with every form of a value, some of them more than once.
// What yield is given is valid until it returns, and cleared in the end.
func eachForm(value []byte, yield func(form []byte)) {
	scratch := make([]byte, growth*len(value)+gateLen)
	defer clear(scratch)
	each := func(form []byte) {
		if len(form) >= gateLen {
			yield(form)
		}
	}
	text := bytes.TrimSpace(value)
	eachSpelling(value, scratch, each)
	if len(text) != len(value) {
		eachSpelling(text, scratch, each)
	}
	if !bytes.ContainsRune(text, '\n') {
		return
	}
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if worth(line) == nil && !isBoundary(line) {
			each(line)
		}
	}
}

// isBoundary reports whether a line is the first or the last of a PEM block,
// which is the same for everybody.
func isBoundary(line []byte) bool {
	return bytes.HasPrefix(line, []byte("-----BEGIN ")) || bytes.HasPrefix(line, []byte("-----END "))
}

// eachSpelling calls each with v as it is and in every encoding, using scratch.
func eachSpelling(v, scratch []byte, each func([]byte)) {
	each(v)
	for _, s := range spellings() {
		if form := s.append(scratch[:0], v); !bytes.Equal(form, v) {
			each(form)
		}
	}
	if utf8.Valid(v) {
		for _, s := range jsonStyles {
			if form := s.append(scratch[:0], v); !bytes.Equal(form, v) {
				each(form)
				eachTwice(s, v, scratch, each)
			}
		}
	}
	eachBase64(v, scratch, each)
}

// eachTwice calls each with what v is in a JSON text that is itself a string of
// JSON, as what one program logs of what another sent.
func eachTwice(inner jsonStyle, v, scratch []byte, each func([]byte)) {
	for _, outer := range jsonStyles {
		if len(v) <= usual || outer == inner {
			each(outer.appendTwice(scratch[:0], inner, v))
		}
	}
}

// eachBase64 calls each with what v is in the base64 of a text that has v in it:
// after 0, 1 or 2 bytes of a group, at the end of the text or not, padded or not.
// The characters that depend on what is around v too are left out, at most one at
// either side.
func eachBase64(v, scratch []byte, each func([]byte)) {
	for _, alphabet := range [...]*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for offset := range 3 {
			n := offset + len(v)
			// At the end of scratch, where the base64 at its beginning does not reach.
			plain := scratch[len(scratch)-n:]
			clear(plain[:offset])
			copy(plain[offset:], v)
			padded := alphabet.AppendEncode(scratch[:0], plain)
			from := (offset*8 + 5) / 6
			for i, end := range [...]int{n * 8 / 6, (n*8 + 5) / 6, len(padded)} {
				each(padded[from:end])
				if alphabet != base64.StdEncoding {
					continue
				}
				lines := scratch[len(padded):]
				if offset == 0 {
					eachWrapped(padded[:end], lines, each)
				}
				if i == 0 && len(v) <= usual {
					eachWrappedWithin(padded[:end], from, lines, each)
				}
			}
		}
	}
}

// wraps is how base64 is cut into lines: by coreutils, Python and MIME; by
// OpenSSL and in PEM.
var wraps = []struct {
	columns int
	end     string
}{{76, "\n"}, {76, "\r\n"}, {64, "\n"}, {64, "\r\n"}}

// eachWrapped calls each with base64 in lines, of which it begins the first.
func eachWrapped(text, scratch []byte, each func([]byte)) {
	for _, w := range wraps {
		if len(text) > w.columns {
			each(wrapped(scratch[:0], text, w.columns, w.columns, w.end))
		}
	}
}

// eachWrappedWithin calls each with text[from:] as it is in the base64 of a
// longer text, in the lines of coreutils, whichever group of the first its own
// first is.
func eachWrappedWithin(text []byte, from int, scratch []byte, each func([]byte)) {
	w := wraps[0]
	for left := 4; left <= w.columns && left < len(text); left += 4 {
		each(wrapped(scratch[:0], text[from:], left-from, w.columns, w.end))
	}
}

// wrapped appends text with a line end after so many columns, and then always
// after the same.
func wrapped(dst, text []byte, first, columns int, end string) []byte {
	for next := first; len(text) > next; next = columns {
		dst = append(append(dst, text[:next]...), end...)
		text = text[next:]
	}
	return append(dst, text...)
}

// spelling is an encoding that writes each byte by itself.
type spelling [256]string

func (s *spelling) append(dst, v []byte) []byte {
	for _, c := range v {
		dst = append(dst, s[c]...)
	}
	return dst
}

// spelled returns the spelling that writes these bytes so, and all others as they
// are: spelled("\n", "\r\n").
func spelled(pairs ...string) *spelling {
	s := new(spelling)
	for c := range s {
		s[c] = string([]byte{byte(c)})
	}
	for i := 0; i < len(pairs); i += 2 {
		s[pairs[i][0]] = pairs[i+1]
	}
	return s
}

// prefixed returns the spelling that writes a backslash before these bytes.
func prefixed(special string) *spelling {
	s := spelled()
	for i := range len(special) {
		s[special[i]] = `\` + special[i:i+1]
	}
	return s
}

// inHex returns the spelling that writes two digits, and something before them,
// for each byte that is not safe.
func inHex(digits, before, safe string) *spelling {
	s := spelled()
	for c := range s {
		if bytes.IndexByte([]byte(safe), byte(c)) < 0 {
			s[c] = before + digits[c>>4:c>>4+1] + digits[c&15:c&15+1]
		}
	}
	return s
}

const (
	lowerDigits = "0123456789abcdef"
	upperDigits = "0123456789ABCDEF"
	alnum       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// spellings are the encodings that write each byte by itself, but for JSON's.
// They are made at their first use: most commands have none for them.
var spellings = sync.OnceValue(func() (all []*spelling) {
	for _, digits := range []string{lowerDigits, upperDigits} {
		all = append(all, inHex(digits, "", ""), inHex(digits, "%", ""))
		for _, safe := range []string{
			"-_.~",                 // RFC 3986; curl; Python's quote with safe=""
			"-_.~/",                // Python's quote
			"-_.!~*'()",            // JavaScript's encodeURIComponent
			"-_.!~*'();,/?:@&=+$#", // JavaScript's encodeURI
			"-_.~$&+=:@",           // Go's url.PathEscape
			"-_.~$&+,/:;=@",        // Go's url.URL, a path
			"-_.~!$&'()*+,;=:@",    // RFC 3986: in a path
			"-_.~!$&'()*+,;=",      // RFC 3986: user and password
			"-_.~$&+,;=",           // Go's url.UserPassword
		} {
			all = append(all, inHex(digits, "%", alnum+safe))
		}
		for _, safe := range []string{
			"-_.~",  // Go's url.QueryEscape, Python's quote_plus
			"*-._",  // the forms of browsers
			"-_.~/", // Python's urlencode with safe="/"
		} {
			form := inHex(digits, "%", alnum+safe)
			form[' '] = "+"
			all = append(all, form)
		}
	}
	for _, quotes := range [][]string{
		{`"`, "&#34;", "'", "&#39;"}, // Go's html
		{`"`, "&#34;", "'", "&#39;", "\t", "&#x9;", "\n", "&#xA;", "\r", "&#xD;"}, // Go's encoding/xml
		{`"`, "&quot;", "'", "&apos;"},                                            // XML
		{`"`, "&quot;", "'", "&#39;"},                                             // JavaScript's libraries
		{`"`, "&quot;", "'", "&#x27;"},                                            // Python's html
		{`"`, "&quot;", "'", "&#039;"},                                            // PHP's htmlspecialchars
		{`"`, "&quot;"},                                                           // an attribute in a browser
		{},                                                                        // a text in a browser
	} {
		all = append(all, spelled(append(quotes, "&", "&amp;", "<", "&lt;", ">", "&gt;")...))
	}
	return append(all,
		spelled("'", `'\''`),                   // within a shell's single quotes
		spelled("'", `'"'"'`),                  // the same by Python's shlex
		prefixed("\"\\$`"),                     // within a shell's double quotes
		prefixed(" \t\"'\\|&;()<>!{}*[]?^$`,"), // bash's printf %q
		spelled("\n", "\r\n"),                  // on a terminal
		spelled("\r", ""),                      // with the line ends of Unix
	)
})

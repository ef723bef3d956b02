package canary

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// form is one way to write a marker down.
type form struct {
	name string
	text []byte // folded
}

// The names of the forms that differ by the case of the letters alone.
const (
	raw   = "raw"
	upper = "upper case"
	lower = "lower case"
	mixed = "mixed case"
)

// forms returns the ways to write the marker that are searched for, in lower
// case: text is folded before it is searched.
func forms(marker string) []form {
	b := []byte(marker)
	each := func(format string) string {
		var s strings.Builder
		for _, c := range b {
			fmt.Fprintf(&s, format, c)
		}
		return s.String()
	}
	reversed := slices.Clone(b)
	slices.Reverse(reversed)
	all := []form{
		{raw, b},
		{"reversed", reversed},
		{"hex", []byte(hex.EncodeToString(b))},
		{"hex, spaced", []byte(strings.TrimSpace(each("%02x ")))},
		{"decimal", []byte(strings.TrimSpace(each("%d ")))},
		{"decimal, with commas", []byte(strings.TrimSuffix(each("%d,"), ","))},
		{"percent", []byte(each("%%%02x"))},
		{"JSON", []byte(each(`\u%04x`))},
		{"backslash", []byte(each(`\x%02x`))},
	}
	for offset := range 3 {
		all = append(all, form{fmt.Sprintf("base64 at offset %d", offset), aligned(b, offset)})
	}
	for _, f := range all {
		fold(f.text, f.text)
	}
	return all
}

// aligned returns the part of the base64 of a longer text that depends on b
// alone, where b is after so many bytes, modulo 3.
func aligned(b []byte, offset int) []byte {
	text := base64.RawStdEncoding.EncodeToString(append(make([]byte, offset), b...))
	from := (offset*8 + 5) / 6
	to := (offset + len(b)) * 8 / 6
	return []byte(text[from:to])
}

// cased names the form of a text that is the marker but for its case.
func cased(text, marker string) string {
	switch text {
	case marker:
		return raw
	case strings.ToUpper(marker):
		return upper
	case strings.ToLower(marker):
		return lower
	}
	return mixed
}

// fold writes src to dst, which is as long, with its ASCII letters in lower case.
func fold(dst, src []byte) {
	for i, c := range src {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst[i] = c
	}
}

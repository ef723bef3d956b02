package canary_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
)

// spelling is one way for a value to leak, and the form it must be found as.
type spelling struct {
	name   string
	form   string
	of     func(string) string
	header bool // it is known by what it begins with alone, at the start of a file
	binary bool // it has bytes that no argument can
}

var spellings = []spelling{
	{name: "raw", form: "raw", of: func(s string) string { return s }},
	{name: "upper", form: "upper case", of: strings.ToUpper},
	{name: "lower", form: "lower case", of: strings.ToLower},
	{name: "title", form: "mixed case", of: swapped},
	{name: "base64-0", form: "base64 at offset 0", of: encoded(base64.StdEncoding, "xyz")},
	{name: "base64-1", form: "base64 at offset 1", of: encoded(base64.StdEncoding, "x")},
	{name: "base64-2", form: "base64 at offset 2", of: encoded(base64.StdEncoding, "xy")},
	{name: "base64url", form: "base64 at offset 0", of: encoded(base64.RawURLEncoding, "??>")},
	{name: "hex", form: "hex", of: func(s string) string { return hex.EncodeToString([]byte(s)) }},
	{name: "hex-upper", form: "hex", of: each("%02X", "")},
	{name: "hex-spaced", form: "hex, spaced", of: each("%02x", " ")},
	{name: "decimal", form: "decimal", of: func(s string) string { return fmt.Sprint([]byte(s)) }},
	{name: "decimal-commas", form: "decimal, with commas", of: each("%d", ",")},
	{name: "percent", form: "percent", of: each("%%%02X", "")},
	{name: "query", form: "raw", of: func(s string) string { return url.QueryEscape("<" + s + ">") }},
	{name: "json", form: "JSON", of: each(`\u%04x`, "")},
	{name: "backslash", form: "backslash", of: each(`\x%02x`, "")},
	{name: "reversed", form: "reversed", of: func(s string) string { b := []byte(s); slices.Reverse(b); return string(b) }},
	{name: "gzip", form: "gzip, raw", of: gzipped, binary: true},
	{name: "gzip-gzip", form: "gzip, gzip, raw", of: func(s string) string { return gzipped(gzipped(s)) }, binary: true},
	{name: "gzip-cut", form: "gzip, raw", of: func(s string) string { g := gzipped(s); return g[:len(g)-8] }, binary: true},
	{name: "zlib", form: "deflate, raw", of: func(s string) string {
		return compressed(s, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
	}, binary: true},
	{name: "deflate", form: "deflate, raw", of: func(s string) string {
		return compressed(s, func(w io.Writer) io.WriteCloser { d, _ := flate.NewWriter(w, 6); return d })
	}, binary: true, header: true},
}

// swapped turns upper into lower case and the other way round.
func swapped(s string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			return c ^ 0x20
		}
		return c
	}, s)
}

func encoded(e *base64.Encoding, before string) func(string) string {
	return func(s string) string { return e.EncodeToString([]byte(before + s + "~")) }
}

func each(format, between string) func(string) string {
	return func(s string) string {
		var all []string
		for _, c := range []byte(s) {
			all = append(all, fmt.Sprintf(format, c))
		}
		return strings.Join(all, between)
	}
}

func gzipped(s string) string {
	return compressed(s, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
}

// compressed returns a stream of s and of so much air that nothing is stored as
// it is.
func compressed(s string, writer func(io.Writer) io.WriteCloser) string {
	var out bytes.Buffer
	w := writer(&out)
	_, _ = io.WriteString(w, s+strings.Repeat(" ", 512)) // to memory
	_ = w.Close()
	return out.String()
}

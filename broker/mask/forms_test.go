package mask_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"secretctl/broker/mask"
	"secretctl/broker/secret/canary"
)

// encodings are the ways in which programs write a value, by those who have no
// part in the forms. Each writes it within a longer text.
var encodings = map[string]func(v string) string{
	"raw":                  func(v string) string { return "<" + v + ">" },
	"base64":               func(v string) string { return base64.StdEncoding.EncodeToString([]byte(v)) },
	"base64, unpadded":     func(v string) string { return base64.RawStdEncoding.EncodeToString([]byte(v)) },
	"base64, URL":          func(v string) string { return base64.URLEncoding.EncodeToString([]byte(v)) },
	"base64, URL unpadded": func(v string) string { return base64.RawURLEncoding.EncodeToString([]byte(v)) },
	"base64, 76 columns":   func(v string) string { return wrap(v, 76, "\n") },
	"base64, MIME":         func(v string) string { return wrap(v, 76, "\r\n") },
	"base64, OpenSSL":      func(v string) string { return wrap(v, 64, "\n") },
	"base64, PEM":          func(v string) string { return wrap(v, 64, "\r\n") },
	"basic auth":           func(v string) string { return base64.StdEncoding.EncodeToString([]byte("joel:" + v)) },
	"basic auth, longer":   func(v string) string { return base64.StdEncoding.EncodeToString([]byte("joels:" + v)) },
	"basic auth, longest":  func(v string) string { return base64.StdEncoding.EncodeToString([]byte("joelsy:" + v)) },
	"hex":                  func(v string) string { return hex.EncodeToString([]byte(v)) },
	"hex, upper":           func(v string) string { return strings.ToUpper(hex.EncodeToString([]byte(v))) },
	"percent, every byte":  func(v string) string { return everyPercent("%%%02x", v) },
	"percent, every BYTE":  func(v string) string { return everyPercent("%%%02X", v) },
	"query":                url.QueryEscape,
	"query, lower":         func(v string) string { return lowerPercent(url.QueryEscape(v)) },
	"path":                 url.PathEscape,
	"path, lower":          func(v string) string { return lowerPercent(url.PathEscape(v)) },
	"%20":                  func(v string) string { return strings.ReplaceAll(url.QueryEscape(v), "+", "%20") },
	"user info":            func(v string) string { return "postgres://" + url.UserPassword("u", v).String() + "@h" },
	"in a path":            func(v string) string { return (&url.URL{Path: "/x/" + v}).EscapedPath() },
	"Go's JSON":            func(v string) string { return encodeJSON(v, true) },
	"JavaScript's JSON":    func(v string) string { return encodeJSON(v, false) },
	"slashes escaped":      func(v string) string { return strings.ReplaceAll(encodeJSON(v, false), "/", `\/`) },
	"Go's JSON, twice":     func(v string) string { return encodeJSON(encodeJSON(v, true), true) },
	"JSON, twice":          func(v string) string { return encodeJSON(encodeJSON(v, false), false) },
	"JSON, Go's in JS's":   func(v string) string { return encodeJSON(encodeJSON(v, true), false) },
	"JSON, JS's in Go's":   func(v string) string { return encodeJSON(encodeJSON(v, false), true) },
	"JSON, PHP's in JS's":  func(v string) string { return encodeJSON(strings.ReplaceAll(encodeJSON(v, false), "/", `\/`), false) },
	"HTML":                 html.EscapeString,
	"XML":                  encodeXML,
	"XML, named":           func(v string) string { return named(v, "&quot;", "&apos;") },
	"Python's HTML":        func(v string) string { return named(v, "&quot;", "&#x27;") },
	"PHP's HTML":           func(v string) string { return named(v, "&quot;", "&#039;") },
	"shell":                func(v string) string { return "'" + strings.ReplaceAll(v, "'", `'\''`) + "'" },
	"Python's shell":       func(v string) string { return "'" + strings.ReplaceAll(v, "'", `'"'"'`) + "'" },
	"terminal":             func(v string) string { return strings.ReplaceAll(v, "\n", "\r\n") },
}

func everyPercent(format, v string) (out string) {
	for _, c := range []byte(v) {
		out += fmt.Sprintf(format, c)
	}
	return out
}

func lowerPercent(escaped string) string {
	b := []byte(escaped)
	for i, c := range b {
		if c == '%' {
			copy(b[i:], bytes.ToLower(b[i:i+3]))
		}
	}
	return string(b)
}

func encodeJSON(v string, html bool) string {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(html)
	_ = e.Encode(map[string]string{"key": v})
	text := out.String()
	if !html { // Go escapes these two whatever it is told
		text = strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029").Replace(text)
	}
	return text
}

// wrap is base64 in lines.
func wrap(v string, columns int, end string) (out string) {
	text := base64.StdEncoding.EncodeToString([]byte(v))
	for ; len(text) > columns; text = text[columns:] {
		out += text[:columns] + end
	}
	return out + text
}

func encodeXML(v string) string {
	var out bytes.Buffer
	_ = xml.EscapeText(&out, []byte(v))
	return out.String()
}

func named(v, quote, apostrophe string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, quote, "'", apostrophe).Replace(v)
}

// TestEncodings: whatever writes a value, one hit covers all of it.
func TestEncodings(t *testing.T) {
	for _, s := range append(awkward(t), known{"2028", canary.New(t, "2028") + "\u2028\u2029"}) {
		set := newSet(t, []known{s})
		for name, encode := range encodings {
			if s.name == "binary" && (strings.Contains(name, "JSON") || name == "slashes escaped" || name == "XML") {
				continue // which write something else instead
			}
			text := []byte(encode(s.value))
			hits := set.Find(nil, text)
			require.Len(t, hits, 1, "%s: %s", s.name, name)
			require.Equal(t, s.name, hits[0].Name)
			switch {
			case strings.HasPrefix(name, "base64"), strings.HasPrefix(name, "hex"), strings.HasPrefix(name, "percent"):
				require.Equal(t, mask.Hit{Name: s.name, End: len(text)}, hits[0], "%s: %s", s.name, name)
			case strings.HasPrefix(name, "basic auth"):
				require.Equal(t, len(text), hits[0].End, "%s: %s", s.name, name)
			}
		}
	}
}

// TestPrograms: what Python, PHP, Java and JavaScript write, as they have been
// seen to.
func TestPrograms(t *testing.T) {
	const value = "kéy \U0001f511/\"<'>&\x7f" + "0aZ-_.~!*()$"
	set := newSet(t, []known{{"a", value}})
	for program, text := range map[string]string{
		"Python json.dumps":         `k\u00e9y \ud83d\udd11/\"<'>&\u007f0aZ-_.~!*()$`,
		"PHP json_encode":           `k\u00e9y \ud83d\udd11\/\"<'>&` + "\\u007f" + `0aZ-_.~!*()$`,
		"Jackson, ESCAPE_NON_ASCII": `k\u00E9y \uD83D\uDD11/\"<'>&\u007F0aZ-_.~!*()$`,
		"JavaScript JSON.stringify": "kéy \U0001f511/\\\"<'>&\x7f0aZ-_.~!*()$",
		"encodeURIComponent":        "k%C3%A9y%20%F0%9F%94%91%2F%22%3C'%3E%26%7F0aZ-_.~!*()%24",
		"encodeURI":                 "k%C3%A9y%20%F0%9F%94%91/%22%3C'%3E&%7F0aZ-_.~!*()$",
		"URLSearchParams":           "k%C3%A9y+%F0%9F%94%91%2F%22%3C%27%3E%26%7F0aZ-_.%7E%21*%28%29%24",
		"Python quote":              "k%C3%A9y%20%F0%9F%94%91/%22%3C%27%3E%26%7F0aZ-_.~%21%2A%28%29%24",
		"Python quote_plus":         "k%C3%A9y+%F0%9F%94%91%2F%22%3C%27%3E%26%7F0aZ-_.~%21%2A%28%29%24",
		"Python html.escape":        "kéy \U0001f511/&quot;&lt;&#x27;&gt;&amp;\x7f0aZ-_.~!*()$",
		"Python shlex.quote":        "'kéy \U0001f511/\"<'\"'\"'>&\x7f0aZ-_.~!*()$'",
		"PHP htmlspecialchars":      "kéy \U0001f511/&quot;&lt;&#039;&gt;&amp;\x7f0aZ-_.~!*()$",
		"innerHTML of a text":       "kéy \U0001f511/\"&lt;'&gt;&amp;\x7f0aZ-_.~!*()$",
	} {
		hits := set.Find(nil, []byte(text))
		require.Len(t, hits, 1, program)
		require.Equal(t, strings.Trim(text, "'"), text[hits[0].Start:hits[0].End], program)
	}
}

// TestBash: what bash writes a value as, that it reads as the same, and what
// base64 does.
func TestBash(t *testing.T) {
	value := `p a"s's<w>o;r&d|$x` + "`" + `(1)[2]{3}?*!^\` + "," + canary.New(t, "value")
	set := newSet(t, []known{{"a", value}})
	for name, script := range map[string]string{
		"%q":     `printf %q "$V_CANARY"`,
		"trace":  `set -x; : "$V_CANARY"`,
		"export": `export -p | grep ' V_CANARY='`,
		"set":    `set | grep ^V_CANARY=`,
		"base64": `printf %s "$V_CANARY" | base64`,
		"all":    `env | base64`,
	} {
		cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
		cmd.Env = append(cmd.Environ(), "V_CANARY="+value)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err)
		require.Len(t, set.Find(nil, out), 1, name)
	}
}

// TestEncodedAnywhere: any value, encoded anyhow as a part of any text, is hit,
// and next to nothing of it is left: of base64 a character at either side.
func TestEncodedAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOfN(rapid.Byte(), 8, 80).Draw(t, "value")
		if mask.Worth(value) != nil {
			return
		}
		salt := mask.NewSalt()
		prints, err := salt.Fingerprints(nil, "a", value)
		require.NoError(t, err)
		set := mask.New(salt, prints)
		around := rapid.SliceOfN(rapid.Byte(), 0, 10)
		before, after := around.Draw(t, "before"), around.Draw(t, "after")
		for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			text := []byte(alphabet.EncodeToString(slices.Concat(before, value, after)))
			first, last := (len(before)*8+5)/6, (len(before)+len(value))*8/6
			for _, h := range set.Find(nil, text) {
				if h.Start <= first && h.End >= last {
					first = last
				}
			}
			require.Equal(t, last, first, "%q in %q", value, text)
		}
	})
}

// TestWrappedAnywhere: a value in a text that base64 has put into lines, from
// whichever column on, is hit, and of each of its ends a character is left at
// most.
func TestWrappedAnywhere(t *testing.T) {
	for _, s := range awkward(t) {
		set := newSet(t, []known{s})
		for before := range 120 {
			text := []byte(wrap(strings.Repeat("~", before)+s.value+"\nANOTHER=one\n", 76, "\n"))
			column := func(at int) int { return at + at/76 } // :: characters, line ends not counted → place
			first, last := column((before*8+5)/6), column((before+len(s.value))*8/6-1)
			covered := slices.ContainsFunc(set.Find(nil, text), func(h mask.Hit) bool { return h.Start <= first && h.End > last })
			require.True(t, covered, "%s after %d bytes", s.name, before)
		}
	}
}

// TestGrowth: no form is longer than there is room for.
func TestGrowth(t *testing.T) {
	for c := range 256 {
		value := append(bytes.Repeat([]byte{byte(c)}, 100), "abcdefgi"...)
		for _, form := range mask.Forms(value) {
			require.LessOrEqual(t, len(form), mask.Growth*len(value))
		}
	}
}

// TestLines: the lines of a value are masked alone, but for those that everybody
// has.
func TestLines(t *testing.T) {
	value := pem(t)
	set := newSet(t, []known{{"pem", value}})
	lines := strings.Split(strings.TrimSpace(value), "\n")
	for i, line := range lines {
		want := 1
		if i == 0 || i == len(lines)-1 {
			want = 0
		}
		require.Len(t, set.Find(nil, []byte("log: "+line+" (end)")), want, i)
	}
}

func TestWorth(t *testing.T) {
	c := canary.New(t, "value")
	for value, want := range map[string]error{
		"": mask.ErrShort, "true": mask.ErrShort, c[:7]: mask.ErrShort, " " + c[:7] + "\r\n": mask.ErrShort, "        ": mask.ErrShort,
		"aaaaaaaa": mask.ErrPlain, "abababababab": mask.ErrPlain, "12345678": mask.ErrPlain, "hgfedcba": mask.ErrPlain, "acegikmo": mask.ErrPlain,
		"20261126": mask.ErrPlain, "1795791234": mask.ErrPlain, "password": mask.ErrPlain, "Production": mask.ErrPlain, "127.0.0.1": mask.ErrPlain,
		c[:8]: nil, c: nil, "correct horse": nil, "419463820571": nil, "passwort!9": nil, "\x00\x01\x02\x03\x09\x05\x06\x07": nil,
	} {
		salt := mask.NewSalt()
		prints, err := salt.Fingerprints(nil, "a", []byte(value))
		require.ErrorIs(t, err, want, "%q", value)
		require.Equal(t, want == nil, len(prints) > 0, "%q", value)
	}
}

// TestFingerprints: they are of their salt, say nothing in clear, and are made
// without a change to the value.
func TestFingerprints(t *testing.T) {
	value := []byte(canary.New(t, "value"))
	kept := bytes.Clone(value)
	one, other := mask.NewSalt(), mask.NewSalt()
	prints, err := one.Fingerprints(nil, "a", value)
	require.NoError(t, err)
	require.Equal(t, kept, value)
	again, _ := one.Fingerprints(nil, "a", value)
	require.Equal(t, prints, again)
	otherwise, _ := other.Fingerprints(nil, "a", value)
	for i, p := range prints {
		require.NotEqual(t, p.Digest, otherwise[i].Digest)
		require.NotEqual(t, p.Prefix, otherwise[i].Prefix)
	}
	require.NotContains(t, fmt.Sprintf("%+v%x", prints, prints), string(value[3:11]))
	require.Len(t, mask.New(one, prints).Find(nil, value), 1)
	require.Empty(t, mask.New(other, prints).Find(nil, value))
	require.Empty(t, mask.New(one, []mask.Fingerprint{{Name: "no form", Len: 7}}).Find(nil, value))
}

package dotenv_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/dotenv"
)

// parse reads a copy: what a file is made of is its own.
func parse(t testing.TB, b []byte) *dotenv.File {
	f, err := dotenv.Parse(bytes.Clone(b))
	require.NoError(t, err)
	return f
}

// requireOnly checks that two files have the same entries, but for one that has
// a value.
func requireOnly(t testing.TB, before, after *dotenv.File, changed int, value []byte) {
	require.Len(t, after.Entries(), len(before.Entries()))
	for i, is := range after.Entries() {
		was := before.Entries()[i]
		require.Equal(t, was.Key, is.Key)
		require.Equal(t, was.Export, is.Export)
		if i == changed {
			require.Equal(t, string(value), string(is.Value), "entry %d", i)
		} else {
			require.Equal(t, string(was.Value), string(is.Value), "entry %d", i)
			require.Equal(t, was.Quote, is.Quote)
		}
	}
}

// checkChanges holds the entries of a file, up to some, against what a change
// promises. It returns how many could be put back byte for byte, how many with the same value
// only, and how many not at all.
func checkChanges(t testing.TB, b, value []byte) (exact, other, refused int) {
	f, err := dotenv.Parse(bytes.Clone(b))
	if err != nil {
		return 0, 0, 0
	}
	require.Equal(t, b, f.Bytes(), "nothing is replaced")
	for i := range min(len(f.Entries()), 50) {
		f := parse(t, b)
		was := bytes.Clone(f.Entries()[i].Value)
		spelling, ok := f.Spelling(i)
		reference := dotenv.AppendReference(nil, "a/b-c.d", spelling)
		if !f.Replace(i, reference) {
			require.True(t, len(was) == 0 || bytes.ContainsAny(b, "'\"`"), "only quotes are in the way, or a comment that begins at once")
			require.Equal(t, b, f.Bytes())
			refused++
			continue
		}
		moved := f.Bytes()
		requireOnly(t, parse(t, b), parse(t, moved), i, reference)

		f = parse(t, moved)
		written := f.Write(i, was, dotenv.ReferenceSpelling(f.Entries()[i].Value))
		back := f.Bytes()
		switch {
		case ok && written && len(was) > 0:
			require.Equal(t, b, back)
			exact++
		case written:
			requireOnly(t, parse(t, b), parse(t, back), i, was)
			other++
		default:
			require.Equal(t, moved, back)
			refused++
		}

		if i > 3 {
			continue // a few are as good as all
		}
		f = parse(t, b)
		if f.Write(i, value, dotenv.Plain) {
			requireOnly(t, parse(t, b), parse(t, f.Bytes()), i, value)
		} else {
			require.Equal(t, b, f.Bytes())
		}
	}
	return exact, other, refused
}

// TestChanges does that with all files, and values that are hard to write.
func TestChanges(t *testing.T) {
	exact, other, refused := 0, 0, 0
	for _, f := range fixtures(t) {
		for n, value := range []string{"value", "it's a #\"b\"", "a\nb\n", "`'\"", "a\\"} {
			if n > 0 && len(f.b) > 100 {
				break
			}
			e, o, r := checkChanges(t, f.b, []byte(value))
			exact, other, refused = exact+e, other+o, refused+r
		}
	}
	require.Greater(t, exact, 50*(other+refused))
	t.Logf("%d put back byte for byte, %d with the same value, %d refused", exact, other, refused)
}

func FuzzEnvFile(f *testing.F) {
	for _, x := range fixtures(f) {
		if len(x.b) < 4096 {
			f.Add(x.b, []byte("it's a #\"value\""))
		}
	}
	f.Fuzz(func(t *testing.T, b, value []byte) { checkChanges(t, b, value) })
}

// FuzzReaders: of any text our readers read what the real parsers do.
func FuzzReaders(f *testing.F) {
	quietCompose()
	for _, x := range fixtures(f) {
		if len(x.b) < 4096 {
			f.Add(x.b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := dotenv.Parse(bytes.Clone(b)); err != nil {
			return
		}
		got, open := dotenv.Readings(b)
		for d, want := range map[dotenv.Dialect]reading{dotenv.Godotenv: realGodotenv(b), dotenv.Compose: realCompose(b)} {
			if !knows(open[d]) {
				continue
			}
			require.Equal(t, want == nil, got[d] == nil, d)
			require.Equal(t, len(want), len(got[d]), d)
			for key, value := range want {
				require.Equal(t, value, got[d][key], "%s: %q", d, key)
			}
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"A=a\nB=b\x00c\n":                     "line 2: it has a zero byte, which no environment can hold",
		"A=a\r\n\r\nB=b\u2028\n":              "line 3: it has a line separator (U+2028), which some readers take for the end of a line",
		"A=\u2029\n":                          "line 1: it has a paragraph separator (U+2029), which some readers take for the end of a line",
		"\xff\xfeA\x00=\x00":                  "it is UTF-16",
		"\xfe\xff\x00A\x00=":                  "it is UTF-16",
		strings.Repeat("A=a\n", 1<<20) + "\n": "it is larger than 4 MiB",
	} {
		_, err := dotenv.Parse([]byte(text))
		require.EqualError(t, err, want)
		var wrong *dotenv.ParseError
		require.ErrorAs(t, err, &wrong)
		require.NotEmpty(t, wrong.Remedy)
	}
}

// TestOverruled: what is taken where motdotla's dotenv is alone.
func TestOverruled(t *testing.T) {
	for text, want := range map[string]string{
		"A=abc#def\n":       "abc#def", // it takes a # for a comment everywhere
		"A=abc #def\n":      "abc",     // only docker does not, here
		"A=\"a\\\"b\"\n":    `a"b`,     // it leaves the backslash
		"A=\"a\\tb\"\n":     `a\tb`,    // no two of the others agree
		"A='it'\\''s'\n":    `it'\''s`, // only a shell knows
		"A=a$$b#c\n":        "a$$b#c",  // they agree where it ends, if not on $$
		"A=a b#c\n":         "a b#c",   // to a shell it is a command
		"A=a#b #c # d\n":    "a#b",     // the least that they all take
		"A=#a\n":            "#a",
		"A= #a\n":           "", // a shell has a comment here too
		"A=\"a\\$B\"\n":     "a$B",
		"A=a$B\n":           "a$B",   // what the others take depends on B
		"export A=a#b\n":    "a#b",   // docker gives up on export, and has no say
		"A=\"abc\n":         "\"abc", // nobody else reads it
		"A=x#y\nexport B='": "x#y",   // what they make of other lines has no part in it
		"A=\"a#b\n":         "\"a#b", // there is no end to the quote, and to most no value
		"A=a;#b\n":          "a;#b",
		"A: #a\n":           "",
		"A=`x#y`\n":         "x#y", // two want the backquotes, to a shell it is a program
	} {
		require.Equal(t, want, string(parse(t, []byte(text)).Entries()[0].Value), "%q", text)
	}
}

// TestLargeFiles: the time that a file takes grows with its size, and not with its
// square: a fuzzer found one that did not.
func TestLargeFiles(t *testing.T) {
	for _, part := range []string{"\n", "\r\n", " ", "#", "A='\n", "A=\"`'\n", "A=a\n", "export ", "A=$(", "A=\\\n", "A=a #", "\f\n", "A"} {
		_, err := dotenv.Parse([]byte(strings.Repeat(part, (1<<16)/len(part))))
		require.NoError(t, err)
	}
}

func TestLines(t *testing.T) {
	f := parse(t, []byte("# a\r\nA=a\r\n\rB='b\nb'\n\nsk-stray\nC=c\nnot this\n  # d\n"))
	var lines []int
	for _, e := range f.Entries() {
		lines = append(lines, e.Line)
	}
	require.Equal(t, []int{2, 4, 8}, lines)
	require.Equal(t, []int{7, 9}, f.Strays())
}

func TestReference(t *testing.T) {
	for value, want := range map[string]string{
		"secret://a": "a", "secret://openai/api-key": "openai/api-key", "secret://a?spelled=crlf": "a", "secret://Not/A/Name": "Not/A/Name",
		"secret://": "", "secret://a b": "", "secret://a?spelled=": "", "secret://a?spelled=so": "", "Secret://a": "", " secret://a": "", "sk-x": "", "": "",
	} {
		name, ok := dotenv.Reference([]byte(value))
		require.Equal(t, want, name, value)
		require.Equal(t, want != "", ok, value)
	}
	for _, s := range []dotenv.Spelling{dotenv.Plain, dotenv.CRLF, dotenv.CR, dotenv.Escaped, dotenv.Backslashed} {
		require.Equal(t, s, dotenv.ReferenceSpelling(dotenv.AppendReference(nil, "a", s)))
	}
	require.Equal(t, "secret://tls/key?spelled=escaped", string(dotenv.AppendReference(nil, "tls/key", dotenv.Escaped)))
}

func TestClear(t *testing.T) {
	b := []byte("A=\"abc\"\n")
	f, err := dotenv.Parse(b)
	require.NoError(t, err)
	value := f.Entries()[0].Value
	f.Clear()
	require.Equal(t, make([]byte, len(b)), b)
	require.Equal(t, make([]byte, 3), value)
}

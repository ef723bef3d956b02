package mask_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/mask"
	"secretctl/broker/secret/canary"
)

var shapesOnly = mask.Options{Shapes: true}

// githubToken looks like one, whatever its sum.
const githubToken = "ghp_" + "R4nd0mCh4rsTh4tL00kL1k3AT0k3nQzXw9Kp"

// privateKey is a key in PEM that nobody uses.
func privateKey(t testing.TB) string { return strings.TrimSuffix(pem(t), "\n") }

const (
	keyBegin = "-----BEGIN PRIVATE KEY-----"
	keyEnd   = "-----END PRIVATE KEY-----"
)

// TestShapes: what looks like a credential is masked, in each line and in a
// private key, wherever the stream is cut.
func TestShapes(t *testing.T) {
	key := privateKey(t)
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "a line\nanother\r\nand the last", "a line\nanother\r\nand the last"},
		{"a token", "push with " + githubToken + "\n", "push with [secretctl:?github-token]\n"},
		{"no newline", "push with " + githubToken, "push with [secretctl:?github-token]"},
		{"two", githubToken + " " + githubToken + "\n", "[secretctl:?github-token] [secretctl:?github-token]\n"},
		{"progress", "10%\r20%\r" + githubToken + "\r30%", "10%\r20%\r[secretctl:?github-token]\r30%"},
		{"a key", "x\n" + key + "\ny\n", "x\n" + keyBegin + "\n[secretctl:?private-key]\n" + keyEnd + "\ny\n"},
		{"a key, CRLF", strings.ReplaceAll("x\n"+key+"\ny\n", "\n", "\r\n"), "x\r\n" + keyBegin + "\r\n[secretctl:?private-key]\r\n" + keyEnd + "\r\ny\r\n"},
		{"a key, twice", key + "\n" + key, strings.Repeat("\n"+keyBegin+"\n[secretctl:?private-key]\n"+keyEnd, 2)[1:]},
		{"a key in a log", strings.ReplaceAll("\n"+key, "\n", "\napp | "), "\napp | " + keyBegin + "\napp | [secretctl:?private-key]\n" + strings.Repeat("app | \n", 6) + "app | " + keyEnd},
		{"a key that is cut", key[:len(key)/2] + "\nthe end\n", keyBegin + "\n[secretctl:?private-key]\nthe end\n"},
		{"a key in JSON", `{"k":"` + strings.ReplaceAll(key, "\n", `\n`) + `"}` + "\n", `{"k":"[secretctl:?private-key]"}` + "\n"},
		{"no key", keyBegin + "\nis how it begins\n", keyBegin + "\nis how it begins\n"},
		{"a certificate", strings.ReplaceAll(key, "PRIVATE KEY", "CERTIFICATE"), strings.ReplaceAll(key, "PRIVATE KEY", "CERTIFICATE")},
	} {
		text := []byte(c.text)
		for cut := range len(text) + 1 {
			require.Equal(t, c.want, string(through(t, nil, shapesOnly, text, cut)), "%s, cut at %d", c.name, cut)
		}
		every := make([]int, len(text))
		for i := range every {
			every[i] = i
		}
		require.Equal(t, c.want, string(through(t, nil, shapesOnly, text, every...)), c.name)
	}
}

// TestShapesAndValues: what is known goes by its name, also where it looks like
// something.
func TestShapesAndValues(t *testing.T) {
	secrets := []known{{"gh", githubToken}, {"plain", canary.New(t, "plain")}}
	set := newSet(t, secrets)
	other := strings.Replace(githubToken, "R4nd", "Q7mb", 1)
	text := []byte("a " + githubToken + " b " + other + " c " + secrets[1].value + "\nd " + other + "\n")
	want := "a [secretctl:gh] b [secretctl:?github-token] c [secretctl:plain]\nd [secretctl:?github-token]\n"
	for cut := range len(text) + 1 {
		require.Equal(t, want, string(through(t, set, shapesOnly, text, cut)), cut)
	}
}

// TestLongLines: a line without end is masked in parts, and a credential across
// the border of two as a whole.
func TestLongLines(t *testing.T) {
	word := "lorem ipsum "
	for _, before := range []int{0, 47 << 10, 48<<10 - 20, 48 << 10, 64<<10 - 20, 64 << 10, 200 << 10} {
		filler := strings.Repeat(word, before/len(word)) + strings.Repeat(".", before%len(word)) + " "
		text := []byte(filler + githubToken + " " + strings.Repeat(word, 20_000))
		want := []byte(filler + "[secretctl:?github-token] " + strings.Repeat(word, 20_000))
		require.True(t, bytes.Equal(want, through(t, nil, shapesOnly, text)), before)
		require.True(t, bytes.Equal(want, through(t, nil, shapesOnly, text, before+1, before+20)), before)
	}
}

// TestShapesInTime: a line that has not ended is shown after the delay, and what
// then comes of it is known with what was shown.
func TestShapesInTime(t *testing.T) {
	watching(t, nil, shapesOnly, func(t *testing.T, w *mask.Writer, s *screen) {
		write(t, w, "token: ")
		pass(50 * time.Millisecond)
		require.Equal(t, "token: ", s.String())
		write(t, w, githubToken)
		pass(49 * time.Millisecond)
		require.Equal(t, "token: ", s.String())
		pass(time.Millisecond)
		require.Equal(t, "token: [secretctl:?github-token]", s.String())
		write(t, w, "\nnext ")
		require.NoError(t, w.Close())
		require.Equal(t, "token: [secretctl:?github-token]\nnext ", s.String())
	})
	// A line that never pauses is shown up to its last word.
	watching(t, nil, shapesOnly, func(t *testing.T, w *mask.Writer, s *screen) {
		for _, c := range "some words and " + githubToken + " and " {
			write(t, w, string(c))
			pass(10 * time.Millisecond)
			require.NotContains(t, s.String(), "ghp_")
		}
		require.Equal(t, "some words and [secretctl:?github-token] ", s.String())
		require.NoError(t, w.Close())
		require.Equal(t, "some words and [secretctl:?github-token] and ", s.String())
	})
	// The body of a key is held back, whatever time it takes.
	watching(t, nil, shapesOnly, func(t *testing.T, w *mask.Writer, s *screen) {
		for _, c := range privateKey(t) {
			write(t, w, string(c))
			pass(time.Minute)
		}
		require.NoError(t, w.Close())
		require.Equal(t, keyBegin+"\n[secretctl:?private-key]\n"+keyEnd, s.String())
	})
	watching(t, nil, shapesOnly, func(t *testing.T, w *mask.Writer, s *screen) {
		key := strings.ReplaceAll(privateKey(t), "\n", `\n`)
		for _, c := range key {
			write(t, w, string(c))
			pass(time.Minute)
		}
		require.NoError(t, w.Close())
		require.Equal(t, keyBegin+"[secretctl:?private-key]", s.String())
	})
}

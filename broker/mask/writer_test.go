package mask_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"secretctl/broker/mask"
	"secretctl/broker/secret/canary"
)

// pem is a value of many lines.
func pem(t testing.TB) string {
	var body strings.Builder
	for i := range 6 {
		text := canary.New(t, fmt.Sprint("line", i)) + canary.New(t, fmt.Sprint("rest", i))
		body.WriteString(strings.ReplaceAll(text, "-", "+")[:64] + "\n")
	}
	return "-----BEGIN PRIVATE KEY-----\n" + body.String() + "kD3x+w==\n-----END PRIVATE KEY-----\n"
}

// awkward are values that every encoding writes in its own way.
func awkward(t testing.TB) []known {
	c := canary.New(t, "awkward")
	return []known{
		{"plain", canary.New(t, "plain")},
		{"special", `p"a's<s>&w\o/r d$` + "`" + c[:20] + "+%~é€\U0001f511!*()"},
		{"spaces", "  " + c[4:24] + "\t\n"},
		{"lines", c[:16] + "\r\n" + c[8:30] + "\nend of it"},
		{"pem", pem(t)},
		{"binary", "\x00\xff\xfe\x01" + c[5:17] + "\x80\x00"},
	}
}

// TestEveryFormAtEverySplit: every form of every value, in the middle of a stream
// of 4 KiB that is cut in two at every place; those of more than one line, which are
// many, in the form or near it. So are all under the race detector, in streams of
// 2 KiB: it would take a quarter of an hour. Of those, unless there is time, every
// third place, beginning elsewhere for each form.
func TestEveryFormAtEverySplit(t *testing.T) {
	size := 4 << 10
	if raceEnabled {
		size = 2 << 10
	}
	at := size / 4
	noise := []byte(strings.Repeat("2026-11-26T15:00:00Z INFO request served in 3ms path=/v1/items\n", 80))[:size]
	tried := 0
	for _, s := range awkward(t) {
		set := newSet(t, []known{s})
		o := newOracle([]known{s})
		seen := map[string]bool{}
		for _, form := range mask.Forms([]byte(s.value)) {
			if seen[string(form)] {
				continue
			}
			seen[string(form)] = true
			stream := bytes.Clone(noise)
			require.Less(t, at+len(form), size)
			copy(stream[at:], form)
			want := o.mask(stream)
			require.Contains(t, string(want), "[secretctl:"+s.name+"]")
			require.NotContains(t, string(want), string(form))
			first, last := 0, len(stream)
			if raceEnabled || bytes.IndexByte(form, '\n') >= 0 {
				first, last = at-16, min(at+len(form)+16, size)
			}
			step := 1
			if raceEnabled && os.Getenv("SECRETCTL_LONG") == "" {
				step = 3
				first += len(seen) % step
			}
			for cut := first; cut <= last; cut += step {
				if got := through(t, set, mask.Options{}, stream, cut); !bytes.Equal(got, want) {
					t.Fatalf("%s: form %d cut at %d is not masked as it should be", s.name, len(seen), cut)
				}
				tried++
			}
		}
		t.Logf("%s: %d forms", s.name, len(seen))
	}
	t.Logf("%d streams", tried)
	if !raceEnabled {
		require.Greater(t, tried, 100*4096)
	}
}

// related are values that begin alike, are within one another, overlap or are
// equal.
func related(t testing.TB) []known {
	c := canary.New(t, "related")
	return []known{
		{"short", c[:10]}, {"longer", c[:20]}, {"longest", c}, {"inside", c[5:15]}, {"across", c[12:] + c[:12]},
		{"same", c[:20]}, {"and-same", c[:20]}, {"else", c[3:13] + "=" + c[:9]},
		{"runs", "abcdeabcdeabcdeabcdeabcdX"}, {"zeros", strings.Repeat("\x00", 70) + "abcd"},
	}
}

// TestOracle: random streams of forms and parts of forms of values that are
// related, cut at random places, are masked as by somebody who has the values.
func TestOracle(t *testing.T) {
	secrets := append(related(t), awkward(t)...)
	set, o := newSet(t, secrets), newOracle(secrets)
	forms := o.all()
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		for range rapid.IntRange(0, 30).Draw(t, "pieces") {
			piece := forms[rapid.IntRange(0, len(forms)-1).Draw(t, "form")].form
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				piece = piece[:rapid.IntRange(0, len(piece)).Draw(t, "to")]
			case 1:
				piece = piece[rapid.IntRange(0, len(piece)).Draw(t, "from"):]
			case 2:
				piece = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "noise")
			}
			stream = append(stream, piece...)
		}
		cut := rapid.IntRange(0, len(stream))
		a, b := cut.Draw(t, "cut"), cut.Draw(t, "cut")
		got := through(t, set, mask.Options{}, stream, min(a, b), max(a, b))
		require.Equal(t, o.mask(stream), got)
		require.Equal(t, o.find(stream), set.Find(nil, stream))
	})
}

func TestByteAtATime(t *testing.T) {
	secrets := append(related(t), awkward(t)...)
	set, o := newSet(t, secrets), newOracle(secrets)
	forms := o.all()
	rnd := rand.New(rand.NewPCG(1, 2))
	var stream []byte
	for range 200 {
		form := forms[rnd.IntN(len(forms))].form
		stream = append(stream, form[:rnd.IntN(len(form)+1)]...)
	}
	every := make([]int, len(stream))
	for i := range every {
		every[i] = i
	}
	require.Equal(t, o.mask(stream), through(t, set, mask.Options{}, stream, every...))
}

package mask_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/mask"
	"secretctl/broker/secret/canary"
)

// TestOverlaps: the hits of related values, as literal as can be.
func TestOverlaps(t *testing.T) {
	a, b := "q918273645abcdX", "abcdXefghijk"
	for _, c := range []struct {
		name    string
		secrets []known
		text    string
		want    string
	}{
		{"prefix, longest wins", []known{{"a", a[:9]}, {"b", a}}, "<" + a + ">", "<[secretctl:b]>"},
		{"prefix, longest not there", []known{{"a", a[:11]}, {"b", a}}, "<" + a[:14] + ">", "<[secretctl:a]bcd>"},
		{"inside", []known{{"a", a}, {"b", a[2:12]}}, "<" + a + ">", "<[secretctl:a]>"},
		{"overlapping", []known{{"a", a}, {"b", b}}, "<" + a + b[5:] + ">", "<[secretctl:a][secretctl:b]>"},
		{"one after the other", []known{{"a", a}, {"b", b}}, a + b, "[secretctl:a][secretctl:b]"},
		{"twice", []known{{"a", a}}, a + a, "[secretctl:a][secretctl:a]"},
		{"equal", []known{{"b", a}, {"a", a}}, a, "[secretctl:a]"},
		{"a second try within the first", []known{{"a", "abcdeabcdeabcdfX"}}, "abcdeabcdeabcdeabcdfX", "abcde[secretctl:a]"},
	} {
		require.Equal(t, c.want, string(through(t, newSet(t, c.secrets), mask.Options{}, []byte(c.text))), c.name)
	}
}

// TestLarge: values of the largest size there is, of text, of lines and of
// anything, in a stream of odd pieces.
func TestLarge(t *testing.T) {
	size := 1 << 20
	if raceEnabled {
		size = 64 << 10
	}
	rnd := rand.New(rand.NewPCG(7, 8))
	anything := make([]byte, size)
	for i := range anything {
		anything[i] = byte(rnd.Uint32())
	}
	var text []byte
	for i := 0; len(text) < size; i++ {
		text = append(text, canary.New(t, fmt.Sprint(i))...)
	}
	text = text[:size]
	lines := bytes.Clone(text)
	for i := 50; i < size; i += 70 {
		lines[i] = '\n'
	}
	secrets := []known{{"anything", string(anything)}, {"text", string(text)}, {"lines", string(lines)}}
	set := newSet(t, secrets)
	var stream []byte
	var cuts []int
	for _, s := range secrets {
		stream = append(stream, "\n-- "+s.value+" --"...)
	}
	for at := 0; at < len(stream); at += 1 + rnd.IntN(100<<10) {
		cuts = append(cuts, at)
	}
	want := "\n-- [secretctl:anything] --\n-- [secretctl:text] --\n-- [secretctl:lines] --"
	require.Equal(t, want, string(through(t, set, mask.Options{}, stream, cuts...)))
	require.Len(t, set.Find(nil, stream), 3)
	require.GreaterOrEqual(t, set.Longest(), size)
}

// TestNeverSlow: text that begins like a large value again and again, which is
// told by the head, costs no more than other text does.
func TestNeverSlow(t *testing.T) {
	value := "-----BEGIN " + strings.Repeat(canary.New(t, "value"), 20_000)
	set := newSet(t, []known{{"a", value}})
	text := bytes.Repeat([]byte("-----BEGIN CERTIFICATE-----"), 40_000)
	require.Equal(t, text, through(t, set, mask.Options{}, text)) // hashing it all at each would take minutes
}

// TestFalsePrefix: the gate agreeing is not enough: another digest is no hit.
func TestFalsePrefix(t *testing.T) {
	salt := mask.NewSalt()
	prints, err := salt.Fingerprints(nil, "a", []byte(canary.New(t, "a")))
	require.NoError(t, err)
	prints = prints[:1]
	text := []byte("x" + canary.New(t, "a") + "y")
	require.Len(t, mask.New(salt, prints).Find(nil, text), 1)
	prints[0].Digest[15] ^= 1
	require.Empty(t, mask.New(salt, prints).Find(nil, text))
	require.Equal(t, text, through(t, mask.New(salt, prints), mask.Options{}, text))
	long := strings.Repeat(canary.New(t, "long"), 3)
	prints, err = salt.Fingerprints(nil, "a", []byte(long))
	require.NoError(t, err)
	require.Len(t, mask.New(salt, prints[:1]).Find(nil, []byte(long)), 1)
	prints[0].Head ^= 1
	require.Empty(t, mask.New(salt, prints[:1]).Find(nil, []byte(long)))
}

// FuzzMask: any stream, cut anywhere, with values that are themselves cut out of
// it, is masked as by somebody who has the values.
func FuzzMask(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdefXYZW"), uint16(3), uint16(12), uint16(20), uint16(17), uint16(25))
	f.Add([]byte("aaaaaaabcdaaaaaaabcdeaaaaaaabcdaaaaaaabcdef"), uint16(0), uint16(11), uint16(21), uint16(11), uint16(1))
	f.Add([]byte("cGFzc3dvcmQ6c2VjcmV0IQ== secret! c2VjcmV0IQ=="), uint16(24), uint16(8), uint16(0), uint16(12), uint16(30))
	f.Fuzz(func(t *testing.T, stream []byte, from1, len1, from2, len2, cut uint16) {
		if len(stream) == 0 || len(stream) > 2000 {
			return
		}
		part := func(from, size uint16) string {
			at := int(from) % len(stream)
			return string(stream[at:min(len(stream), at+int(size)%200)])
		}
		salt := mask.NewSalt()
		var prints []mask.Fingerprint
		var secrets []known
		for i, v := range []string{part(from1, len1), part(from2, len2)} {
			name := string(rune('a' + i))
			had := len(prints)
			var err error
			prints, err = salt.Fingerprints(prints, name, []byte(v))
			if err != nil {
				require.Len(t, prints, had)
				continue
			}
			secrets = append(secrets, known{name, v})
		}
		o := newOracle(secrets)
		set := mask.New(salt, prints)
		// The forms of what is in the stream, in the stream too.
		for i, f := range o.all() {
			if i%7 == int(cut)%7 {
				stream = append(stream, f.form...)
			}
		}
		require.Equal(t, o.find(stream), set.Find(nil, stream))
		at := int(cut) % len(stream)
		require.Equal(t, o.mask(stream), through(t, set, mask.Options{}, stream, at))
	})
}

package halt_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/halt"
	"secretctl/broker/lease"
)

// TestRot flips bits of a file whose last Store was acknowledged. Wherever one
// is, the state is that of the last Store: a kill does not rot away, nor does a
// dead lease come back to life.
func TestRot(t *testing.T) {
	d := made(t)
	for _, s := range []halt.State{{Epoch: 1}, {Killed: true, Epoch: 2, Revoked: ids(3)}} {
		store(t, d, s)
	}
	want, sound := read(t, d), content(t, d)
	for at := range sound {
		for bit := range 8 {
			if bit != at%8 && os.Getenv("SECRETCTL_LONG") == "" {
				continue
			}
			b := bytes.Clone(sound)
			b[at] ^= 1 << bit
			put(t, d, b)
			require.Equal(t, want, read(t, d), "byte %d, bit %d", at, bit)
			require.Equal(t, sound, content(t, d), "the copy was made anew")
		}
	}
}

// TestDamage loses more: a copy, or both.
func TestDamage(t *testing.T) {
	d := made(t)
	for range 3 {
		store(t, d, states[0])
	}
	older := content(t, d)[:pageSize]
	store(t, d, states[3])
	sound := content(t, d)
	newer, zeros := sound[:pageSize], make([]byte, pageSize)
	for what, c := range map[string]struct {
		first, second []byte
		want          *halt.State
	}{
		"first wiped":              {zeros, newer, &states[3]},
		"second wiped":             {newer, zeros, &states[3]},
		"second gone":              {newer, nil, &states[3]},
		"second cut":               {newer, newer[:pageSize-1], &states[3]},
		"first behind":             {older, newer, &states[3]},
		"second behind":            {newer, older, &states[3]},
		"something behind both":    {newer, append(bytes.Clone(newer), 1, 2, 3), &states[3]},
		"first behind, second ill": {older, zeros, &states[0]}, // never after a Store that was acknowledged
		"both wiped":               {zeros, zeros, nil},
		"both gone":                {nil, nil, nil},
		"shifted":                  {[]byte{0}, append(bytes.Clone(newer), newer...), nil},
		"sum of another":           {withoutSum(newer, older), zeros, nil},
	} {
		t.Run(what, func(t *testing.T) {
			put(t, d, append(bytes.Clone(c.first), c.second...))
			before := content(t, d)
			_, s, err := halt.Open(d)
			if c.want == nil {
				require.ErrorIs(t, err, halt.ErrUnreadable)
				require.Equal(t, before, content(t, d), "what cannot be read is left as it is")
				return
			}
			require.NoError(t, err)
			require.Equal(t, *c.want, s)
			after := content(t, d)
			require.Equal(t, after[:pageSize], after[pageSize:2*pageSize])
			for page := range 2 { // so that now either can be lost
				b := bytes.Clone(after)
				copy(b[page*pageSize:], zeros)
				put(t, d, b)
				require.Equal(t, *c.want, read(t, d))
			}
		})
	}
}

// withoutSum returns page with the checksum of another.
func withoutSum(page, other []byte) []byte {
	return append(bytes.Clone(page[:pageSize-sha256.Size]), other[pageSize-sha256.Size:]...)
}

// sealed returns page with the right checksum.
func sealed(page []byte) []byte {
	sum := sha256.Sum256(page[:pageSize-sha256.Size])
	return append(bytes.Clone(page[:pageSize-sha256.Size]), sum[:]...)
}

// reference reads one copy by the words of the format.
func reference(page []byte) (s halt.State, seq uint64, ok bool) {
	if len(page) < pageSize || !bytes.Equal(page[:pageSize], sealed(page)) || string(page[:16]) != "secretctl-halt-1" {
		return s, 0, false
	}
	if page[32] > 1 || page[33] > halt.MaxRevoked {
		return s, 0, false
	}
	s = halt.State{Killed: page[32] == 1, Epoch: binary.BigEndian.Uint64(page[24:32])}
	for i := range int(page[33]) {
		s.Revoked = append(s.Revoked, lease.ID(page[40+16*i:56+16*i]))
	}
	return s, binary.BigEndian.Uint64(page[16:24]), true
}

// TestSealedNonsense has copies with the right checksum that say what no Store
// has written.
func TestSealedNonsense(t *testing.T) {
	d := made(t)
	store(t, d, states[3])
	page := content(t, d)[:pageSize]
	for at, value := range map[int]byte{0: 'S', 15: '2', 32: 2, 33: halt.MaxRevoked + 1} {
		bad := bytes.Clone(page)
		bad[at] = value
		bad = sealed(bad)
		put(t, d, append(bad, bad...))
		_, _, err := halt.Open(d)
		require.ErrorIs(t, err, halt.ErrUnreadable, "byte %d is %d", at, value)
	}
}

// FuzzOpen holds any two pages, with and without right checksums, against the
// reference: the one that is ahead is the state, and both are it afterwards.
func FuzzOpen(f *testing.F) {
	d := made(f)
	for _, s := range states {
		b := content(f, d)
		store(f, d, s)
		f.Add(b[:pageSize], content(f, d)[:pageSize], true, true)
		f.Add(content(f, d)[:pageSize], b[:pageSize], true, false)
	}
	fixture, err := os.ReadFile(formatFile)
	require.NoError(f, err)
	f.Add(fixture[:pageSize], fixture[pageSize:pageSize+100], false, false)
	f.Fuzz(func(t *testing.T, first, second []byte, sealFirst, sealSecond bool) {
		if sealFirst && len(first) >= pageSize {
			first = sealed(first)
		}
		if sealSecond && len(second) >= pageSize {
			second = sealed(second)
		}
		first = append(bytes.Clone(first), make([]byte, max(0, pageSize-len(first)))...)[:pageSize]
		d := durable.NewMem()
		put(t, d, append(first, second...))
		want, seq, ok := reference(first)
		if s, seq2, ok2 := reference(second); ok2 && (!ok || seq2 > seq) {
			want, ok = s, true
		}
		h, s, err := halt.Open(d)
		if !ok {
			require.ErrorIs(t, err, halt.ErrUnreadable)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, s)
		after := content(t, d)
		require.Equal(t, after[:pageSize], after[pageSize:2*pageSize])
		require.Equal(t, want, read(t, d))
		require.NoError(t, h.Store(states[3]))
		require.Equal(t, states[3], read(t, d))
	})
}

package age_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers"
)

// pattern returns n bytes that begin like a canary and differ from chunk to chunk.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	copy(b, canary.Of("pattern"))
	return b
}

// A cut file is never the beginning of a value.
func TestCutFiles(t *testing.T) {
	short := sealedTo(t, horse, ours.Recipient())
	for n := range len(short) {
		_, err := opened(t, short[:n])
		require.Error(t, err, n)
	}
	step := 4999
	if os.Getenv("SECRETCTL_LONG") != "" {
		step = 97
	}
	header := len(short) - len(horse) - 16 - 16
	for _, size := range []int{64 << 10, 3*64<<10 + 100} {
		long := sealedTo(t, pattern(size), ours.Recipient())
		for n := range len(long) {
			at := (n - header - 16) % (64<<10 + 16) // in its chunk
			near := at < 3 || at > 64<<10-3
			if n > header+16 && !near && n%step != 0 {
				continue
			}
			_, err := opened(t, long[:n])
			require.Error(t, err, "%d of %d bytes", n, len(long))
		}
		b, err := opened(t, long)
		require.NoError(t, err)
		require.True(t, bytes.Equal(pattern(size), b))
	}
}

// A file with one bit changed, wherever, is no value.
func TestFlippedBits(t *testing.T) {
	bits := []int{0, 5, 7} // the nearest character, the other case, no character
	if os.Getenv("SECRETCTL_LONG") != "" {
		bits = []int{0, 1, 2, 3, 4, 5, 6, 7}
	}
	file := sealedTo(t, horse, ours.Recipient())
	for i := range file {
		for _, bit := range bits {
			bad := bytes.Clone(file)
			bad[i] ^= 1 << bit
			_, err := opened(t, bad)
			require.Error(t, err, "bit %d of byte %d", bit, i)
		}
	}
	long := sealedTo(t, pattern(3*64<<10+100), ours.Recipient())
	for i := 0; i < len(long); i += 4001 {
		bad := bytes.Clone(long)
		bad[i] ^= 1
		_, err := opened(t, bad)
		require.Error(t, err, "byte %d", i)
	}
}

// A version too large for the broker is neither sealed nor opened.
func TestTooLong(t *testing.T) {
	s := newRaw(t, nil)
	for n, fits := range map[int]bool{1 << 20: true, 1<<20 + 1: false, 1<<20 + 17: false, 1<<20 + 100: false, 1<<20 + 30_000: false} {
		v, err := secret.Fill(n, func([]byte) error { return nil })
		require.NoError(t, err)
		_, err = s.Put(t.Context(), rawName, uint64(n), v)
		v.Clear()
		if fits {
			require.NoError(t, err, n)
			require.NoError(t, s.Delete(t.Context(), rawName, uint64(n)))
		} else {
			require.ErrorIs(t, err, secret.ErrTooLong, n)
		}
		b, err := opened(t, sealedTo(t, make([]byte, n), ours.Recipient()))
		if fits {
			require.NoError(t, err, n)
			require.Len(t, b, n)
		} else {
			require.ErrorIs(t, err, secret.ErrTooLong, n)
		}
	}
	_, err := opened(t, make([]byte, 2<<20))
	require.ErrorContains(t, err, "not a file of ours")
}

// Without room in the locked memory the broker is told so, to make some.
func TestNoRoom(t *testing.T) {
	var all []secret.Value
	defer func() {
		for _, v := range all {
			v.Clear()
		}
	}()
	for {
		v, err := secret.Fill(1<<18, func([]byte) error { return nil })
		if err != nil {
			break
		}
		all = append(all, v)
	}
	_, err := newRaw(t, sealedTo(t, pattern(1<<18), ours.Recipient())).Get(t.Context(), rawName, rawVersion, providers.Sum{})
	require.ErrorIs(t, err, secret.ErrFull)
}

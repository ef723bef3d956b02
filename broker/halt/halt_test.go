package halt_test

import (
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/halt"
	"secretctl/broker/lease"
)

const pageSize = 4096

func ids(n int) (out []lease.ID) {
	for range n {
		out = append(out, lease.NewID())
	}
	return out
}

// states are what a broker stores one after the other.
var states = []halt.State{
	{Epoch: 1},
	{Epoch: 1, Revoked: ids(1)},
	{Epoch: 1, Revoked: ids(halt.MaxRevoked)},
	{Killed: true, Epoch: 2},
	{Killed: true, Epoch: 1<<64 - 1, Revoked: ids(3)},
	{Epoch: 3},
}

// made returns a disk with a halt file in the zero state, all of it durable.
func made(t testing.TB) *durable.Mem {
	d := durable.NewMem()
	require.NoError(t, halt.Ensure(d))
	return d
}

// read returns what the file says to whoever opens it next.
func read(t require.TestingT, d durable.Disk) halt.State {
	h, s, err := halt.Open(d)
	require.NoError(t, err)
	require.NoError(t, h.Close())
	return s
}

func store(t testing.TB, d durable.Disk, s halt.State) {
	h, _, err := halt.Open(d)
	require.NoError(t, err)
	require.NoError(t, h.Store(s))
	require.NoError(t, h.Close())
}

func TestStore(t *testing.T) {
	home, err := durable.OpenHome(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, halt.Ensure(home))
	for what, d := range map[string]durable.Disk{"in memory": made(t), "on a disk": home} {
		t.Run(what, func(t *testing.T) {
			require.Equal(t, halt.State{}, read(t, d))
			h, _, err := halt.Open(d)
			require.NoError(t, err)
			for _, s := range states {
				require.NoError(t, h.Store(s))
				require.Equal(t, s, read(t, d))
			}
			require.NoError(t, h.Close())
			for _, s := range states { // each by a process of its own
				store(t, d, s)
				require.Equal(t, s, read(t, d))
			}
			require.EqualValues(t, 1+2*len(states), binary.BigEndian.Uint64(content(t, d)[16:]), "each is ahead of the one before")
			info, err := d.Stat(halt.Name)
			require.NoError(t, err)
			require.EqualValues(t, 2*pageSize, info.Size(), "it never grows")
			require.Equal(t, fs.FileMode(0o600), info.Mode())
		})
	}
}

func TestStoreTooMany(t *testing.T) {
	d := made(t)
	h, _, err := halt.Open(d)
	require.NoError(t, err)
	err = h.Store(halt.State{Killed: true, Revoked: ids(halt.MaxRevoked + 1)})
	require.EqualError(t, err, "writing halt: 65 revoked leases are more than the 64 it holds")
	require.Equal(t, halt.State{}, read(t, d))
}

// A file that is there stays, whatever it says; also one that cannot be read,
// for it may have said that the broker is killed.
func TestEnsure(t *testing.T) {
	d := made(t)
	store(t, d, halt.State{Killed: true, Epoch: 7})
	require.NoError(t, halt.Ensure(d))
	require.Equal(t, halt.State{Killed: true, Epoch: 7}, read(t, d))

	for what, content := range map[string][]byte{"empty": {}, "zeros": make([]byte, 2*pageSize), "cut": content(t, d)[:pageSize-1]} {
		put(t, d, content)
		require.ErrorIs(t, halt.Ensure(d), halt.ErrUnreadable, what)
		now, err := durable.ReadFile(d, halt.Name)
		require.NoError(t, err)
		require.Equal(t, content, now, what)
	}
}

func TestReplace(t *testing.T) {
	d := made(t)
	store(t, d, halt.State{Killed: true, Epoch: 7})
	h, err := halt.Replace(d)
	require.NoError(t, err)
	require.Equal(t, halt.State{}, read(t, d))
	require.NoError(t, h.Store(states[0]))
	require.Equal(t, states[0], read(t, d))
}

func TestOpenAbsent(t *testing.T) {
	_, _, err := halt.Open(durable.NewMem())
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, halt.ErrUnreadable)
}

// content returns the bytes of the file.
func content(t testing.TB, d durable.Disk) []byte {
	b, err := durable.ReadFile(d, halt.Name)
	require.NoError(t, err)
	return b
}

func put(t testing.TB, d durable.Disk, content []byte) {
	require.NoError(t, durable.WriteFile(d, halt.Name, content, 0o600))
}

// formatFile is the file as the first version wrote it. It stays readable.
var formatFile = filepath.Join("..", "..", "testdata", "formats", "halt-v1")

func formatState(t testing.TB) halt.State {
	a, err := lease.ParseID("00112233445566778899aabbccddeeff")
	require.NoError(t, err)
	b, err := lease.ParseID("ffeeddccbbaa99887766554433221100")
	require.NoError(t, err)
	return halt.State{Killed: true, Epoch: 258, Revoked: []lease.ID{a, b}}
}

func TestFormat1(t *testing.T) {
	b, err := os.ReadFile(formatFile)
	require.NoError(t, err)
	d := durable.NewMem()
	put(t, d, b)
	require.Equal(t, formatState(t), read(t, d))
	require.Equal(t, b, content(t, d), "reading it changes nothing")

	// What is written today is the same, byte for byte.
	d = made(t)
	for range 4 {
		store(t, d, formatState(t))
	}
	require.Equal(t, b, content(t, d))
}

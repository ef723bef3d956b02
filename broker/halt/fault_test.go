package halt_test

import (
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
	"secretctl/broker/halt"
)

// faults are what a disk answers.
var faults = map[string]durable.Verdict{
	"EIO":       {Err: syscall.EIO},
	"ENOSPC":    {Err: syscall.ENOSPC},
	"EROFS":     {Err: syscall.EROFS},
	"EINTR":     {Err: syscall.EINTR},
	"a byte":    {Err: syscall.ENOSPC, Short: 1},
	"a sector":  {Err: syscall.ENOSPC, Short: 512},
	"all but 1": {Err: syscall.EIO, Short: pageSize - 1},
	"all":       {Err: syscall.EIO, Short: pageSize},
}

// TestStoreFault fails each operation of a Store in each way: it says so, the
// file holds the state before or the new one, and the next Store holds.
func TestStoreFault(t *testing.T) {
	before, next, after := states[3], states[4], states[5]
	for what, fault := range faults {
		t.Run(what, func(t *testing.T) {
			for k := range 4 {
				d := made(t)
				store(t, d, before)
				h, _, err := halt.Open(&durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
					if op.N == k {
						return fault
					}
					return durable.Verdict{}
				}})
				require.NoError(t, err)
				err = h.Store(next)
				require.ErrorIs(t, err, fault.Err, "operation %d", k)
				require.ErrorContains(t, err, "halt")
				eachImage(d, 40, func(image *durable.Mem) {
					require.Contains(t, []halt.State{before, next}, read(t, image), "operation %d", k)
				})
				require.NoError(t, h.Store(after))
				eachImage(d, 40, func(image *durable.Mem) {
					require.Equal(t, after, read(t, image), "operation %d", k)
				})
			}
		})
	}
}

// TestStoreFaultThenCrash crashes at each operation of the Store that follows one
// that failed: it must not begin with the only copy that is whole.
func TestStoreFaultThenCrash(t *testing.T) {
	before, next, after := states[3], states[4], states[5]
	for k := range 4 {
		for crash := k + 1; crash <= k+4; crash++ {
			d := made(t)
			store(t, d, before)
			h, _, err := halt.Open(&durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
				switch {
				case op.N == k:
					return durable.Verdict{Err: syscall.EIO, Short: 512}
				case op.N >= crash:
					return durable.Verdict{Err: errCrashed}
				}
				return durable.Verdict{}
			}})
			require.NoError(t, err)
			require.ErrorIs(t, h.Store(next), syscall.EIO)
			require.ErrorIs(t, h.Store(after), errCrashed)
			eachImage(d, 40, func(image *durable.Mem) {
				require.Contains(t, []halt.State{before, next, after}, read(t, image), "operation %d, then %d", k, crash)
			})
		}
	}
}

// TestFsyncGate fails one sync and then says that all is well, as kernels do
// that drop what they could not write: the next Store does not rely on it.
func TestFsyncGate(t *testing.T) {
	for failing := range 2 {
		d := made(t)
		syncs := 0
		h, _, err := halt.Open(&durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
			if op.Kind != durable.OpSync {
				return durable.Verdict{}
			}
			if syncs++; syncs-1 == failing {
				return durable.Verdict{Err: syscall.EIO}
			}
			return durable.Verdict{}
		}})
		require.NoError(t, err)
		require.ErrorIs(t, h.Store(states[0]), syscall.EIO)
		require.NoError(t, h.Store(states[3]))
		eachImage(d, someImages, func(image *durable.Mem) { require.Equal(t, states[3], read(t, image)) })
	}
}

// A file whose damaged copy cannot be written anew is not opened: the state
// would hang on the other one.
func TestOpenFault(t *testing.T) {
	d := made(t)
	store(t, d, states[3])
	b := content(t, d)
	b[100] ^= 1
	put(t, d, b)
	for k := range 2 {
		_, _, err := halt.Open(&durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
			if op.N == k {
				return durable.Verdict{Err: syscall.EROFS}
			}
			return durable.Verdict{}
		}})
		require.ErrorIs(t, err, syscall.EROFS)
		require.NotErrorIs(t, err, halt.ErrUnreadable)
	}
	require.Equal(t, states[3], read(t, d))
}

// unreadable is a disk of whose files some bytes cannot be read.
type unreadable struct {
	durable.Disk
	from, to int64
}

func (u unreadable) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := u.Disk.OpenFile(name, flag, perm)
	return unreadableFile{f, u}, err
}

type unreadableFile struct {
	durable.File
	u unreadable
}

func (f unreadableFile) ReadAt(b []byte, at int64) (int, error) {
	if at < f.u.to && f.u.from < at+int64(len(b)) {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, at)
}

// A copy the disk cannot read is a damaged one.
func TestOpenUnreadable(t *testing.T) {
	d := made(t)
	store(t, d, states[3])
	for page := range int64(2) {
		require.Equal(t, states[3], read(t, unreadable{d, page*pageSize + 512, page*pageSize + 1024}))
	}
	_, _, err := halt.Open(unreadable{d, 0, 2 * pageSize})
	require.ErrorIs(t, err, halt.ErrUnreadable)
}

package durable_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
)

const (
	oldText = "the old content, which is not to be lost"
	newText = "the new content, long enough that it can be torn"
)

// scenario is a function of the package on a disk, and what may be left of it.
type scenario struct {
	prepare func(t testing.TB, d durable.Disk)
	do      func(d durable.Disk) error
	between []string // what a crash may leave, besides the ends
	changes int      // operations
}

// scenarios are the functions that change something.
var scenarios = map[string]scenario{
	"write file":      {func(testing.TB, durable.Disk) {}, writeNew, nil, 5},
	"replace file":    {func(t testing.TB, d durable.Disk) { whole(t, d, "file", oldText) }, writeNew, nil, 5},
	"empty file":      {func(t testing.TB, d durable.Disk) { whole(t, d, "file", oldText) }, writeEmpty, nil, 5},
	"over a left one": {leave, writeNew, nil, 5},
	"batch": {
		func(t testing.TB, d durable.Disk) {
			require.NoError(t, durable.MkdirAll(d, "a", 0o700))
			whole(t, d, "file", oldText)
		},
		writeBatch, []string{"a/ file=" + newText, "a/ a/x=" + newText + " file=" + oldText}, 10,
	},
	"remove": {
		func(t testing.TB, d durable.Disk) { whole(t, d, "file", oldText) },
		func(d durable.Disk) error { return durable.Remove(d, "file") }, nil, 2,
	},
	"mkdir all": {
		func(testing.TB, durable.Disk) {},
		func(d durable.Disk) error { return durable.MkdirAll(d, "a/b/c", 0o700) }, []string{"a/", "a/ a/b/"}, 6,
	},
}

func writeNew(d durable.Disk) error   { return durable.WriteFile(d, "file", []byte(newText), 0o600) }
func writeEmpty(d durable.Disk) error { return durable.WriteFile(d, "file", nil, 0o600) }

// writeBatch writes two files in different directories.
func writeBatch(d durable.Disk) error {
	b := durable.NewBatch(d)
	for _, name := range []string{"a/x", "file"} {
		if err := b.WriteFile(name, []byte(newText), 0o600); err != nil {
			return errors.Join(err, b.Discard())
		}
	}
	return b.Commit()
}

// leave leaves what a crash in WriteFile may have left.
func leave(t testing.TB, d durable.Disk) {
	whole(t, d, "file", oldText)
	write(t, d, "file.tmp", os.O_CREATE, strings.Repeat("left ", 50), 0)
}

// seen describes a disk without the files that do not count.
func seen(t testing.TB, d durable.Disk) string {
	return strings.Join(slices.DeleteFunc(listing(t, d), func(s string) bool { return strings.Contains(s, ".tmp=") }), " ")
}

// ends returns what there is before and after, when nothing goes wrong.
func (s scenario) ends(t testing.TB) (before, after string) {
	d := durable.NewMem()
	s.prepare(t, d)
	before = seen(t, d)
	n := 0
	require.NoError(t, s.do(&durable.Hook{Disk: d, Before: func(durable.Op) durable.Verdict { n++; return durable.Verdict{} }}))
	require.Equal(t, s.changes, n)
	require.Equal(t, describe(t, d), seen(t, d), "it cleans up")
	return before, seen(t, d)
}

var errCrashed = errors.New("crashed")

// TestCrashLeavesOldOrNew crashes at every operation of everything that changes
// a disk, in the middle of writes too. Each image has what was there before or
// what is to be there, and when it was acknowledged only that; and the same can
// be done again on it.
func TestCrashLeavesOldOrNew(t *testing.T) {
	for what, s := range scenarios {
		t.Run(what, func(t *testing.T) {
			before, after := s.ends(t)
			images := 0
			for k := range s.changes + 1 {
				for _, short := range []int{0, 1, len(newText) - 1} {
					d := durable.NewMem()
					s.prepare(t, d)
					err := s.do(&durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
						switch {
						case op.N < k:
							return durable.Verdict{}
						case op.N == k:
							return durable.Verdict{Err: errCrashed, Short: short}
						}
						return durable.Verdict{Err: errCrashed}
					}})
					allowed := []string{after}
					if k < s.changes {
						require.ErrorIs(t, err, errCrashed, "at operation %d", k)
						allowed = append(append(allowed, before), s.between...)
					} else {
						require.NoError(t, err)
					}
					for image := range d.Images(200, seeded(uint64(k))) {
						images++
						require.Contains(t, allowed, seen(t, image), "at operation %d", k)
						if what != "create" && what != "remove" {
							require.NoError(t, s.do(image))
							require.Equal(t, after, describe(t, image))
						}
					}
				}
			}
			t.Logf("%d images", images)
		})
	}
}

// TestFaultLeavesOldOrNew fails every operation in every way. What is returned
// is an error, it says why, the temporary file is gone, and unless the last
// step failed so is every trace.
func TestFaultLeavesOldOrNew(t *testing.T) {
	faults := []error{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EMFILE, syscall.EINTR}
	for what, s := range scenarios {
		t.Run(what, func(t *testing.T) {
			before, after := s.ends(t)
			for k := range s.changes {
				for _, fault := range faults {
					for _, short := range []int{0, 1, len(newText)} {
						d := durable.NewMem()
						s.prepare(t, d)
						last := false
						err := s.do(&durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
							if op.N != k {
								return durable.Verdict{}
							}
							last = op.Kind == durable.OpSyncDir
							return durable.Verdict{Err: fault, Short: short}
						}})
						require.ErrorIs(t, err, fault, "operation %d", k)
						allowed := []string{before}
						if last {
							allowed = append(append(allowed, after), s.between...)
						}
						if what == "mkdir all" || what == "batch" {
							allowed = append(allowed, s.between...)
						}
						require.Contains(t, allowed, seen(t, d), "operation %d: %v", k, fault)
						if k != 0 { // where not even a file can be opened, none is removed
							require.NotContains(t, describe(t, d), ".tmp=", "operation %d: %v", k, fault)
						}
						for image := range d.Images(60, seeded(1)) {
							require.Contains(t, allowed, seen(t, image), "operation %d: %v", k, fault)
						}
					}
				}
			}
		})
	}
}

// TestFaultAfterFault: the disk that fails the write fails the clean-up too.
// Nothing is lost, both are told, and the next attempt works.
func TestFaultAfterFault(t *testing.T) {
	for _, kind := range []durable.OpKind{durable.OpWrite, durable.OpSync, durable.OpRename} {
		d := durable.NewMem()
		whole(t, d, "file", oldText)
		err := writeNew(&durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
			switch op.Kind {
			case kind:
				return durable.Verdict{Err: syscall.ENOSPC}
			case durable.OpRemove:
				return durable.Verdict{Err: syscall.EROFS}
			}
			return durable.Verdict{}
		}})
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorIs(t, err, syscall.EROFS)
		require.Equal(t, "file="+oldText, seen(t, d))
		require.Contains(t, describe(t, d), "file.tmp=")
		require.NoError(t, writeNew(d))
		require.Equal(t, "file="+newText, describe(t, d))
	}
}

// TestLyingDisk is the control of these tests: on a disk that says it has
// synced and has not, they find what is lost.
func TestLyingDisk(t *testing.T) {
	for kind, lost := range map[durable.OpKind]func(image string) bool{
		durable.OpSync:    func(image string) bool { return image != "file="+oldText && image != "file="+newText },
		durable.OpSyncDir: func(image string) bool { return image == "file="+oldText },
		durable.OpWrite:   func(image string) bool { return image == "file=" },
		durable.OpRename:  func(image string) bool { return image == "file="+oldText },
	} {
		t.Run(string(kind), func(t *testing.T) {
			d := durable.NewMem()
			whole(t, d, "file", oldText)
			require.NoError(t, writeNew(&durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
				return durable.Verdict{Skip: op.Kind == kind}
			}}))
			bad, all := 0, 0
			for image := range d.Images(100, seeded(1)) {
				all++
				if lost(seen(t, image)) {
					bad++
				}
			}
			t.Logf("%d bad images of %d", bad, all)
			require.Positive(t, bad)
		})
	}
}

package durable_test

import (
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
)

// everything does every operation there is once, and returns their errors.
func everything(d durable.Disk) (errs []error) {
	note := func(err error) { errs = append(errs, err) }
	note(d.Mkdir("dir", 0o700))
	made, err := d.OpenFile("dir/file", os.O_RDWR|os.O_CREATE, 0o600)
	note(err)
	if made != nil {
		_, err = made.WriteAt([]byte("text"), 0)
		note(err)
		note(made.Truncate(2))
		note(made.Sync())
		note(made.Close())
	}
	appended, err := d.OpenFile("dir/file", os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0)
	note(err)
	if appended != nil {
		_, err = appended.Write([]byte("text"))
		note(err)
		note(appended.Close())
	}
	db, err := d.OpenDB("db")
	note(err)
	if db != nil {
		note(db.Update(func(tx durable.Tx) error { return tx.Put("b", []byte("k"), nil) }))
		note(db.View(func(durable.Tx) error { return nil }))
		note(db.Close())
	}
	db, err = d.OpenDB("db") // no operation: it is there
	note(err)
	if db != nil {
		note(db.Close())
	}
	note(d.Rename("dir/file", "dir/other"))
	note(d.SyncDir("dir"))
	note(d.Remove("dir/other"))
	return errs
}

// TestHookSeesEveryChange: each with its number, kind and name, and none of what
// changes nothing.
func TestHookSeesEveryChange(t *testing.T) {
	var got []string
	h := &durable.Hook{Disk: durable.NewMem(), Before: func(op durable.Op) durable.Verdict {
		got = append(got, fmt.Sprintf("%d %s %s", op.N, op.Kind, op.Name))
		return durable.Verdict{}
	}}
	for _, err := range everything(h) {
		require.NoError(t, err)
	}
	want := []string{
		"0 mkdir dir", "1 create dir/file", "2 write dir/file", "3 truncate dir/file", "4 sync dir/file",
		"5 create dir/file", "6 write dir/file", "7 create db", "8 commit db", "9 rename dir/other", "10 syncdir dir", "11 remove dir/other",
	}
	require.Equal(t, want, got)

	_, err := h.Stat("dir")
	require.NoError(t, err)
	_, err = h.ReadDir("dir")
	require.NoError(t, err)
	_, err = h.OpenFile("absent", os.O_RDWR, 0)
	require.ErrorIs(t, err, fs.ErrNotExist)
	l, err := h.Lock()
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Equal(t, want, got)
}

// TestHookFails: what fails has no effect, whichever operation it is.
func TestHookFails(t *testing.T) {
	for k := range 12 {
		d := durable.NewMem()
		var before string
		n := 0
		h := &durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
			if op.N < k {
				return durable.Verdict{}
			}
			if n++; op.N == k {
				before = describe(t, d)
			}
			return durable.Verdict{Err: syscall.EIO}
		}}
		failed := 0
		for _, err := range everything(h) {
			if err != nil {
				require.ErrorIs(t, err, syscall.EIO)
				failed++
			}
		}
		require.Equal(t, n, failed)
		require.Equal(t, before, describe(t, d), "operation %d", k)
	}
}

// TestHookShortWrite: some of the bytes are written, and the error says so.
func TestHookShortWrite(t *testing.T) {
	for short, want := range map[int]string{0: "", 2: "te", 4: "text", 9: "text"} {
		for _, flag := range []int{0, os.O_APPEND} {
			d := durable.NewMem()
			f, err := (&durable.Hook{Disk: d, Before: func(op durable.Op) durable.Verdict {
				if op.Kind == durable.OpWrite {
					return durable.Verdict{Err: syscall.ENOSPC, Short: short}
				}
				return durable.Verdict{}
			}}).OpenFile("file", os.O_RDWR|os.O_CREATE|flag, 0o600)
			require.NoError(t, err)
			var n int
			if flag == 0 {
				n, err = f.WriteAt([]byte("text"), 0)
			} else {
				n, err = f.Write([]byte("text"))
			}
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.Equal(t, len(want), n)
			require.Equal(t, "file="+want, describe(t, d))
		}
	}
	f, err := durable.NewMem().OpenFile("file", os.O_RDONLY|os.O_CREATE, 0o600)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// TestHookSkips: a disk that lies does nothing, but that it opens files.
func TestHookSkips(t *testing.T) {
	d := durable.NewMem()
	require.NoError(t, d.Mkdir("dir", 0o700))
	lies := 0
	for _, err := range everything(&durable.Hook{Disk: d, Before: func(durable.Op) durable.Verdict {
		lies++
		return durable.Verdict{Skip: true}
	}}) {
		require.NoError(t, err)
	}
	require.Equal(t, 12, lies)
	require.Equal(t, "db= dir/ dir/file=", describe(t, d))
}

// TestHookOneAtATime: the function is not called by two operations at once.
func TestHookOneAtATime(t *testing.T) {
	var inside atomic.Int32
	last := -1
	h := &durable.Hook{Disk: durable.NewMem(), Before: func(op durable.Op) durable.Verdict {
		if inside.Add(1) != 1 || op.N != last+1 {
			t.Error("two operations at once")
		}
		last = op.N
		inside.Add(-1)
		return durable.Verdict{}
	}}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 50 {
				if err := durable.WriteFile(h, fmt.Sprint("file-", i), nil, 0o600); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, 4*50*5-1, last)
}

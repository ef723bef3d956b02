package durable_test

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
)

// TestMemWrite: a write whose place depends on the ones before is refused where
// the file was not opened for it. A real disk would do it.
func TestMemWrite(t *testing.T) {
	d := durable.NewMem()
	f := write(t, d, "file", os.O_CREATE, "text", 0)
	_, err := f.Write([]byte("x"))
	require.ErrorContains(t, err, "appending")
	require.Equal(t, "file=text", describe(t, d))
}

// TestMemKeepsDirectories: a directory is not moved to another one.
func TestMemKeepsDirectories(t *testing.T) {
	d := durable.NewMem()
	require.NoError(t, durable.MkdirAll(d, "a/b", 0o700))
	require.NoError(t, d.Mkdir("c", 0o700))
	require.ErrorIs(t, d.Rename("a", "c/a"), errors.ErrUnsupported)
	require.ErrorIs(t, d.Rename("a", "a/b/c"), errors.ErrUnsupported)
	require.Equal(t, "a/ a/b/ c/", describe(t, d))
}

// TestMemStat: what it says of a file is what the file was then.
func TestMemStat(t *testing.T) {
	d := durable.NewMem()
	whole(t, d, "file", "text")
	info, err := d.Stat("file")
	require.NoError(t, err)
	write(t, d, "file", 0, "longer text", 0)
	require.EqualValues(t, 4, info.Size())
	require.Equal(t, time.Time{}, info.ModTime(), "there is no clock in it")
	require.Nil(t, info.Sys())
}

// TestMemLockClosedTwice: a lock that is let go of twice takes nobody else's.
func TestMemLockClosedTwice(t *testing.T) {
	d := durable.NewMem()
	first, err := d.Lock()
	require.NoError(t, err)
	require.NoError(t, first.Close())
	_, err = d.Lock()
	require.NoError(t, err)
	require.NoError(t, first.Close())
	_, err = d.Lock()
	require.ErrorIs(t, err, durable.ErrLocked)
}

// TestMemConcurrently: under the race detector, everything at once.
func TestMemConcurrently(t *testing.T) {
	d := durable.NewMem()
	var all sync.WaitGroup
	for i := range 4 {
		name := string(rune('a' + i))
		all.Go(func() {
			for range 20 {
				if err := durable.WriteFile(d, name, []byte(name), 0o600); err != nil {
					t.Error(err)
				}
				if _, err := d.ReadDir("."); err != nil {
					t.Error(err)
				}
				for image := range d.Images(3, seeded(1)) {
					if _, err := image.ReadDir("."); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, "a=a b=b c=c d=d", describe(t, d))
}

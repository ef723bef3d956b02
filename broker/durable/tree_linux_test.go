package durable_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/broker/durable"
	"secretctl/broker/durable/durabletest"
)

// TestRootedKeepsContract: so does a home that must do without openat2(2).
func TestRootedKeepsContract(t *testing.T) {
	durabletest.Run(t, func(t *testing.T) durable.Disk {
		d, already, err := durable.Rooted(t.TempDir())
		require.NoError(t, err)
		require.False(t, already, "the other tests did not try openat2")
		return d
	})
}

// TestTreesLeadAlike: a link within the home leads to where it says, one that
// leaves it nowhere, and what is no file is not waited for.
func TestTreesLeadAlike(t *testing.T) {
	for name, open := range map[string]func(dir string) (durable.Disk, error){
		"openat2": durable.OpenHome,
		"rooted":  func(dir string) (durable.Disk, error) { d, _, err := durable.Rooted(dir); return d, err },
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			dir := filepath.Join(outside, "home")
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "d/e"), 0o700))
			d, err := open(dir)
			require.NoError(t, err)
			require.NoError(t, durable.WriteFile(d, "d/file", []byte("text"), 0o600))
			for link, to := range map[string]string{"in": "d", "d/e/up": "../../d", "out": "..", "absolute": dir, "d/far": "../../home/d", "round": "round"} {
				require.NoError(t, os.Symlink(to, filepath.Join(dir, link)))
			}
			for _, through := range []string{"in", "d/e/up"} {
				b, err := durable.ReadFile(d, through+"/file")
				require.NoError(t, err)
				require.Equal(t, "text", string(b))
				require.NoError(t, durable.WriteFile(d, through+"/other", []byte("more"), 0o600))
				require.NoError(t, d.Mkdir(through+"/made", 0o700))
				require.NoError(t, d.Rename(through+"/made", "d/moved"))
				require.NoError(t, d.Remove("d/moved"))
				require.NoError(t, d.SyncDir(through))
				info, err := d.Stat(through + "/other")
				require.NoError(t, err)
				require.EqualValues(t, 4, info.Size())
				require.NoError(t, d.Remove(through+"/other"))
			}
			for _, through := range []string{"out", "absolute", "d/far", "round"} {
				_, err := durable.ReadFile(d, through+"/file")
				require.Error(t, err, through)
				require.Error(t, d.Mkdir(through+"/made", 0o700), through)
				require.Error(t, d.Rename("d/file", through+"/file"), through)
				require.Error(t, d.Remove(through+"/file"), through)
				require.Error(t, d.SyncDir(through), through)
				_, err = d.Stat(through + "/file")
				require.Error(t, err, through)
				require.NotErrorIs(t, err, fs.ErrNotExist, through)
				require.NoError(t, d.Remove(through), "the link itself")
			}

			require.NoError(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
			for _, flag := range []int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_CREATE} {
				_, err = d.OpenFile("pipe", flag, 0o600)
				require.Error(t, err, "flag %#x", flag)
			}
			_, err = durable.ReadFile(d, "pipe")
			require.EqualError(t, err, "opening pipe: it is not a file of ours")
			_, err = durable.ReadFileMax(d, "d/file", 3)
			require.EqualError(t, err, "opening d/file: it is not a file of ours")
			_, err = durable.ReadFileMax(d, "d/file", 4)
			require.NoError(t, err)
		})
	}
}

// TestMovedWhileFollowed: directories that move while names with links up are
// followed lead out of the home no more than still ones, and to nothing false.
func TestMovedWhileFollowed(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "file"), []byte("theirs"), 0o600))
	dir := filepath.Join(outside, "home")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0o700))
	d, err := durable.OpenHome(dir)
	require.NoError(t, err)
	require.NoError(t, durable.WriteFile(d, "file", []byte("ours"), 0o600))
	require.NoError(t, os.Symlink("../..", filepath.Join(dir, "a/b/up")))
	stop := make(chan struct{})
	var moving sync.WaitGroup
	moving.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(filepath.Join(dir, "a/b"), filepath.Join(dir, "b"))
			_ = os.Rename(filepath.Join(dir, "b"), filepath.Join(dir, "a/b"))
		}
	})
	found := 0
	for range 20_000 {
		if b, err := durable.ReadFile(d, "a/b/up/file"); err == nil {
			require.Equal(t, "ours", string(b))
			found++
		}
	}
	close(stop)
	moving.Wait()
	require.NotZero(t, found)
}

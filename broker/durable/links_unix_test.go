//go:build unix

package durable_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
)

// TestNoLinkIsFollowed: no link that somebody put in the home is written or
// read through, wherever it leads.
func TestNoLinkIsFollowed(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, []byte("theirs"), 0o600))
	for what, target := range map[string]string{
		"to a file beside it": "beside", "to nothing": "nothing", "out of the home": outside, "up and in again": "../001/beside",
	} {
		t.Run(what, func(t *testing.T) {
			d, dir := home(t)
			require.NoError(t, durable.WriteFile(d, "beside", []byte("ours"), 0o600))
			require.NoError(t, os.Symlink(target, filepath.Join(dir, "link")))
			for _, flag := range []int{os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND} {
				_, err := d.OpenFile("link", flag, 0o600)
				require.Error(t, err, "flag %#x", flag)
				require.NotErrorIs(t, err, fs.ErrNotExist, "flag %#x", flag)
			}
			_, err := d.OpenFile("link", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
			require.ErrorIs(t, err, fs.ErrExist)
			_, err = d.OpenDB("link")
			require.Error(t, err)
			_, err = durable.ReadFile(d, "link")
			require.Error(t, err)

			info, err := d.Stat("link")
			require.NoError(t, err)
			require.Equal(t, fs.ModeSymlink, info.Mode().Type(), "the link itself")
			require.NoFileExists(t, filepath.Join(dir, "nothing"))
		})
	}
	b, err := os.ReadFile(outside)
	require.NoError(t, err)
	require.Equal(t, "theirs", string(b))
}

// TestLinkIsReplaced: a link in the place of a file, or of its temporary, goes;
// what it led to stays as it was.
func TestLinkIsReplaced(t *testing.T) {
	d, dir := home(t)
	require.NoError(t, durable.WriteFile(d, "beside", []byte("ours"), 0o600))
	require.NoError(t, os.Symlink("beside", filepath.Join(dir, "link")))
	require.NoError(t, durable.WriteFile(d, "link", []byte("new"), 0o600))
	b, err := durable.ReadFile(d, "link")
	require.NoError(t, err)
	require.Equal(t, "new", string(b))

	require.NoError(t, os.Symlink("beside", filepath.Join(dir, "other.tmp")))
	require.Error(t, durable.WriteFile(d, "other", []byte("new"), 0o600))
	b, err = durable.ReadFile(d, "beside")
	require.NoError(t, err)
	require.Equal(t, "ours", string(b))
	require.NoError(t, durable.WriteFile(d, "other", []byte("new"), 0o600), "it went with the failure")
}

// TestNoWayOut: a directory that is a link out of the home leads nowhere.
func TestNoWayOut(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "file"), []byte("theirs"), 0o600))
	d, dir := home(t)
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "d")))
	_, err := d.OpenFile("d/file", os.O_RDONLY, 0)
	require.Error(t, err)
	_, err = d.OpenFile("d/new", os.O_RDWR|os.O_CREATE, 0o600)
	require.Error(t, err)
	_, err = d.OpenDB("d/db")
	require.Error(t, err)
	require.Error(t, d.Mkdir("d/d", 0o700))
	require.Error(t, d.SyncDir("d"))
	_, err = d.ReadDir("d")
	require.Error(t, err)
	require.Error(t, durable.Remove(d, "d/file"))
	left, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

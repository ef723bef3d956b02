package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// mounted makes a directory that is a file system of its own.
func mounted(t *testing.T, options string) string {
	needRoot(t)
	dir := canary.Dir(t)
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, options))
	t.Cleanup(func() {
		canary.NoneIn(t, dir)
		require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH))
	})
	return dir
}

// fails runs a command that must fail and returns what it says.
func (h *testHome) fails(args ...string) string {
	cmd := h.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.Error(h.t, cmd.Run())
	return stderr.String()
}

// untouched checks that an import that failed left the file and nothing beside it,
// and that the vault has the value.
func (i *importedInto) untouched() {
	require.Equal(i.t, string(i.before), i.content())
	require.Empty(i.t, i.left())
	require.Equal(i.t, i.value+"\n", i.run("", "get", "token"))
}

// TestImportDiskFull: a disk with no room for the new file keeps the old one. Room
// again, and all is well.
func TestImportDiskFull(t *testing.T) {
	for name, options := range map[string]string{"no blocks": "size=16k,mode=755", "no inodes": "nr_inodes=4,mode=755"} {
		t.Run(name, func(t *testing.T) {
			dir := mounted(t, options)
			i := newImport(t, dir)
			full := false
			for n := 0; !full; n++ {
				f, err := os.Create(filepath.Join(dir, "fill"+string(rune('a'+n))))
				full = err != nil
				for err == nil && name == "no blocks" {
					_, err = f.Write(make([]byte, 4096))
				}
				full = full || err != nil
				f.Close()
			}
			require.Contains(t, i.fails("import", i.file), "no space left on device")
			i.untouched()

			filled, err := filepath.Glob(dir + "/fill*")
			require.NoError(t, err)
			for _, path := range filled {
				require.NoError(t, os.Remove(path))
			}
			require.Contains(t, i.run("", "import", i.file), "unchanged")
			require.Equal(t, string(i.after), i.content())
			i.run("", "import", "--undo", i.file)
			require.Equal(t, string(i.before), i.content())
		})
	}
}

// TestImportReadOnly: a file system that is not to be written to keeps the file.
func TestImportReadOnly(t *testing.T) {
	dir := mounted(t, "size=64k,mode=755")
	i := newImport(t, dir)
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	require.Contains(t, i.fails("import", i.file), "read-only file system")
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT, ""))
	i.untouched()
	i.run("", "import", i.file)
	require.Equal(t, string(i.after), i.content())
	i.run("", "import", "--undo", i.file)
	require.Equal(t, string(i.before), i.content())
}

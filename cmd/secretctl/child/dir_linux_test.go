package child

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestDir(t *testing.T) {
	root, elsewhere := t.TempDir(), t.TempDir()
	d, err := NewDir(root)
	require.NoError(t, err)
	require.NoError(t, d.Put("a", []byte("one")))
	require.NoError(t, d.Put("below/a", []byte("two")))
	require.NoError(t, d.Put(elsewhere+"/b", []byte("three")))
	for path, want := range map[string]string{d.Path() + "/a": "one", d.Path() + "/below/a": "two", elsewhere + "/b": "three"} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(text))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o400), info.Mode())
	}
	info, err := os.Stat(d.Path())
	require.NoError(t, err)
	require.Equal(t, fs.ModeDir|0o700, info.Mode())
	link, err := os.Readlink(elsewhere + "/b")
	require.NoError(t, err)
	require.True(t, d.holds(link), "the value is at %s", link)

	// Nothing is written over.
	require.ErrorIs(t, d.Put("a", nil), fs.ErrExist)
	require.NoError(t, os.WriteFile(elsewhere+"/theirs", []byte("theirs"), 0o600))
	require.ErrorIs(t, d.Put(elsewhere+"/theirs", nil), fs.ErrExist)
	require.NoError(t, os.Symlink("/nosuch", elsewhere+"/dangling"))
	require.ErrorIs(t, d.Put(elsewhere+"/dangling", nil), fs.ErrExist)

	// Nor a link of a program that still runs.
	other, err := NewDir(root)
	require.NoError(t, err)
	require.ErrorIs(t, other.Put(elsewhere+"/b", nil), fs.ErrExist)
	require.NoError(t, other.Remove())

	// A new value is there all at once.
	old, err := os.Open(elsewhere + "/b")
	require.NoError(t, err)
	defer old.Close()
	require.NoError(t, d.Replace(elsewhere+"/b", []byte("four")))
	require.NoError(t, d.Replace("a", []byte("five")))
	text, err := os.ReadFile(elsewhere + "/b")
	require.NoError(t, err)
	require.Equal(t, "four", string(text))
	text, err = os.ReadFile(d.Path() + "/a")
	require.NoError(t, err)
	require.Equal(t, "five", string(text))

	// What was put in the place of a link is not ours.
	require.NoError(t, d.Put(elsewhere+"/c", []byte("six")))
	require.NoError(t, os.Remove(elsewhere+"/c"))
	require.NoError(t, os.Symlink(elsewhere+"/theirs", elsewhere+"/c"))
	require.Error(t, d.Replace(elsewhere+"/c", []byte("seven")))

	require.NoError(t, d.Remove())
	require.NoError(t, d.Remove())
	left, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, left)
	left, err = os.ReadDir(elsewhere)
	require.NoError(t, err)
	require.Len(t, left, 3, "theirs, dangling, c")
	text, err = os.ReadFile(elsewhere + "/theirs")
	require.NoError(t, err)
	require.Equal(t, "theirs", string(text))
}

// TestSweep: what nobody holds goes, and a link that it left behind makes room.
func TestSweep(t *testing.T) {
	root, elsewhere := t.TempDir(), t.TempDir()
	used, err := NewDir(root)
	require.NoError(t, err)
	require.NoError(t, used.Put("a", nil))
	left, err := NewDir(root)
	require.NoError(t, err)
	require.NoError(t, left.Put(elsewhere+"/b", []byte("old")))
	require.NoError(t, left.lock.Close()) // as the kernel does for the dead
	defer left.guard.end()
	require.NoError(t, os.Mkdir(root+"/other", 0o700))
	target := t.TempDir()
	require.NoError(t, os.Symlink(target, root+"/"+prefix+"link"))

	require.NoError(t, Sweep(root))
	found, err := filepath.Glob(root + "/*")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{used.Path(), root + "/other", root + "/" + prefix + "link"}, found)
	require.DirExists(t, target)

	require.NoError(t, used.Put(elsewhere+"/b", []byte("new")))
	text, err := os.ReadFile(elsewhere + "/b")
	require.NoError(t, err)
	require.Equal(t, "new", string(text))
	require.NoError(t, used.Remove())
}

// TestSweepLeavesOthersAlone: root does not take from another user what that
// may be using, and nobody complains of what is not theirs.
func TestSweepLeavesOthersAlone(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("SECRETCTL_TEST_STRICT") != "" {
			t.Fatal("this test needs root: a second uid")
		}
		t.Skip("needs root: a second uid")
	}
	root := t.TempDir()
	theirs := root + "/" + prefix + "theirs"
	require.NoError(t, os.Mkdir(theirs, 0o755))
	require.NoError(t, os.Chown(theirs, 65534, 65534))
	mine := root + "/" + prefix + "mine"
	require.NoError(t, os.Mkdir(mine, 0o700))
	require.NoError(t, Sweep(root))
	require.DirExists(t, theirs)
	require.NoDirExists(t, mine)
}

func TestRoots(t *testing.T) {
	mine, open := t.TempDir(), t.TempDir()
	require.NoError(t, os.Chmod(mine, 0o700))
	require.NoError(t, os.Chmod(open, 0o777))
	require.Equal(t, mine, Roots(mine)[0])
	require.NotContains(t, Roots(open), open, "others can put something else there")
	require.NotContains(t, Roots("."), ".")
	require.NotContains(t, Roots(mine+"/nosuch"), mine+"/nosuch")
	require.Equal(t, os.TempDir(), Roots("")[len(Roots(""))-1])
	var fsType unix.Statfs_t
	require.NoError(t, unix.Statfs(Roots("")[0], &fsType))
	require.EqualValues(t, unix.TMPFS_MAGIC, fsType.Type, "%s is not in memory", Roots("")[0])
}

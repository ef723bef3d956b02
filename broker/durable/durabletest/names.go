package durabletest

import (
	"io/fs"
	"os"

	"github.com/stretchr/testify/require"
)

var nameTests = map[string]func(*tester){
	"absent":       absent,
	"below a file": belowFile,
	"outside":      outside,
	"mkdir":        mkdir,
	"remove":       remove,
	"rename":       rename,
	"rename over":  renameOver,
	"stat":         stat,
	"read dir":     readDir,
}

// each tries every operation on a name.
func (t *tester) each(name string) map[string]error {
	_, read := t.disk.OpenFile(name, os.O_RDWR, 0)
	_, made := t.disk.OpenFile(name+"/x", os.O_RDWR|os.O_CREATE, 0o600)
	_, stated := t.disk.Stat(name)
	_, listed := t.disk.ReadDir(name)
	db, opened := t.disk.OpenDB(name + "/x")
	if opened == nil {
		opened = db.Close()
	}
	return map[string]error{
		"open": read, "create below": made, "stat": stated, "read dir": listed, "open db below": opened,
		"sync dir": t.disk.SyncDir(name), "remove": t.disk.Remove(name), "mkdir below": t.disk.Mkdir(name+"/x", 0o700),
		"rename": t.disk.Rename(name, "other"), "rename below": t.disk.Rename("there", name+"/x"),
	}
}

func absent(t *tester) {
	t.put("there", "text")
	for what, err := range t.each("nowhere") {
		require.ErrorIs(t, err, fs.ErrNotExist, what)
	}
	require.Equal(t, []string{"there"}, t.names("."))
}

// belowFile: a path through a file is an error, and not that of absence.
func belowFile(t *tester) {
	t.put("there", "text")
	t.put("file", "text")
	for what, err := range t.each("file/x") {
		requireUnreadable(t, err, what)
	}
	_, err := t.disk.ReadDir("file")
	requireUnreadable(t, err)
	t.requireText("text", "file")
	t.requireText("text", "there")
}

// outside: no name leads out of the home, and each thing has one name.
func outside(t *tester) {
	t.mkdir("d")
	for _, name := range []string{"..", "../x", "d/../../x", "/", "/x", "/tmp", ""} {
		_, read := t.disk.OpenFile(name, os.O_RDONLY, 0)
		_, made := t.disk.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		_, stated := t.disk.Stat(name)
		db, opened := t.disk.OpenDB(name)
		if opened == nil {
			opened = db.Close()
		}
		for what, err := range map[string]error{
			"open": read, "create": made, "stat": stated, "open db": opened,
			"mkdir": t.disk.Mkdir(name, 0o700), "remove": t.disk.Remove(name),
			"rename": t.disk.Rename(name, "x"), "rename to": t.disk.Rename("d", name),
		} {
			require.Error(t, err, "%s %q", what, name)
		}
	}
	require.Equal(t, []string{"d"}, t.names("."))
}

func mkdir(t *tester) {
	t.mkdir("d")
	t.mkdir("d/e")
	require.ErrorIs(t, t.disk.Mkdir("d", 0o700), fs.ErrExist)
	require.ErrorIs(t, t.disk.Mkdir(".", 0o700), fs.ErrExist)
	t.put("file", "")
	require.ErrorIs(t, t.disk.Mkdir("file", 0o700), fs.ErrExist)
	info, err := t.disk.Stat("d/e")
	require.NoError(t, err)
	require.Equal(t, fs.ModeDir|0o700, info.Mode())
	require.NoError(t, t.disk.SyncDir("d"))
	require.NoError(t, t.disk.SyncDir("."))
}

func remove(t *tester) {
	t.mkdir("d")
	t.put("d/file", "text")
	require.Error(t, t.disk.Remove("d"), "it is not empty")
	t.requireText("text", "d/file")
	require.NoError(t, t.disk.Remove("d/file"))
	t.requireAbsent("d/file")
	require.NoError(t, t.disk.Remove("d"))
	t.requireAbsent("d")
	require.Error(t, t.disk.Remove("."))
}

func rename(t *tester) {
	t.mkdir("d")
	t.put("a", "text")
	require.NoError(t, t.disk.Rename("a", "b"))
	require.NoError(t, t.disk.Rename("b", "d/c"))
	t.requireText("text", "d/c")
	require.NoError(t, t.disk.Rename("d/c", "d/c"))
	t.requireText("text", "d/c")
	require.NoError(t, t.disk.Rename("d", "e"))
	t.requireText("text", "e/c")
	require.Equal(t, []string{"e"}, t.names("."))
}

func renameOver(t *tester) {
	t.put("a", "new")
	t.put("b", "old")
	require.NoError(t, t.disk.Rename("a", "b"))
	t.requireText("new", "b")
	t.requireAbsent("a")

	t.mkdir("d")
	t.mkdir("full")
	t.put("full/x", "text")
	for _, pair := range [][2]string{{"b", "d"}, {"d", "b"}, {"d", "full"}, {".", "x"}, {"b", "."}} {
		require.Error(t, t.disk.Rename(pair[0], pair[1]), "%q over %q", pair[0], pair[1])
	}
	require.Equal(t, []string{"b", "d", "full"}, t.names("."))
	t.requireText("new", "b")
	t.requireText("text", "full/x")
}

func stat(t *tester) {
	t.mkdir("d")
	t.put("d/file", "text")
	info, err := t.disk.Stat("d/file")
	require.NoError(t, err)
	require.Equal(t, "file", info.Name())
	require.EqualValues(t, 4, info.Size())
	require.True(t, info.Mode().IsRegular())
	require.False(t, info.IsDir())
	for _, name := range []string{"d", "."} {
		info, err = t.disk.Stat(name)
		require.NoError(t, err)
		require.Equal(t, name, info.Name())
		require.True(t, info.IsDir())
	}
}

func readDir(t *tester) {
	require.Empty(t, t.names("."))
	for _, name := range []string{"b", "a.2", "a", "c", "a.10", "@1"} {
		t.put(name, "text")
	}
	t.mkdir("b.d")
	require.Equal(t, []string{"@1", "a", "a.10", "a.2", "b", "b.d", "c"}, t.names("."))
	entries, err := t.disk.ReadDir(".")
	require.NoError(t, err)
	require.True(t, entries[5].IsDir())
	info, err := entries[1].Info()
	require.NoError(t, err)
	require.EqualValues(t, 4, info.Size())
	require.Empty(t, t.names("b.d"))
}

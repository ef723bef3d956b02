package durabletest

import (
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
)

var wholeTests = map[string]func(*tester){
	"write file":   writeFile,
	"read file":    readFile,
	"remove file":  removeFile,
	"mkdir all":    mkdirAll,
	"lock":         lock,
	"left behind":  leftBehind,
	"temp in use":  tempInUse,
	"rename taken": renameTaken,
	"sync all":     syncAll,
	"batch":        batch,
	"discard":      discard,
	"batch taken":  batchTaken,
}

func writeFile(t *tester) {
	t.mkdir("d")
	for _, text := range []string{"first", "", strings.Repeat("long ", 10_000), "short"} {
		require.NoError(t, durable.WriteFile(t.disk, "d/file", []byte(text), 0o600))
		t.requireText(text, "d/file")
		require.Equal(t, []string{"file"}, t.names("d"), "no temporary file stays")
	}
	info, err := t.disk.Stat("d/file")
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	require.ErrorIs(t, durable.WriteFile(t.disk, "nowhere/file", nil, 0o600), fs.ErrNotExist)
}

func readFile(t *tester) {
	_, err := durable.ReadFile(t.disk, "absent")
	require.ErrorIs(t, err, fs.ErrNotExist)
	t.mkdir("d")
	_, err = durable.ReadFile(t.disk, "d")
	requireUnreadable(t, err, "a directory")
	t.put("file", "")
	_, err = durable.ReadFile(t.disk, "file/x")
	requireUnreadable(t, err, "below a file")
	t.requireText("", "file")
}

func removeFile(t *tester) {
	t.put("file", "text")
	require.NoError(t, durable.Remove(t.disk, "file"))
	t.requireAbsent("file")
	require.ErrorIs(t, durable.Remove(t.disk, "file"), fs.ErrNotExist)
}

func mkdirAll(t *tester) {
	require.NoError(t, durable.MkdirAll(t.disk, ".", 0o700))
	require.NoError(t, durable.MkdirAll(t.disk, "a/b/c", 0o700))
	require.NoError(t, durable.MkdirAll(t.disk, "a/b/c", 0o750), "it is there")
	info, err := t.disk.Stat("a/b")
	require.NoError(t, err)
	require.Equal(t, fs.ModeDir|0o700, info.Mode())
	t.put("a/file", "text")
	requireUnreadable(t, durable.MkdirAll(t.disk, "a/file", 0o700))
	requireUnreadable(t, durable.MkdirAll(t.disk, "a/file/b", 0o700))
	t.requireText("text", "a/file")
}

func lock(t *tester) {
	l, err := t.disk.Lock()
	require.NoError(t, err)
	_, err = t.disk.Lock()
	require.ErrorIs(t, err, durable.ErrLocked)
	t.put("file", "it keeps out no one who does not ask")
	require.NoError(t, l.Close())
	l, err = t.disk.Lock()
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// leftBehind: what a crash left of a file that was not whole is replaced.
func leftBehind(t *tester) {
	t.put("file.tmp", strings.Repeat("longer than what comes ", 100))
	require.NoError(t, durable.WriteFile(t.disk, "file", []byte("text"), 0o600))
	t.requireText("text", "file")
	require.Equal(t, []string{"file"}, t.names("."))
}

// tempInUse: where the temporary file cannot be made nothing is lost.
func tempInUse(t *tester) {
	t.put("file", "old")
	t.mkdir("file.tmp")
	t.put("file.tmp/x", "")
	require.Error(t, durable.WriteFile(t.disk, "file", []byte("new"), 0o600))
	t.requireText("old", "file")
}

// renameTaken: where the file cannot be replaced, the temporary one goes.
func renameTaken(t *tester) {
	t.mkdir("file")
	require.Error(t, durable.WriteFile(t.disk, "file", []byte("new"), 0o600))
	require.Equal(t, []string{"file"}, t.names("."))
}

// syncAll: few and many at once, and what cannot be synced is an error among
// them.
func syncAll(t *tester) {
	require.NoError(t, t.disk.SyncAll(nil, nil))
	var files []durable.File
	var dirs []string
	for n := range 40 {
		name := fmt.Sprint("d", n)
		t.mkdir(name)
		dirs = append(dirs, name)
		files = append(files, t.open(name+"/file", os.O_WRONLY|os.O_CREATE))
		_, err := files[n].WriteAt([]byte(name), 0)
		require.NoError(t, err)
	}
	for _, n := range []int{1, len(dirs)} {
		require.NoError(t, t.disk.SyncAll(files[:n], nil))
		require.NoError(t, t.disk.SyncAll(nil, dirs[:n]))
		require.NoError(t, t.disk.SyncAll(files[:n], dirs[:n]))
		require.ErrorIs(t, t.disk.SyncAll(nil, append(dirs[:n:n], "absent")), fs.ErrNotExist)
		t.put("file", "")
		requireUnreadable(t, t.disk.SyncAll(nil, append(dirs[:n:n], "file/x")))
	}
	require.NoError(t, files[7].Close())
	for _, some := range [][]durable.File{files[7:8], files} {
		require.ErrorIs(t, t.disk.SyncAll(some, nil), fs.ErrClosed)
	}
}

// batch: the files are there once it is committed, and not before.
func batch(t *tester) {
	t.put("old", "text")
	b := durable.NewBatch(t.disk)
	require.NoError(t, b.WriteFile("old", []byte("new"), 0o600))
	for n := range 40 {
		dir := fmt.Sprintf("d/%d", n%8)
		require.NoError(t, b.MkdirAll(dir, 0o700))
		require.NoError(t, b.WriteFile(fmt.Sprintf("%s/file-%d", dir, n), fmt.Append(nil, n), 0o600))
	}
	t.requireText("text", "old")
	t.requireAbsent("d/3/file-3")
	require.NoError(t, b.Commit())
	t.requireText("new", "old")
	for n := range 40 {
		t.requireText(fmt.Sprint(n), fmt.Sprintf("d/%d/file-%d", n%8, n))
	}
	require.Equal(t, []string{"file-1", "file-17", "file-25", "file-33", "file-9"}, t.names("d/1"))
	require.Equal(t, []string{"d", "old"}, t.names("."))
	require.NoError(t, b.Discard(), "there is nothing left of it")
	t.requireText("new", "old")
}

// discard: nothing is left of a batch but its directories.
func discard(t *tester) {
	t.put("old", "text")
	b := durable.NewBatch(t.disk)
	require.NoError(t, b.MkdirAll("d", 0o700))
	require.NoError(t, b.WriteFile("d/file", []byte("text"), 0o600))
	require.NoError(t, b.WriteFile("old", []byte("new"), 0o600))
	require.ErrorIs(t, b.WriteFile("absent/file", nil, 0o600), fs.ErrNotExist)
	require.NoError(t, b.Discard())
	require.NoError(t, b.Commit())
	t.requireText("text", "old")
	require.Equal(t, []string{"d", "old"}, t.names("."))
	require.Empty(t, t.names("d"))
}

// batchTaken: one file that cannot have its name leaves no temporary one of any.
func batchTaken(t *tester) {
	t.mkdir("b")
	b := durable.NewBatch(t.disk)
	for _, name := range []string{"a", "b", "c"} {
		require.NoError(t, b.WriteFile(name, []byte(name), 0o600))
	}
	require.Error(t, b.Commit())
	t.requireText("a", "a")
	t.requireAbsent("c")
	require.Equal(t, []string{"a", "b"}, t.names("."))
}

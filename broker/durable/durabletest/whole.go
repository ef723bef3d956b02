package durabletest

import (
	"io/fs"
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

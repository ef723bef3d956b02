package durabletest

import (
	"io"
	"io/fs"
	"os"

	"github.com/stretchr/testify/require"
)

var fileTests = map[string]func(*tester){
	"open absent":    openAbsent,
	"open present":   openPresent,
	"open directory": openDirectory,
	"read at":        readAt,
	"write at":       writeAt,
	"append":         appends,
	"truncate":       truncate,
	"access mode":    accessMode,
	"closed file":    closedFile,
	"nameless file":  namelessFile,
	"negative":       negative,
}

func openAbsent(t *tester) {
	for _, flag := range []int{os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND} {
		_, err := t.disk.OpenFile("a", flag, 0o600)
		require.ErrorIs(t, err, fs.ErrNotExist, "flag %#x", flag)
		require.Empty(t, t.names("."))
	}
	for _, flag := range []int{os.O_CREATE | os.O_RDWR, os.O_CREATE | os.O_EXCL | os.O_WRONLY, os.O_CREATE | os.O_APPEND | os.O_WRONLY} {
		require.NoError(t, t.open("a", flag).Close())
		info, err := t.disk.Stat("a")
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode())
		require.Zero(t, info.Size())
		require.NoError(t, t.disk.Remove("a"))
	}
}

func openPresent(t *tester) {
	t.put("a", "text")
	_, err := t.disk.OpenFile("a", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	require.ErrorIs(t, err, fs.ErrExist)
	for _, flag := range []int{os.O_RDONLY, os.O_RDWR | os.O_CREATE, os.O_WRONLY | os.O_APPEND} {
		t.open("a", flag)
		t.requireText("text", "a")
	}
	f, err := t.disk.OpenFile("a", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	t.requireText("", "a")
	info, err := t.disk.Stat("a")
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode(), "it was there: its mode stays")
}

func openDirectory(t *tester) {
	t.mkdir("d")
	for _, name := range []string{"d", "."} {
		for _, flag := range []int{os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_TRUNC} {
			_, err := t.disk.OpenFile(name, flag, 0o600)
			requireUnreadable(t, err, "%s with flag %#x", name, flag)
		}
		_, err := t.disk.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		require.ErrorIs(t, err, fs.ErrExist)
	}
	require.Equal(t, []string{"d"}, t.names("."))
}

func readAt(t *tester) {
	t.put("a", "0123456789")
	f := t.open("a", os.O_RDONLY)
	for _, tt := range []struct {
		at, length int64
		want       string
		err        error
	}{
		{0, 10, "0123456789", nil},
		{3, 4, "3456", nil},
		{8, 4, "89", io.EOF},
		{10, 1, "", io.EOF},
		{99, 1, "", io.EOF},
		{4, 0, "", nil},
	} {
		b := make([]byte, tt.length)
		n, err := f.ReadAt(b, tt.at)
		require.Equal(t, tt.err, err, "%+v", tt)
		require.Equal(t, tt.want, string(b[:n]), "%+v", tt)
	}
	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, 10, size)
}

func writeAt(t *tester) {
	f := t.open("a", os.O_RDWR|os.O_CREATE)
	for _, tt := range []struct {
		at   int64
		text string
		want string
	}{
		{0, "abcdef", "abcdef"},
		{2, "XY", "abXYef"},
		{5, "12", "abXYe12"},
		{9, "z", "abXYe12\x00\x00z"},
		{20, "", "abXYe12\x00\x00z"},
	} {
		b := []byte(tt.text)
		n, err := f.WriteAt(b, tt.at)
		require.NoError(t, err)
		require.Equal(t, len(b), n)
		clear(b) // what was written is the disk's own
		t.requireText(tt.want, "a")
	}
}

func appends(t *tester) {
	f := t.open("a", os.O_RDWR|os.O_CREATE|os.O_APPEND)
	other := t.open("a", os.O_WRONLY|os.O_APPEND)
	write := func(w io.Writer, text string) {
		n, err := w.Write([]byte(text))
		require.NoError(t, err)
		require.Equal(t, len(text), n)
	}
	write(f, "one ")
	write(other, "two ")
	write(f, "three")
	t.requireText("one two three", "a")
	require.NoError(t, f.Truncate(4))
	write(other, "four")
	t.requireText("one four", "a")
	_, err := f.WriteAt([]byte("x"), 0)
	require.Error(t, err)
	t.requireText("one four", "a")
}

func truncate(t *tester) {
	t.put("a", "0123456789")
	f := t.open("a", os.O_RDWR)
	for _, tt := range []struct {
		size int64
		want string
	}{
		{10, "0123456789"},
		{4, "0123"},
		{6, "0123\x00\x00"},
		{0, ""},
		{2, "\x00\x00"},
	} {
		require.NoError(t, f.Truncate(tt.size))
		t.requireText(tt.want, "a")
	}
}

func accessMode(t *tester) {
	t.put("a", "text")
	r := t.open("a", os.O_RDONLY)
	_, err := r.WriteAt([]byte("x"), 0)
	require.Error(t, err)
	require.Error(t, r.Truncate(0))
	w := t.open("a", os.O_WRONLY)
	n, err := w.ReadAt(make([]byte, 1), 0)
	require.Error(t, err)
	require.NotEqual(t, io.EOF, err)
	require.Zero(t, n)
	t.requireText("text", "a")
}

func closedFile(t *tester) {
	f := t.open("a", os.O_RDWR|os.O_CREATE)
	a := t.open("a", os.O_WRONLY|os.O_APPEND)
	require.NoError(t, f.Close())
	require.NoError(t, a.Close())
	_, read := f.ReadAt(make([]byte, 1), 0)
	_, written := f.WriteAt([]byte("x"), 0)
	_, appended := a.Write([]byte("x"))
	_, sized := f.Size()
	for what, err := range map[string]error{
		"read": read, "write": written, "append": appended, "size": sized,
		"truncate": f.Truncate(0), "sync": f.Sync(), "close": f.Close(),
	} {
		require.ErrorIs(t, err, fs.ErrClosed, what)
	}
}

// namelessFile: an open file is the file, whatever becomes of its name.
func namelessFile(t *tester) {
	t.put("a", "old")
	f := t.open("a", os.O_RDWR)
	require.NoError(t, t.disk.Rename("a", "b"))
	_, err := f.WriteAt([]byte("new"), 0)
	require.NoError(t, err)
	t.requireText("new", "b")

	t.put("c", "other")
	require.NoError(t, t.disk.Rename("c", "b"))
	_, err = f.WriteAt([]byte("gone"), 0)
	require.NoError(t, err)
	t.requireText("other", "b")
	require.NoError(t, t.disk.Remove("b"))
	require.NoError(t, f.Sync())
	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, 4, size)
}

func negative(t *tester) {
	f := t.open("a", os.O_RDWR|os.O_CREATE)
	_, err := f.ReadAt(make([]byte, 1), -1)
	require.Error(t, err)
	require.NotEqual(t, io.EOF, err)
	_, err = f.WriteAt([]byte("x"), -1)
	require.Error(t, err)
	require.Error(t, f.Truncate(-1))
}

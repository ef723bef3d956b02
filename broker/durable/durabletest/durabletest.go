// Package durabletest holds a disk to the contract of [durable.Disk].
//
// It guards against a model that is kinder than the disk it stands for: what a
// crash test proves on [durable.Mem] is worth something only where that and the
// real one give the same answers.
package durabletest

import (
	"io/fs"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
)

// Run tries everything a disk must do. open returns a new, empty disk.
func Run(t *testing.T, open func(t *testing.T) durable.Disk) {
	tests := map[string]func(*tester){}
	for _, part := range []map[string]func(*tester){fileTests, nameTests, wholeTests, dbTests} {
		maps.Copy(tests, part)
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tests[name](&tester{t, open(t)})
		})
	}
}

// tester is a disk under test.
type tester struct {
	*testing.T
	disk durable.Disk
}

// open opens a file, which must work. It is closed with the test.
func (t *tester) open(name string, flag int) durable.File {
	t.Helper()
	f, err := t.disk.OpenFile(name, flag, 0o600)
	require.NoError(t, err, name)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// put makes or replaces a file.
func (t *tester) put(name, text string) {
	t.Helper()
	f := t.open(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	_, err := f.WriteAt([]byte(text), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func (t *tester) mkdir(name string) {
	t.Helper()
	require.NoError(t, t.disk.Mkdir(name, 0o700))
}

// requireText checks a file's content.
func (t *tester) requireText(want, name string) {
	t.Helper()
	b, err := durable.ReadFile(t.disk, name)
	require.NoError(t, err, name)
	require.Equal(t, want, string(b), name)
}

func (t *tester) requireAbsent(name string) {
	t.Helper()
	_, err := t.disk.Stat(name)
	require.ErrorIs(t, err, fs.ErrNotExist, name)
}

// names returns what is in a directory, as it is listed.
func (t *tester) names(dir string) (out []string) {
	t.Helper()
	entries, err := t.disk.ReadDir(dir)
	require.NoError(t, err, dir)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// requireUnreadable checks that an error is not to be taken for absence.
func requireUnreadable(t testing.TB, err error, about ...any) {
	t.Helper()
	require.Error(t, err, about...)
	require.NotErrorIs(t, err, fs.ErrNotExist, about...)
}

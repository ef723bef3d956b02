package durable

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAnswersSince(t *testing.T) {
	for release, want := range map[string]bool{
		"5.16.20": false, "5.17.0": true, "5.4.0-150-generic": false, "6.1.0-18-amd64": true, "4.19": false, "10.0-rc1": true, "": false, "linux": false,
	} {
		require.Equal(t, want, answersSince(release), release)
	}
}

// many opens files in a directory.
func many(t *testing.T, dir string, n int) (files []*os.File) {
	for i := range n {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		files = append(files, f)
	}
	return files
}

// opened opens a directory as a home's top.
func opened(t *testing.T, dir string, flag int) *os.File {
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC|flag, 0)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), dir)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// answeringDir is a directory where a sync of the whole file system is as good
// as one of each file.
func answeringDir(t *testing.T) string {
	dir := t.TempDir()
	var in unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &in))
	if !answering[int64(in.Type)] || !kernelAnswers() {
		if os.Getenv("SECRETCTL_TEST_STRICT") != "" {
			t.Fatalf("this test needs a file system whose sync answers for it, and this is %#x", in.Type)
		}
		t.Skipf("a kernel or file system without such a sync (%#x)", in.Type)
	}
	return dir
}

// TestSyncTogether: it is one sync where that is worth it and can be trusted.
func TestSyncTogether(t *testing.T) {
	dir := answeringDir(t)
	all := many(t, dir, fewest)
	w := &wholeSync{top: opened(t, dir, 0)}
	done, err := w.sync(all)
	require.NoError(t, err)
	require.True(t, done)
	done, err = w.sync(all[1:])
	require.NoError(t, err)
	require.False(t, done, "they are few")
}

// TestSyncTogetherElsewhere: a file of another file system, or one that does not
// answer, has a sync of its own.
func TestSyncTogetherElsewhere(t *testing.T) {
	other, err := os.MkdirTemp("/dev/shm", "sc")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(other) })
	strange := many(t, other, fewest)
	done, err := (&wholeSync{top: opened(t, other, 0)}).sync(strange)
	require.NoError(t, err)
	require.False(t, done, "tmpfs")

	dir := answeringDir(t)
	all := append(many(t, dir, fewest), strange[0])
	done, err = (&wholeSync{top: opened(t, dir, 0)}).sync(all)
	require.NoError(t, err)
	require.False(t, done, "one is elsewhere")
}

// TestSyncTogetherFails: a failure is told to whom it was told by the kernel, and
// from then on nobody takes the answer for all files for that of each.
func TestSyncTogetherFails(t *testing.T) {
	dir := answeringDir(t)
	all := many(t, dir, fewest)
	sound := opened(t, dir, 0)
	w := &wholeSync{top: opened(t, dir, unix.O_PATH)} // which cannot be synced
	done, err := w.sync(all)
	require.True(t, done)
	require.ErrorIs(t, err, syscall.EBADF)
	w.top = sound
	done, err = w.sync(all)
	require.NoError(t, err)
	require.False(t, done)
}

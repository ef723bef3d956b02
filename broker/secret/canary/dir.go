package canary

import (
	"os"
	"strings"
	"testing"
	"time"
)

// Dir makes a directory for what the product writes, at a path short enough for
// a socket and passable by every uid. It is removed with the test, unless a
// watcher is going to search it.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := MkdirTemp()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// MkdirTemp makes such a directory where there is no test to be removed with.
func MkdirTemp() (string, error) {
	dir, err := os.MkdirTemp("", "sc")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}

// RemoveAll removes the directory, unless a watcher is going to search it.
func RemoveAll(dir string) error {
	if watched() {
		return nil
	}
	return os.RemoveAll(dir)
}

// NoneIn fails the test where a canary is in a directory that no watcher will
// search, since it is elsewhere or will be gone.
func NoneIn(t testing.TB, dir string) {
	t.Helper()
	f := newFindings(seed())
	var said strings.Builder
	if f.report(&said, f.tree(dir, dir, time.Time{}, "")) != 0 {
		t.Error(said.String())
	}
}

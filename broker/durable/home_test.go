package durable_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
)

// TestHomeAbsent: a home that is not there is not made.
func TestHomeAbsent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nowhere")
	_, err := durable.OpenHome(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoDirExists(t, dir)
}

// TestHomeTakenAway: nothing is written to a home that is gone.
func TestHomeTakenAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	require.NoError(t, os.Mkdir(dir, 0o700))
	d, err := durable.OpenHome(dir)
	require.NoError(t, err)
	require.NoError(t, os.Remove(dir))
	require.Error(t, durable.WriteFile(d, "file", nil, 0o600))
	_, err = d.OpenDB("db")
	require.Error(t, err)
}

// TestHomeIsWhereItWas: a home that was moved, and another put in its place, is
// still the one that was opened, and locked.
func TestHomeIsWhereItWas(t *testing.T) {
	parent := t.TempDir()
	dir, moved := filepath.Join(parent, "home"), filepath.Join(parent, "moved")
	require.NoError(t, os.Mkdir(dir, 0o700))
	d, err := durable.OpenHome(dir)
	require.NoError(t, err)
	require.NoError(t, os.Rename(dir, moved))
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, durable.WriteFile(d, "file", nil, 0o600))
	require.FileExists(t, filepath.Join(moved, "file"))
	require.NoFileExists(t, filepath.Join(dir, "file"))

	l, err := d.Lock()
	require.NoError(t, err)
	same, err := durable.OpenHome(moved)
	require.NoError(t, err)
	_, err = same.Lock()
	require.ErrorIs(t, err, durable.ErrLocked)
	require.NoError(t, l.Close())
}

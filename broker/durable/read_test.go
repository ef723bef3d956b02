package durable_test

import (
	"io"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/durable"
)

// badFile is a file that opens and does not read.
type badFile struct {
	durable.File
	size int64
	err  error // of reading
}

func (f badFile) Size() (int64, error) {
	if f.size < 0 {
		return 0, f.err
	}
	return f.size, nil
}

func (f badFile) ReadAt(b []byte, at int64) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.File.ReadAt(b, at)
}

// badDisk has only such files.
type badDisk struct {
	durable.Disk
	file badFile
}

func (d badDisk) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := d.Disk.OpenFile(name, flag, perm)
	return badFile{f, d.file.size, d.file.err}, err
}

// TestReadFileAll: all of a file is read or nothing, and what cannot be read is
// not absent.
func TestReadFileAll(t *testing.T) {
	d := durable.NewMem()
	whole(t, d, "file", "text")
	for what, tt := range map[string]struct {
		file badFile
		want error
	}{
		"size unknown":     {badFile{size: -1, err: syscall.EIO}, syscall.EIO},
		"sector lost":      {badFile{size: 4, err: syscall.EIO}, syscall.EIO},
		"cut while read":   {badFile{size: 9}, io.EOF},
		"nothing is there": {badFile{size: 4, err: io.EOF}, io.EOF},
	} {
		b, err := durable.ReadFile(badDisk{d, tt.file}, "file")
		require.ErrorIs(t, err, tt.want, what)
		require.NotErrorIs(t, err, fs.ErrNotExist, what)
		require.Empty(t, b, what)
	}
	b, err := durable.ReadFile(badDisk{d, badFile{size: 4}}, "file")
	require.NoError(t, err)
	require.Equal(t, "text", string(b))
}

//go:build linux || darwin

package main

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// attributes gives a file an extended attribute, where the file system has them,
// and returns the value.
func attributes(t *testing.T, path string) (value []byte) {
	value = []byte("kept \x00 as it is")
	err := unix.Setxattr(path, "user.secretctl-test", value, 0)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	require.NoError(t, err)
	return value
}

func requireAttributes(t *testing.T, path string, want []byte) {
	if want == nil {
		return
	}
	got := make([]byte, 100)
	n, err := unix.Getxattr(path, "user.secretctl-test", got)
	require.NoError(t, err)
	require.Equal(t, want, got[:n])
}

func ownerAndGroup(info fs.FileInfo) [2]uint32 {
	st := info.Sys().(*syscall.Stat_t)
	return [2]uint32{st.Uid, st.Gid}
}

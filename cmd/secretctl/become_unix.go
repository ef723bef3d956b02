//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketPair makes two ends of a socket that no other process inherits.
func socketPair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return os.NewFile(uintptr(fds[0]), "import"), os.NewFile(uintptr(fds[1]), "import"), nil
}

// isForGood returns nil when this process is that user and group, with nothing of
// root left by which it could be another.
func isForGood(uid, gid uint32) error {
	groups, err := os.Getgroups()
	if err != nil {
		return fmt.Errorf("looking at the groups: %w", err)
	}
	switch {
	case uid == 0, !onlyIDs(uid, gid), slices.Contains(groups, 0) && gid != 0:
		return errors.New("this process is not the user that it should be")
	case unix.Setuid(0) == nil, unix.Setreuid(-1, 0) == nil, unix.Setgid(int(gid)+1) == nil:
		return errors.New("this process could become another user")
	}
	return nil
}

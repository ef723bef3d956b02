package main

import (
	"errors"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// selfPath returns what to start this program again by: also where the path to it
// is closed to the user that it is started as.
func selfPath() string { return "/proc/self/exe" }

// withoutNewPrivileges makes set-user-ID programs powerless for this process and
// its children. The kernel does that for one thread; so this one becomes the
// program anew, as the first and only thread of a process in which all that follow
// are like it. It returns only in that one.
func withoutNewPrivileges() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if is, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || is == 1 {
		return err
	}
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	return errors.Join(err, syscall.Exec(selfPath(), os.Args, os.Environ()))
}

// onlyIDs reports whether the real, effective and saved IDs are all these.
func onlyIDs(uid, gid uint32) bool {
	ru, eu, su := unix.Getresuid()
	rg, eg, sg := unix.Getresgid()
	return uint32(ru) == uid && uint32(eu) == uid && uint32(su) == uid && uint32(rg) == gid && uint32(eg) == gid && uint32(sg) == gid
}

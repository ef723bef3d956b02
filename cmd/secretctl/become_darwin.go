package main

import "os"

// selfPath returns what to start this program again by.
func selfPath() string {
	path, _ := os.Executable() // what cannot be found cannot be started, which is an error
	return path
}

// withoutNewPrivileges does nothing: there is no such thing.
func withoutNewPrivileges() error { return nil }

// onlyIDs reports whether the real and effective IDs are these. Whether a saved one
// is another shows when becoming it fails.
func onlyIDs(uid, gid uint32) bool {
	return uint32(os.Getuid()) == uid && uint32(os.Geteuid()) == uid && uint32(os.Getgid()) == gid && uint32(os.Getegid()) == gid
}

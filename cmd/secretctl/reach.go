package main

import (
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// impassable names the first directory on the way to a path that a uid may not
// pass through. What cannot be looked at is passed over.
func impassable(path string, uid uint32) (dir string, blocked bool) {
	if uid == 0 {
		return "", false
	}
	last, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", false
	}
	gids := groupsOf(uid)
	for _, dir := range ancestors(last) {
		info, err := os.Stat(dir)
		if err != nil {
			continue
		}
		st := info.Sys().(*syscall.Stat_t)
		bit := os.FileMode(0o001)
		switch {
		case st.Uid == uid:
			bit = 0o100
		case slices.Contains(gids, st.Gid):
			bit = 0o010
		}
		if info.Mode().Perm()&bit == 0 {
			return dir, true
		}
	}
	return "", false
}

// ancestors lists an absolute directory and all above it, the root first.
func ancestors(dir string) (all []string) {
	for ; ; dir = filepath.Dir(dir) {
		all = append(all, dir)
		if dir == filepath.Dir(dir) {
			slices.Reverse(all)
			return all
		}
	}
}

// groupsOf returns the groups of a uid. One without an account is in none.
func groupsOf(uid uint32) (gids []uint32) {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return nil
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil
	}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			gids = append(gids, uint32(n))
		}
	}
	return gids
}

package durable

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// fewest is from how many files on a sync of the whole file system is tried: it
// writes out what others have written, too.
const fewest = 32

// answering are the file systems, by their magic number, whose syncfs(2) waits
// until all is on the disk and says when it is not. That of a network or FUSE
// file system may leave it with the server, and that of overlayfs keeps to
// itself what went wrong below.
var answering = map[int64]bool{
	unix.EXT4_SUPER_MAGIC:  true,
	unix.XFS_SUPER_MAGIC:   true,
	unix.BTRFS_SUPER_MAGIC: true,
}

// sync makes files and directories durable by one syncfs(2) where that is as
// good as an fsync of each, and done says whether it was. The kernel tells each
// failure to top once, whoever asks, so from the first on each file is asked.
func (w *wholeSync) sync(all []*os.File) (done bool, err error) {
	if len(all) < fewest || !kernelAnswers() || !sameFileSystem(w.top, all) {
		return false, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed {
		return false, nil
	}
	if err := withFD(w.top, unix.Syncfs); err != nil {
		w.failed = true
		return true, &os.PathError{Op: "syncfs", Path: w.top.Name(), Err: err}
	}
	// A file system that has given up on its journal fails every fsync, and on
	// some kernels no syncfs.
	return true, all[0].Sync()
}

// sameFileSystem reports whether all is in the file system of top, and that is
// one that answers for errors.
func sameFileSystem(top *os.File, all []*os.File) bool {
	var in unix.Statfs_t
	if err := withFD(top, func(fd int) error { return unix.Fstatfs(fd, &in) }); err != nil || !answering[int64(in.Type)] {
		return false
	}
	device, ok := deviceOf(top)
	for _, f := range all {
		other, found := deviceOf(f)
		ok = ok && found && other == device
	}
	return ok
}

func deviceOf(f *os.File) (device uint64, ok bool) {
	var st unix.Stat_t
	err := withFD(f, func(fd int) error { return unix.Fstat(fd, &st) })
	return uint64(st.Dev), err == nil
}

// kernelAnswers reports whether syncfs(2) says what failed: of data since Linux
// 5.8, of the file system's own since 5.17.
var kernelAnswers = sync.OnceValue(func() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	return answersSince(unix.ByteSliceToString(name.Release[:]))
})

func answersSince(release string) bool {
	var major, minor int
	_, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return err == nil && (major > 5 || major == 5 && minor >= 17)
}

package sock

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// Executable returns what the peer runs. Reading another user's needs root or
// CAP_SYS_PTRACE.
func (p *Peer) Executable() (Executable, error) {
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return Executable{}, errors.New("looking at what the peer runs: /proc is another pid namespace's")
	}
	proc := fmt.Sprintf("/proc/%d/", p.PID)
	for _, ns := range []string{"ns/mnt", "ns/user"} {
		ours, err := os.Stat("/proc/self/" + ns)
		if err != nil {
			return Executable{}, err
		}
		theirs, err := os.Stat(proc + ns)
		if err != nil {
			return Executable{}, fmt.Errorf("looking at what the peer runs: %w", err)
		}
		if !os.SameFile(ours, theirs) {
			return Executable{}, ErrForeignNamespace
		}
	}
	info, err := os.Stat(proc + "exe")
	if err != nil {
		return Executable{}, fmt.Errorf("looking at what the peer runs: %w", err)
	}
	path, err := os.Readlink(proc + "exe")
	if err != nil {
		return Executable{}, fmt.Errorf("looking at what the peer runs: %w", err)
	}
	// Alive afterwards, so the pid meant this process all the while.
	if err := p.Alive(); err != nil {
		return Executable{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return Executable{path, uint64(st.Dev), st.Ino}, nil
}

func changeTime(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }

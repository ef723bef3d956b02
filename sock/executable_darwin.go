package sock

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Executable returns what the peer runs: the path its process arguments begin
// with (KERN_PROCARGS2), which the kernel wrote at exec, and the file there now.
func (p *Peer) Executable() (Executable, error) {
	args, err := unix.SysctlRaw("kern.procargs2", int(p.PID))
	if err != nil || len(args) < int(unsafe.Sizeof(int32(0))) {
		return Executable{}, fmt.Errorf("looking at what the peer runs: %w", err)
	}
	path, _, _ := strings.Cut(string(args[unsafe.Sizeof(int32(0)):]), "\x00")
	info, err := os.Stat(path)
	if err != nil {
		return Executable{}, fmt.Errorf("looking at what the peer runs: %w", err)
	}
	if err := p.Alive(); err != nil {
		return Executable{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return Executable{path, uint64(st.Dev), st.Ino}, nil
}

func changeTime(st *syscall.Stat_t) int64 { return st.Ctimespec.Nano() }

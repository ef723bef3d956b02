package child

import "syscall"

// self is this very binary, whatever has been put in its place since.
const self = "/proc/self/exe"

// dying makes the kernel kill the program when the thread that starts it ends.
func dying(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	attr.Pdeathsig = syscall.SIGKILL
	return attr
}

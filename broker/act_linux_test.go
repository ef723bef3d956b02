package broker_test

import "syscall"

// diesWithTest makes a process end when the test that started it dies.
func diesWithTest() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

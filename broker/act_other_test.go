//go:build !linux

package broker_test

import "syscall"

// diesWithTest cannot tie a process to the test here: its stdin, closed with
// the test, does.
func diesWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

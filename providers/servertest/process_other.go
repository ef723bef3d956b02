//go:build !linux

package servertest

import "syscall"

func diesWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

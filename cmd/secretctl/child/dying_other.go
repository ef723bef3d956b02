//go:build !linux

package child

import (
	"os"
	"syscall"
)

// self is this binary.
var self, _ = os.Executable()

// dying does nothing here: a program outlives a keeper that is killed, unless
// the process that started both is there to kill it.
func dying(attr *syscall.SysProcAttr) *syscall.SysProcAttr { return attr }

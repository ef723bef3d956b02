package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"secretctl/broker/secret/canary"
)

// snoop tries everything a process can do to look into another, and says what
// worked.
func snoop() {
	value := make([]byte, canary.Len)
	if _, err := io.ReadFull(os.Stdin, value); err != nil {
		die(err)
	}
	pid, err := strconv.Atoi(os.Getenv("PID"))
	if err != nil {
		die(err)
	}
	proc := fmt.Sprintf("/proc/%d/", pid)
	got := []string{}
	try := func(what string, worked bool) {
		if worked {
			got = append(got, what)
		}
	}
	environ, _ := os.ReadFile(proc + "environ")
	try("environ", len(environ) > 0)
	maps, _ := os.ReadFile(proc + "maps")
	try("maps", len(maps) > 0)
	_, err = os.ReadDir(proc + "fd")
	try("fd", err == nil)
	try("value in mem", inMemory(proc+"mem", string(maps), value))
	try("process_vm_readv", readsBy(pid, string(maps)))
	try("ptrace", attaches(pid))
	out, _ := json.Marshal(got)
	fmt.Printf("%s\n", out)
}

// mapping is a readable part of another process's memory.
var mapping = regexp.MustCompile(`(?m)^([0-9a-f]+)-([0-9a-f]+) rw`)

func mappings(maps string) (all [][2]uintptr) {
	for _, m := range mapping.FindAllStringSubmatch(maps, -1) {
		from, _ := strconv.ParseUint(m[1], 16, 64)
		to, _ := strconv.ParseUint(m[2], 16, 64)
		if to-from <= 64<<20 { // what the race detector reserves is larger
			all = append(all, [2]uintptr{uintptr(from), uintptr(to)})
		}
	}
	return all
}

func inMemory(mem, maps string, canary []byte) bool {
	f, err := os.Open(mem)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, m := range mappings(maps) {
		b := make([]byte, m[1]-m[0])
		n, _ := f.ReadAt(b, int64(m[0]))
		if bytes.Contains(b[:n], canary) {
			return true
		}
	}
	return false
}

// readsBy reads one byte. Where the maps cannot be had, it guesses a place: the
// answer to a stranger is EPERM for any address.
func readsBy(pid int, maps string) bool {
	at := uintptr(0x400000)
	if all := mappings(maps); len(all) > 0 {
		at = all[0][0]
	}
	b := make([]byte, 1)
	local := []unix.Iovec{{Base: &b[0], Len: 1}}
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: at, Len: 1}}, 0)
	return err == nil || err == unix.EFAULT
}

func attaches(pid int) bool {
	runtime.LockOSThread()
	if unix.PtraceAttach(pid) != nil {
		return false
	}
	_, _ = unix.Wait4(pid, nil, 0, nil)
	return unix.PtraceDetach(pid) == nil
}

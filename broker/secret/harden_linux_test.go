package secret_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// otherUID is a user that nothing here belongs to.
const otherUID = 60001

// TestSelfHarden: of a hardened process, another of the same uid learns nothing,
// and root finds what a broker promises about itself.
func TestSelfHarden(t *testing.T) {
	needRoot(t)
	holder := holding(t, "hardened holder")
	require.Empty(t, snooped(t, holder, otherUID))

	require.Regexp(t, `(?m)^Max core file size +0 +0 `, read(t, holder, "limits"))
	require.GreaterOrEqual(t, lockedKiB(t, holder), 4<<10)
	require.Equal(t, []string{"0", "1", "2"}, inheritable(t, holder))

	require.NoError(t, holder.Process.Signal(syscall.SIGABRT))
	var exit *exec.ExitError
	require.ErrorAs(t, holder.Wait(), &exit)
	require.False(t, exit.Sys().(syscall.WaitStatus).CoreDump())
	require.Empty(t, files(t, holder.Dir))
}

// Without Harden all of it would be had.
func TestSelfHardenIsNeeded(t *testing.T) {
	needRoot(t)
	holder := holding(t, "holder")
	require.ElementsMatch(t, []string{"environ", "maps", "fd", "value in mem", "process_vm_readv", "ptrace"}, snooped(t, holder, otherUID))
	require.NotRegexp(t, `(?m)^Max core file size +0 +0 `, read(t, holder, "limits"))
	require.Contains(t, inheritable(t, holder), "3")
}

// Root cannot be kept out, and it is said so.
func TestSelfHardenLeavesRoot(t *testing.T) {
	needRoot(t)
	require.Contains(t, snooped(t, holding(t, "hardened holder"), 0), "value in mem")
}

// holding starts a holder of another uid that has a value, an open file that it
// inherited, leave to write a core and a directory to write it to.
func holding(t *testing.T, name string) *holderProcess {
	t.Helper()
	inherited, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer inherited.Close()
	h := &holderProcess{canary: newText()}
	h.child = start(t, name, func(c *exec.Cmd) {
		c.SysProcAttr = as(otherUID)
		c.ExtraFiles = []*os.File{inherited}
		c.Dir = writable(t)
		c.Env = append(c.Env, "GOTRACEBACK=crash")
		c.Stderr = nil // it is made to crash, and says so
	})
	h.tell(t, h.canary)
	require.Equal(t, "ready", h.line(t))
	return h
}

type holderProcess struct {
	*child
	canary string
}

func as(uid uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
}

// writable returns a directory that the other uid may write to.
func writable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chown(dir, otherUID, otherUID))
	return dir
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func read(t *testing.T, h *holderProcess, file string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", h.Process.Pid, file))
	require.NoError(t, err)
	return string(b)
}

func lockedKiB(t *testing.T, h *holderProcess) int {
	t.Helper()
	m := regexp.MustCompile(`VmLck:\s+(\d+) kB`).FindStringSubmatch(read(t, h, "status"))
	require.NotNil(t, m)
	n, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	return n
}

// inheritable lists the open files that a program started by the holder has.
func inheritable(t *testing.T, h *holderProcess) (fds []string) {
	t.Helper()
	for _, fd := range files(t, fmt.Sprintf("/proc/%d/fdinfo", h.Process.Pid)) {
		m := regexp.MustCompile(`flags:\s+(\d+)`).FindStringSubmatch(read(t, h, "fdinfo/"+fd))
		flags, err := strconv.ParseUint(m[1], 8, 64)
		require.NoError(t, err)
		if flags&unix.O_CLOEXEC == 0 {
			fds = append(fds, fd)
		}
	}
	return fds
}

// snooped returns what a process of the uid gets at in the holder.
func snooped(t *testing.T, h *holderProcess, uid uint32) (got []string) {
	t.Helper()
	s := start(t, "snooper", func(c *exec.Cmd) {
		c.SysProcAttr = as(uid)
		c.Env = append(c.Env, "PID="+strconv.Itoa(h.Process.Pid))
	})
	s.tell(t, h.canary)
	require.NoError(t, json.Unmarshal([]byte(s.line(t)), &got))
	return got
}

// Lock says what a person can do when the limit is too low.
func TestLockSaysWhatToDo(t *testing.T) {
	needRoot(t)
	c := start(t, "locker", func(c *exec.Cmd) { c.SysProcAttr = as(otherUID) })
	require.Regexp(t, `^locking 5 MiB of memory for values: .*RLIMIT_MEMLOCK: ulimit -l 8192`, c.line(t))
}

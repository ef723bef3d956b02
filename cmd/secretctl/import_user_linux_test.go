package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/broker/secret/canary"
)

// TestImportBecomes: the process that works on a user's files is that user and
// nobody else, in a session of its own, with nothing open but its socket, and with
// no value in its arguments or environment.
func TestImportBecomes(t *testing.T) {
	needRoot(t)
	dir := canary.Dir(t)
	value := canary.New(t, "value")
	file := filepath.Join(dir, "app"+canary.Channel)
	require.NoError(t, os.WriteFile(file, []byte("TOKEN="+value+"\n"), 0o600))
	for _, path := range []string{dir, file} {
		require.NoError(t, os.Chown(path, 54321, 54321))
	}
	u := startUser(t, account{uid: 54321, gid: 54321, groups: []uint32{54322}})
	content, err := u.open(file)
	require.NoError(t, err)
	require.Equal(t, "TOKEN="+value+"\n", string(content))

	proc := filepath.Join("/proc", strconv.Itoa(u.cmd.Process.Pid))
	threads, err := filepath.Glob(proc + "/task/*/status")
	require.NoError(t, err)
	require.Greater(t, len(threads), 1)
	for _, path := range threads {
		requireUser(t, path)
	}
	session, err := unix.Getsid(u.cmd.Process.Pid)
	require.NoError(t, err)
	require.Equal(t, u.cmd.Process.Pid, session)
	cwd, err := os.Readlink(proc + "/cwd")
	require.NoError(t, err)
	require.Equal(t, "/", cwd)
	for _, fd := range []string{"0", "1", "2"} {
		to, err := os.Readlink(proc + "/fd/" + fd)
		require.NoError(t, err)
		require.Equal(t, "/dev/null", to)
	}
	environ, err := os.ReadFile(proc + "/environ")
	require.NoError(t, err)
	require.NotContains(t, string(environ), "SECRETCTL")
	require.Empty(t, holders(t, "cmdline", value))
	require.Empty(t, holders(t, "environ", value))
	require.NoError(t, u.close())
}

// requireUser checks that a thread is the user for good.
func requireUser(t *testing.T, path string) {
	status, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, line := range []string{
		"Uid:\t54321\t54321\t54321\t54321", "Gid:\t54321\t54321\t54321\t54321", "Groups:\t54322 ", "NoNewPrivs:\t1",
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000",
	} {
		require.Contains(t, string(status), "\n"+line+"\n")
	}
}

func startUser(t *testing.T, a account) *userFiles {
	self := filepath.Join(stageDir, "secretctl")
	u, err := startProgramAs(t.Context(), self, a)
	require.NoError(t, err)
	return u
}

// TestImportStaysWhoItIs: a process that is not the user it should be, or that
// could become another, works on nothing.
func TestImportStaysWhoItIs(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct {
		is     *syscall.Credential
		should call
	}{
		"root":          {nil, call{Op: opBecome, UID: 54321, GID: 54321}},
		"root, as root": {nil, call{Op: opBecome}},
		"another user":  {&syscall.Credential{Uid: 54322, Gid: 54321}, call{Op: opBecome, UID: 54321, GID: 54321}},
		"another group": {&syscall.Credential{Uid: 54321, Gid: 54322}, call{Op: opBecome, UID: 54321, GID: 54321}},
		"root's group":  {&syscall.Credential{Uid: 54321, Gid: 54321, Groups: []uint32{0}}, call{Op: opBecome, UID: 54321, GID: 54321}},
	} {
		ours, theirs, err := socketPair()
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), filepath.Join(stageDir, "secretctl"), asUserCommand)
		cmd.ExtraFiles, cmd.Dir = []*os.File{theirs}, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.is}
		cmd.Env = []string{"GORACE=atexit_sleep_ms=10", "GOCOVERDIR=" + filepath.Join(stageDir, "cover")}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		require.NoError(t, theirs.Close())
		u := &userFiles{conn: ours, cmd: cmd}
		_, _, err = u.ask(c.should, nil)
		require.ErrorContains(t, err, "this process is not the user that it should be", name)
		_, _, err = u.ask(call{Op: opOpen, Path: "/etc/passwd"}, nil)
		require.ErrorContains(t, err, "the process that works on the files", name)
		require.Error(t, u.close(), name)
	}
}

// TestImportOrder: the user comes first, and what is no call ends it.
func TestImportOrder(t *testing.T) {
	needRoot(t)
	u := startUser(t, account{uid: 54321, gid: 54321})
	_, _, err := u.ask(call{Op: opRewrite, Path: "/etc/passwd"}, []byte("x"))
	require.ErrorContains(t, err, "the file was not opened")
	_, _, err = u.ask(call{Op: opRemains, Path: "/etc/passwd"}, nil)
	require.ErrorContains(t, err, "the file was not opened")
	_, _, err = u.ask(call{Op: "exec"}, nil)
	require.ErrorContains(t, err, "has ended")
	require.Error(t, u.close())
}

func FuzzCalls(f *testing.F) {
	var b bytes.Buffer
	require.NoError(f, send(&b, call{Op: opOpen, Path: "/a"}, []byte("body")))
	f.Add(b.Bytes())
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c call
		body, err := receive(bytes.NewReader(b), &c)
		if err != nil {
			return
		}
		var again bytes.Buffer
		require.NoError(t, send(&again, c, body))
		var d call
		back, err := receive(&again, &d)
		require.NoError(t, err)
		if len(c.Taken) == 0 {
			c.Taken = nil
		}
		require.Equal(t, c, d)
		require.Equal(t, body, back)
	})
}

package sock_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/sock"
)

// pins pins programs.
func pins(t *testing.T, paths ...string) (all []sock.Pin) {
	t.Helper()
	for _, path := range paths {
		pin, err := sock.PinExecutable(path)
		require.NoError(t, err)
		all = append(all, pin)
	}
	return all
}

// TestExecAfterConnect: what the peer runs is asked at every request. Having
// connected as an allowed program is no help to another.
func TestExecAfterConnect(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	dir := trustedDir(t)
	allowed, other := program(t, dir, "allowed"), program(t, dir, "other")
	p := startProgram(t, agent, allowed, nil)
	p.do("dial", path)
	conn := accept(t, l)
	require.NoError(t, conn.Peer().Runs(pins(t, allowed)))

	p.do("exec", other)
	p.do("write", "mine")
	reads(t, conn, "mine")
	require.NoError(t, conn.Peer().Alive(), "it is the same process")
	require.ErrorIs(t, conn.Peer().Runs(pins(t, allowed)), sock.ErrOtherExecutable)
	require.NoError(t, conn.Peer().Runs(pins(t, allowed, other)))
	exe, err := conn.Peer().Executable()
	require.NoError(t, err)
	require.Equal(t, other, exe.Path)

	p.do("exec", allowed)
	require.NoError(t, conn.Peer().Runs(pins(t, allowed)))
}

// The same content elsewhere is another file, and so is one that has taken the
// place of the one that runs.
func TestSameContentIsNotSameFile(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	dir := trustedDir(t)
	allowed, copied := program(t, dir, "allowed"), program(t, dir, "copied")
	pinned := pins(t, allowed)
	p := startProgram(t, agent, copied, nil)
	p.do("dial", path)
	require.ErrorIs(t, accept(t, l).Peer().Runs(pinned), sock.ErrOtherExecutable)

	p = startProgram(t, agent, allowed, nil)
	p.do("dial", path)
	conn := accept(t, l)
	require.NoError(t, conn.Peer().Runs(pinned))
	require.NoError(t, os.Rename(copied, allowed))
	require.ErrorIs(t, conn.Peer().Runs(pinned), sock.ErrOtherExecutable, "it runs what was replaced")
	p.do("exec", allowed)
	require.NoError(t, conn.Peer().Runs(pinned), "it is what was pinned, put there anew")
}

// TestExeSpoofBindMount: a uid without rights puts its own program over the path
// of the allowed one, in namespaces of its own.
func TestExeSpoofBindMount(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	dir := trustedDir(t)
	allowed, evil := program(t, dir, "allowed"), program(t, dir, "evil")
	p := masked(t, agent, allowed, evil)
	p.do("dial", path)
	conn := accept(t, l)

	link, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", conn.Peer().PID))
	require.NoError(t, err)
	require.Equal(t, allowed, link, "the attack works on those who read the link")
	_, err = conn.Peer().Executable()
	require.ErrorIs(t, err, sock.ErrForeignNamespace)
	require.ErrorIs(t, conn.Peer().Runs(pins(t, allowed)), sock.ErrForeignNamespace)

	// The true program there is no better: it may be fed other libraries.
	p = masked(t, agent, allowed, allowed)
	p.do("dial", path)
	require.ErrorIs(t, accept(t, l).Peer().Runs(pins(t, allowed)), sock.ErrForeignNamespace)
}

// A mount namespace is foreign with and without a user namespace, and the other
// way round.
func TestForeignNamespaces(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	allowed := program(t, trustedDir(t), "allowed")
	self := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	for name, attr := range map[string]*syscall.SysProcAttr{
		"mount": {Cloneflags: syscall.CLONE_NEWNS},
		"user":  {Cloneflags: syscall.CLONE_NEWUSER, UidMappings: self, GidMappings: self},
	} {
		p := startProgram(t, 0, allowed, func(cmd *exec.Cmd) { cmd.SysProcAttr = attr })
		p.do("dial", path)
		require.ErrorIs(t, accept(t, l).Peer().Runs(pins(t, allowed)), sock.ErrForeignNamespace, name)
	}
}

// preloaded is a library that speaks to the socket named in SOCK as soon as it is
// loaded, and waits for an answer.
const preloaded = `
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
__attribute__((constructor)) static void speak(void) {
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	char c;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(to.sun_path, getenv("SOCK"), sizeof to.sun_path - 1);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && write(fd, "stolen", 6) == 6)
		(void)!read(fd, &c, 1);
}
`

// TestExeSpoofPreload documents what is not protected: a process of the uid can
// make an allowed program say anything.
func TestExeSpoofPreload(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("gcc"); err != nil {
		missing(t, "needs gcc")
	}
	dir := shortDir(t)
	source, library := write(t, filepath.Join(dir, "speak.c"), preloaded, 0o644), filepath.Join(dir, "speak.so")
	out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", library, source).CombinedOutput()
	require.NoError(t, err, "%s", out)
	chmod(t, library, 0o755)

	l, path := listen(t, sock.ListenOptions{})
	cmd := exec.Command("/bin/sleep", "0")
	cmd.Env = []string{"LD_PRELOAD=" + library, "SOCK=" + path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: agent, Gid: agent}}
	require.NoError(t, cmd.Start())
	conn := accept(t, l)
	reads(t, conn, "stolen")
	require.NoError(t, conn.Peer().Runs(pins(t, "/bin/sleep")))
	require.NoError(t, conn.Close())
	require.NoError(t, cmd.Wait())
}

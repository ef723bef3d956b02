package sock_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/sock"
)

// actBroker listens at args[0] and says who it let in, until its input ends. It
// connects to itself args[1] times.
func actBroker(args []string) error {
	out := json.NewEncoder(os.Stdout)
	say := func(format string, a ...any) { _ = out.Encode(answer{Out: fmt.Sprintf(format, a...)}) }
	say("%d", os.Getpid())
	l, err := sock.Listen(args[0], sock.ListenOptions{})
	if err != nil {
		return err
	}
	say("in a user namespace: %t", sock.InUserNamespace())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close()
	}()
	selves, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for range selves {
		if _, err := net.Dial("unix", args[0]); err != nil {
			return err
		}
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return nil
		}
		peer := c.(*sock.Conn).Peer()
		_, err = peer.Executable()
		say("uid %d pid %d: %v", peer.UID, peer.PID, err)
	}
}

// broker starts a broker that listens in namespaces of its own.
func broker(t *testing.T, path string, selves int, attr *syscall.SysProcAttr) *puppet {
	t.Helper()
	return startProgram(t, 0, program(t, trustedDir(t), "broker"), func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, actVariable+"=broker")
		cmd.Args = []string{"broker", path, strconv.Itoa(selves)}
		cmd.SysProcAttr = attr
	})
}

// A peer in a pid namespace of its own has the pid that we see, not its own.
func TestPeerInPidNamespace(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	program := program(t, trustedDir(t), "puppet")
	p := startProgram(t, agent, program, func(cmd *exec.Cmd) { cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID })
	require.Equal(t, 1, p.pid, "its own view")
	p.do("dial", path)
	conn := accept(t, l)
	require.Equal(t, int32(p.cmd.Process.Pid), conn.Peer().PID)
	p.do("write", "mine")
	reads(t, conn, "mine")
	pin, err := sock.PinExecutable(program)
	require.NoError(t, err)
	require.NoError(t, conn.Peer().Runs([]sock.Pin{pin}))
	p.do("fork", "fork", "stolen")
	refuses(t, conn)
}

// A peer whose pid cannot be seen is refused: its 0 is nobody.
func TestPeerOutsidePidNamespace(t *testing.T) {
	needRoot(t)
	path := filepath.Join(shortDir(t), "s")
	b := broker(t, path, 0, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID})
	require.Equal(t, "in a user namespace: false", b.hear())
	_, err := read(dial(t, path))
	require.ErrorIs(t, err, io.EOF)
}

// Where /proc is another pid namespace's, a pid means another process there: then
// nothing is known about what a peer runs.
func TestProcOfAnotherPidNamespace(t *testing.T) {
	needRoot(t)
	b := broker(t, filepath.Join(shortDir(t), "s"), 1, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID})
	require.Equal(t, "in a user namespace: false", b.hear())
	require.Regexp(t, `^uid 0 pid 1: .*another pid namespace`, b.hear())
}

// Root of a user namespace is the uid that made it, and so it is seen.
func TestRootOfUserNamespace(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	p := masked(t, agent, "", "")
	p.do("dial", path)
	conn := accept(t, l)
	require.Equal(t, uint32(agent), conn.Peer().UID)
	p.do("write", "mine")
	reads(t, conn, "mine")
}

// A broker in a user namespace sees others without a name. It is not started
// there, and if it were, it would refuse them.
func TestBrokerInUserNamespace(t *testing.T) {
	needRoot(t)
	path := filepath.Join(shortDir(t), "s")
	self := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	b := broker(t, path, 0, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: self, GidMappings: self})
	require.Equal(t, "in a user namespace: true", b.hear())
	p := start(t, agent)
	p.do("dial", path)
	require.Equal(t, "EOF", p.do("read"))
	dial(t, path)
	require.Regexp(t, `^uid 0 pid `, b.hear())
	require.False(t, sock.InUserNamespace())
}

// masked starts a puppet that has gone into a user and mount namespace of its
// own, in which one program is over the path of another.
func masked(t *testing.T, uid uint32, over, own string) *puppet {
	t.Helper()
	path := program(t, trustedDir(t), "puppet")
	if over == "" {
		over, own = path, path
	}
	p := startProgram(t, uid, path, nil)
	if err := p.try("mask", over, own); err != nil {
		missing(t, "needs user namespaces for everybody: "+err.Error())
	}
	return p
}

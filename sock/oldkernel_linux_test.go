package sock_test

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/sock"
)

// onOldKernel calls f where the options of sockets that came with Linux 6.5 and
// 6.16 do not exist.
func onOldKernel(t *testing.T, f func()) {
	t.Helper()
	denying(t, []denied{
		{unix.SYS_GETSOCKOPT, 2, unix.SO_PEERPIDFD, unix.ENOPROTOOPT},
		{unix.SYS_SETSOCKOPT, 2, unix.SO_PASSRIGHTS, unix.ENOPROTOOPT},
	}, f)
}

// oldListen and oldAccept are listen and accept on an old kernel.
func oldListen(t *testing.T) (l *sock.Listener, path string) {
	t.Helper()
	path = filepath.Join(shortDir(t), "s")
	var err error
	onOldKernel(t, func() { l, err = sock.Listen(path, sock.ListenOptions{}) })
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l, path
}

func oldAccept(t *testing.T, l *sock.Listener) *sock.Conn {
	t.Helper()
	var c net.Conn
	var err error
	onOldKernel(t, func() { c, err = l.Accept() })
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c.(*sock.Conn)
}

func oldPair(t *testing.T) (client *net.UnixConn, conn *sock.Conn) {
	t.Helper()
	l, path := oldListen(t)
	client = dial(t, path)
	return client, oldAccept(t, l)
}

// Before Linux 6.5 a peer is pinned by its start time, and says so.
func TestOldKernel(t *testing.T) {
	client, conn := oldPair(t)
	require.Equal(t, sock.StrengthStartTime, conn.Peer().Strength)
	require.NoError(t, conn.Peer().Alive())
	_, err := client.Write([]byte("mine"))
	require.NoError(t, err)
	reads(t, conn, "mine")
	require.NoError(t, conn.Close())
	require.ErrorIs(t, conn.Peer().Alive(), sock.ErrGone)

	_, conn = pair(t, sock.ListenOptions{})
	require.Equal(t, sock.StrengthPidfd, conn.Peer().Strength)
}

// There, too, a process that has ended is gone, whether or not anybody has
// waited for it, and whatever it was called.
func TestOldKernelPeerGone(t *testing.T) {
	l, path := oldListen(t)
	for _, name := range []string{"plain", "a) R 1 (b", ") ) )"} {
		p := startProgram(t, agent, program(t, trustedDir(t), name), nil)
		p.do("dial", path)
		conn := oldAccept(t, l)
		require.NoError(t, conn.Peer().Alive(), name)
		require.NoError(t, p.in.Close())
		awaitZombie(t, p.pid)
		require.ErrorIs(t, conn.Peer().Alive(), sock.ErrGone, "%s: nobody has waited", name)
		p.end()
		require.ErrorIs(t, conn.Peer().Alive(), sock.ErrGone, name)
		require.NoError(t, conn.Close())
	}
}

// One that has ended before it is accepted is not let in.
func TestOldKernelGoneBeforeAccept(t *testing.T) {
	l, path := oldListen(t)
	gone, there := start(t, agent), start(t, agentTwo)
	gone.do("dial", path)
	gone.end()
	there.do("dial", path)
	require.Equal(t, uint32(agentTwo), oldAccept(t, l).Peer().UID)
}

// awaitZombie waits until a child of this process has ended, without letting go
// of its pid.
func awaitZombie(t *testing.T, pid int) {
	t.Helper()
	require.NoError(t, unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
}

package sock_test

import (
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/sock"
)

// passed are how many descriptors come with a message: as few and as many as can.
var passed = []int{1, 4, 5, 20, 253}

// Where the kernel knows how to, nobody can even send descriptors, and the peer
// is none the worse for having tried.
func TestFdPassToUs(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	if !refusesRights(t, conn) {
		missing(t, "needs Linux 6.16: SO_PASSRIGHTS")
	}
	before := openFiles(t)
	for _, n := range passed {
		require.ErrorIs(t, sendRights(client, n), unix.EPERM, "%d descriptors", n)
	}
	_, err := client.Write([]byte("mine"))
	require.NoError(t, err)
	reads(t, conn, "mine")
	require.Equal(t, before, openFiles(t))
}

// Elsewhere they end the connection, and none of them is ever open here.
func TestFdPassToUsOnOldKernel(t *testing.T) {
	for _, n := range passed {
		client, conn := oldPair(t)
		before := openFiles(t)
		require.NoError(t, sendRights(client, n))
		_, err := read(conn)
		require.ErrorContains(t, err, "descriptors were passed", "%d descriptors", n)
		require.Equal(t, before, openFiles(t), "%d descriptors", n)
		refuses(t, conn)
	}
}

// So they do when it is not the peer who sends them.
func TestForeignFdPassToUsOnOldKernel(t *testing.T) {
	p := start(t, stranger)
	for _, n := range passed {
		client, conn := oldPair(t)
		raw, err := client.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) { require.NoError(t, giveFD(p.wire, int(fd))) }))
		p.do("take")
		before := openFiles(t)
		p.do("rights", strconv.Itoa(n), "stolen")
		_, err = read(conn)
		require.Error(t, err)
		require.Equal(t, before, openFiles(t), "%d descriptors", n)
		refuses(t, conn)
		p.do("close")
	}
}

// What a kernel hands over in spite of all that is closed.
func TestPassedDescriptorsAreClosed(t *testing.T) {
	before := openFiles(t)
	var fds []int
	for range 3 {
		fd, err := unix.Dup(0)
		require.NoError(t, err)
		fds = append(fds, fd)
	}
	control := append(unix.UnixCredentials(&unix.Ucred{}), unix.UnixRights(fds[:2]...)...)
	sock.ClosePassed(append(control, unix.UnixRights(fds[2])...))
	require.Equal(t, before, openFiles(t))
	sock.ClosePassed([]byte{1, 2, 3})
}

// refusesRights reports whether the connection takes no descriptors.
func refusesRights(t *testing.T, conn *sock.Conn) (refused bool) {
	t.Helper()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		v, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSRIGHTS)
		if err != unix.ENOPROTOOPT {
			require.NoError(t, err)
			refused = v == 0
			require.True(t, refused, "SO_PASSRIGHTS is there and not used")
		}
	}))
	return refused
}

// sendRights sends its standard input so many times.
func sendRights(c *net.UnixConn, n int) error {
	fds := make([]int, n)
	_, _, err := c.WriteMsgUnix([]byte("x"), unix.UnixRights(fds...), nil)
	return err
}

// openFiles returns how many descriptors this process has.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

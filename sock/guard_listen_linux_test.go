package sock_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/sock"
)

// A socket that somebody removed is closed all the same, and its place is free.
func TestCloseOfARemovedSocket(t *testing.T) {
	path := shortDir(t) + "/s"
	l, err := sock.Listen(path, sock.ListenOptions{})
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	require.NoError(t, l.Close())
	require.NoError(t, l.Close(), "once")
	listenAt(t, path, sock.ListenOptions{})
}

// The lock is nobody else's to take.
func TestLockIsPrivate(t *testing.T) {
	old := unix.Umask(0)
	_, path := listen(t, sock.ListenOptions{})
	unix.Umask(old)
	require.Equal(t, os.FileMode(0o600), modeOf(t, path+".lock").Perm())
}

// files is how many descriptors this process has.
func files(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(list)
}

// Who is not let in costs no descriptor, nor does a listener that is not made.
func TestRefusalsCostNoDescriptors(t *testing.T) {
	const times = 5
	dir := shortDir(t)
	taken := map[uint32]int{agent: 1} // others: any number
	l := listenAt(t, dir+"/s", sock.ListenOptions{MaxPerUID: func(uid uint32) int { return taken[uid] }})
	write(t, dir+"/file", "", 0o600)
	all := troupe(t, agent, agent, agentTwo)
	all[0].do("dial", dir+"/s")
	accept(t, l)
	// passed says that those who came before have been dealt with.
	passed := func() {
		all[2].do("dial", dir+"/s")
		conn, err := l.Accept()
		require.NoError(t, err)
		require.Equal(t, uint32(agentTwo), conn.(*sock.Conn).Peer().UID)
		require.NoError(t, conn.Close())
		all[2].do("close")
	}
	for what, try := range map[string]func(){
		"in use": func() {
			_, err := sock.Listen(dir+"/s", sock.ListenOptions{})
			require.ErrorIs(t, err, sock.ErrInUse)
		},
		"not a socket": func() {
			_, err := sock.Listen(dir+"/file", sock.ListenOptions{})
			require.Error(t, err)
		},
		"no place left": func() {
			all[1].do("dial", dir+"/s")
			passed()
			all[1].do("close")
		},
	} {
		t.Run(what, func(t *testing.T) {
			before := files(t)
			for range times {
				try()
			}
			require.Equal(t, before, files(t))
		})
	}
	t.Run("gone", func(t *testing.T) {
		for _, p := range troupe(t, stranger, stranger, stranger) {
			p.do("dial", dir+"/s")
			p.end()
		}
		before := files(t)
		passed()
		require.Equal(t, before, files(t))
	})
}

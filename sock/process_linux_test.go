package sock_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/sock"
)

// TestOrphan: when the process that connected has ended, a child that goes on
// with the connection is not it.
func TestOrphan(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	p := start(t, agent)
	p.do("dial", path)
	conn := accept(t, l)
	require.NoError(t, conn.Peer().Alive())
	p.orphan()
	require.ErrorIs(t, conn.Peer().Alive(), sock.ErrGone)
	_, err := conn.Peer().Executable()
	require.Error(t, err)
	p.do("write", "stolen")
	refuses(t, conn)
	require.ErrorIs(t, conn.Peer().Alive(), sock.ErrGone)
}

// orphan ends the puppet's process; a child of it goes on in its place.
func (p *puppet) orphan() {
	p.t.Helper()
	old := p.pid
	p.tell("leave")
	p.meet()
	_, err := p.cmd.Process.Wait()
	require.NoError(p.t, err)
	require.NotEqual(p.t, old, p.pid)
}

// What the peer wrote before it ended is not the orphan's to finish.
func TestOrphanFinishesNothing(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	p := start(t, agent)
	p.do("dial", path)
	conn := accept(t, l)
	p.do("write", "GET /v1/secrets HTTP/1.1\r\n")
	p.orphan()
	p.do("write", "\r\n")
	reads(t, conn, "GET /v1/secrets HTTP/1.1\r\n")
	refuses(t, conn)
}

// A process that has ended is gone before anybody has waited for it.
func TestZombieIsGone(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	p := start(t, agent)
	p.do("dial", path)
	conn := accept(t, l)
	require.NoError(t, p.in.Close())
	awaitZombie(t, p.pid)
	require.ErrorIs(t, conn.Peer().Alive(), sock.ErrGone)
}

// The process is the peer, not the thread of it that connected.
func TestConnectingThreadEnds(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	p := start(t, agent)
	p.do("thread-dial", path)
	conn := accept(t, l)
	require.Equal(t, int32(p.pid), conn.Peer().PID)
	require.NoError(t, conn.Peer().Alive())
	p.do("write", "mine")
	reads(t, conn, "mine")
	p.end()
	require.ErrorIs(t, conn.Peer().Alive(), sock.ErrGone)
}

// lastPID is where the kernel says, and can be told, after which pid it looks
// for the next.
const lastPID = "/proc/sys/kernel/ns_last_pid"

// TestPidReuse: the pid of a peer that has ended comes to mean a process of the
// same uid that runs the same program and has the connection. It still is gone.
func TestPidReuse(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat(lastPID); err != nil {
		missing(t, "needs a kernel that can be told the next pid")
	}
	const reuses = 20
	path := program(t, trustedDir(t), "puppet")
	l, at := listen(t, sock.ListenOptions{})
	pin, err := sock.PinExecutable(path)
	require.NoError(t, err)
	for reused, rounds := 0, 0; reused < reuses; rounds++ {
		require.Less(t, rounds, 10*reuses, "pids do not come again")
		first := startProgram(t, agent, path, nil)
		first.do("dial", at)
		conn := accept(t, l)
		require.NoError(t, conn.Peer().Runs([]sock.Pin{pin}))
		keeper := startProgram(t, agent, path, nil)
		first.give(keeper)
		first.end()

		second := startWithPID(t, first.pid, path)
		if second == nil {
			keeper.end()
			continue
		}
		reused++
		keeper.give(second)
		require.ErrorIs(t, conn.Peer().Alive(), sock.ErrGone)
		_, err := conn.Peer().Executable()
		require.ErrorIs(t, err, sock.ErrGone)
		require.ErrorIs(t, conn.Peer().Runs([]sock.Pin{pin}), sock.ErrGone)
		// What it writes has the right pid: that is why Alive is asked as well.
		second.do("write", "stolen")
		require.ErrorIs(t, conn.Peer().Alive(), sock.ErrGone)

		second.do("dial", at) // as itself it is as good as any
		fresh := accept(t, l)
		require.Equal(t, int32(first.pid), fresh.Peer().PID)
		require.NoError(t, fresh.Peer().Runs([]sock.Pin{pin}))
		second.end()
		keeper.end()
	}
}

// startWithPID starts a puppet that has this pid, or returns nil when somebody
// else on the machine was faster and keeps it.
func startWithPID(t *testing.T, pid int, path string) *puppet {
	t.Helper()
	for range 20 {
		require.NoError(t, os.WriteFile(lastPID, fmt.Append(nil, pid-1), 0o644))
		p := startProgram(t, agent, path, nil)
		if p.pid == pid {
			return p
		}
		p.end()
	}
	return nil
}

// TestPeerGoneDuringCheck: whenever the process ends, nobody is let in in its
// place, and least of all root.
func TestPeerGoneDuringCheck(t *testing.T) {
	t.Run("before it is accepted", func(t *testing.T) {
		var seen []uint32
		l, path := listen(t, sock.ListenOptions{Admit: func(p *sock.Peer) error {
			seen = append(seen, p.UID)
			return nil
		}})
		all := troupe(t, agent, agentTwo)
		all[0].do("dial", path)
		all[0].end()
		all[1].do("dial", path)
		require.Equal(t, uint32(agentTwo), accept(t, l).Peer().UID)
		require.Equal(t, []uint32{agentTwo}, seen)
	})
	t.Run("before it is waited for", func(t *testing.T) {
		l, path := listen(t, sock.ListenOptions{})
		all := troupe(t, agent, agentTwo)
		all[0].do("dial", path)
		require.NoError(t, all[0].in.Close())
		awaitZombie(t, all[0].pid)
		all[1].do("dial", path)
		require.Equal(t, uint32(agentTwo), accept(t, l).Peer().UID)
	})
	t.Run("while it is being let in", func(t *testing.T) {
		p := start(t, agent)
		l, path := listen(t, sock.ListenOptions{Admit: func(peer *sock.Peer) error {
			p.end()
			require.ErrorIs(t, peer.Alive(), sock.ErrGone)
			require.Equal(t, uint32(agent), peer.UID)
			_, err := peer.Executable()
			require.Error(t, err)
			return nil
		}})
		p.do("dial", path)
		conn := accept(t, l)
		require.ErrorIs(t, conn.Peer().Alive(), sock.ErrGone)
		require.Equal(t, uint32(agent), conn.Peer().UID)
	})
}

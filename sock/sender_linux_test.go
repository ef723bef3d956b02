package sock_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/sock"
)

// TestFdPass: a connection that is passed on is worth nothing, whoever has it,
// from the first byte on.
func TestFdPass(t *testing.T) {
	for name, to := range map[string]uint32{"root's, to a stranger": stranger, "root's, to root": 0} {
		t.Run(name, func(t *testing.T) { passOn(t, 0, to) })
	}
	t.Run("an agent's, to another process of the agent", func(t *testing.T) { passOn(t, agent, agent) })
	t.Run("an agent's, to root", func(t *testing.T) { passOn(t, agent, 0) })
}

func passOn(t *testing.T, from, to uint32) {
	l, path := listen(t, sock.ListenOptions{})
	both := troupe(t, from, to)
	first, second := both[0], both[1]
	first.do("dial", path)
	conn := accept(t, l)
	require.Equal(t, from, conn.Peer().UID)
	first.give(second)
	second.do("write", "GET / HTTP/1.1\r\n\r\n")
	refuses(t, conn)
	first.do("write", "too late")
	refuses(t, conn)
}

// However the bytes of another are written, they are not read.
func TestFdPassByOtherMeans(t *testing.T) {
	all := troupe(t, agent, agent)
	for _, means := range []string{"write", "splice"} {
		l, path := listen(t, sock.ListenOptions{})
		all[0].do("dial", path)
		conn := accept(t, l)
		all[0].give(all[1])
		all[1].do(means, "stolen")
		refuses(t, conn)
	}
}

// What two processes wrote is not read in one go: the kernel keeps it apart, and
// only the peer's part is seen.
func TestSendersAreNotMerged(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	all := troupe(t, agent, agent)
	all[0].do("dial", path)
	conn := accept(t, l)
	all[0].give(all[1])
	all[0].do("write", "mine ")
	all[0].do("write", "too")
	all[1].do("write", "stolen")
	all[0].do("write", "mine again")
	reads(t, conn, "mine too")
	refuses(t, conn)
}

// A byte out of band is not in the stream, whoever writes it, and does not lend
// its sender's name to what is.
func TestOutOfBand(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	all := troupe(t, agent, stranger)
	all[0].do("dial", path)
	conn := accept(t, l)
	all[0].give(all[1])
	if err := all[1].try("urgent", "!"); err != nil {
		missing(t, "needs a kernel with MSG_OOB for unix sockets: "+err.Error())
	}
	all[0].do("write", "mine")
	reads(t, conn, "mine")
	all[0].do("urgent", "!")
	all[1].do("write", "stolen")
	refuses(t, conn)
}

// Messages of nothing say nothing about who writes.
func TestEmptyMessages(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	all := troupe(t, agent, stranger)
	all[0].do("dial", path)
	conn := accept(t, l)
	all[0].give(all[1])
	all[1].do("write", "")
	all[1].do("send", "")
	all[0].do("write", "mine")
	reads(t, conn, "mine")
}

// TestForkedChild: a child that inherited the connection is another process.
func TestForkedChild(t *testing.T) {
	p := start(t, agent)
	for how := range forks {
		l, path := listen(t, sock.ListenOptions{})
		p.do("dial", path)
		conn := accept(t, l)
		p.do("write", "mine")
		reads(t, conn, "mine")
		child, err := strconv.Atoi(p.do("fork", how, "stolen"))
		require.NoError(t, err)
		refuses(t, conn)
		p.do("close")
		if how == "sibling" { // this process's child
			_, err := unix.Wait4(child, nil, 0, nil)
			require.NoError(t, err)
		}
	}
}

// The sender's name is the kernel's: a process cannot write another's.
func TestForgedSender(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	all := troupe(t, agent, agent)
	all[0].do("dial", path)
	conn := accept(t, l)
	all[0].give(all[1])
	own, other := strconv.Itoa(all[0].pid), strconv.Itoa(all[1].pid)
	uid := strconv.Itoa(agent)
	require.EqualError(t, all[1].try("claim", own, uid, "stolen"), unix.EPERM.Error(), "the pid of the peer")
	require.EqualError(t, all[1].try("claim", other, "0", "stolen"), unix.EPERM.Error(), "root's uid")
	all[0].do("claim", own, uid, "mine")
	reads(t, conn, "mine")
	all[1].do("claim", other, uid, "stolen")
	refuses(t, conn)
}

// A program that its caller runs with another uid than the caller's is taken for
// neither: the one that connects and the one that writes must be the same.
func TestSetuidPeer(t *testing.T) {
	for name, ids := range map[string][2]uint32{"of root's, run by an agent": {agent, 0}, "of an agent's, run by root": {0, agent}} {
		t.Run(name, func(t *testing.T) {
			l, path := listen(t, sock.ListenOptions{})
			p := start(t, 0)
			p.do("setuid", strconv.Itoa(int(ids[0])), strconv.Itoa(int(ids[1])), "0")
			p.do("dial", path)
			conn := accept(t, l)
			require.Equal(t, ids[1], conn.Peer().UID)
			p.do("write", "GET / HTTP/1.1\r\n\r\n")
			refuses(t, conn)
		})
	}
}

// A peer that gives its uid up is no longer who connected.
func TestPeerChangesUID(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	p := start(t, 0)
	p.do("dial", path)
	conn := accept(t, l)
	p.do("setuid", strconv.Itoa(agent), strconv.Itoa(agent), strconv.Itoa(agent))
	p.do("write", "stolen")
	refuses(t, conn)
}

// Without credentials nothing is read, even from the peer.
func TestNoCredentials(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		require.NoError(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 0))
	}))
	_, err = client.Write([]byte("whose?"))
	require.NoError(t, err)
	refuses(t, conn)
}

// The first message has its sender even if it was there before the connection
// was accepted.
func TestWrittenBeforeAccept(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	for range 100 {
		client := dial(t, path)
		_, err := client.Write([]byte("early"))
		require.NoError(t, err)
		conn := accept(t, l)
		reads(t, conn, "early")
		require.NoError(t, conn.Close())
		require.NoError(t, client.Close())
	}
}

// Under net/http the request of another is not answered, and ends the one that
// is being answered.
func TestFdPassUnderHTTP(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	inside, ended := make(chan struct{}), make(chan struct{})
	serve(t, l, func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		select {
		case <-r.Context().Done():
			close(ended)
		case <-time.After(patience):
		}
	})
	all := troupe(t, agent, agent)
	all[0].do("dial", path)
	all[0].do("write", "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-inside
	all[0].give(all[1])
	all[1].do("write", "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the request goes on")
	}
}

package sock_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/sock"
)

// TestUidEdge: the uids at the edges are seen exactly as they are, or refused.
func TestUidEdge(t *testing.T) {
	for _, c := range []struct {
		uid     uint32
		refused bool
	}{
		{uid: 0},
		{uid: 1},
		{uid: nobody - 1},
		{uid: nobody, refused: true}, // what the kernel calls whom it cannot name
		{uid: nobody + 1},
		{uid: 1<<31 - 1},
		{uid: 1 << 31}, // negative, for those who take it for an int32
		{uid: 1<<32 - 2},
		// 1<<32-1 means "none": no process can have it, see TestAdmissible.
	} {
		t.Run(fmt.Sprint(c.uid), func(t *testing.T) {
			asked := 0
			l, path := listen(t, sock.ListenOptions{
				Admit:   func(*sock.Peer) error { asked++; return nil },
				Refusal: []byte("who are you?"),
			})
			all := troupe(t, c.uid, agent)
			p := all[0]
			p.do("dial", path)
			if c.refused {
				all[1].do("dial", path)
				require.Equal(t, uint32(agent), accept(t, l).Peer().UID)
				require.Equal(t, "EOF", p.do("read"))
				require.Equal(t, 1, asked)
				return
			}
			conn := accept(t, l)
			require.Equal(t, c.uid, conn.Peer().UID)
			require.Equal(t, c.uid, conn.Peer().GID)
			p.do("write", "mine")
			reads(t, conn, "mine")
		})
	}
}

// The uids that name nobody in particular are refused, on both ends.
func TestAdmissible(t *testing.T) {
	for uid, ok := range map[uint32]bool{0: true, nobody - 1: true, nobody: false, nobody + 1: true, 1 << 31: true, 1<<32 - 2: true, 1<<32 - 1: false} {
		err := sock.Admissible(uid)
		require.Equal(t, ok, err == nil, "uid %d: %v", uid, err)
	}
}

// A uid has so many places and no more, whatever others have, and gets each back
// when the connection ends.
func TestMaxPerUID(t *testing.T) {
	limits := map[uint32]int{agent: 2, agentTwo: 1} // a stranger: any number
	l, path := listen(t, sock.ListenOptions{MaxPerUID: func(uid uint32) int { return limits[uid] }})
	path2 := program(t, trustedDir(t), "puppet")
	come := func(uid uint32) *puppet {
		p := startProgram(t, uid, path2, nil)
		p.do("dial", path)
		return p
	}
	come(agent)
	first := accept(t, l)
	come(agent)
	accept(t, l)

	third := come(agent)
	come(agentTwo)
	require.Equal(t, uint32(agentTwo), accept(t, l).Peer().UID, "the third of the first agent is passed over")
	require.Equal(t, "EOF", third.do("read"))
	for range 3 {
		come(stranger)
		require.Equal(t, uint32(stranger), accept(t, l).Peer().UID)
	}

	require.NoError(t, first.Close())
	_ = first.Close() // gives nothing back a second time
	come(agent)
	require.Equal(t, uint32(agent), accept(t, l).Peer().UID)
	third = come(agent)
	come(stranger)
	require.Equal(t, uint32(stranger), accept(t, l).Peer().UID)
	require.Equal(t, "EOF", third.do("read"))
}

// Who is refused has no place, and is told so before anything of it is read.
func TestRefusedHasNoPlace(t *testing.T) {
	var seen []*sock.Peer
	l, path := listen(t, sock.ListenOptions{
		Admit: func(p *sock.Peer) error {
			seen = append(seen, p)
			if p.UID == stranger {
				return errors.New("a stranger")
			}
			return nil
		},
		Refusal:   []byte("who are you?"),
		MaxPerUID: func(uint32) int { return 1 },
	})
	all := troupe(t, stranger, agent)
	for range 3 {
		all[0].do("dial", path)
		all[0].do("write", "let me in")
	}
	all[1].do("dial", path)
	require.Equal(t, uint32(agent), accept(t, l).Peer().UID)
	require.Len(t, seen, 4)
	require.Equal(t, "who are you?", all[0].do("read"))
	for _, p := range seen[:3] {
		require.ErrorIs(t, p.Alive(), sock.ErrGone, "its pin is let go of")
	}
}

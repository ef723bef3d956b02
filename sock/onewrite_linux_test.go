package sock_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/sock"
)

// What is held goes out with the first chunk in one write: where nothing can be
// written but several pieces at once, an answer of one chunk still leaves whole,
// and an answer of two does not.
func TestHeaderAndChunkInOneWrite(t *testing.T) {
	for chunks, want := range map[int]error{1: nil, 2: unix.EBADMSG} {
		client, conn := pair(t, sock.ListenOptions{})
		b := &body{}
		for range chunks {
			b.chunks = append(b.chunks, "chunk ")
		}
		raw, err := conn.SyscallConn()
		require.NoError(t, err)
		var single denied // write(2) on this connection
		require.NoError(t, raw.Control(func(fd uintptr) { single = denied{unix.SYS_WRITE, 0, uint32(fd), unix.EBADMSG} }))
		denying(t, []denied{single}, func() {
			conn.Hold()
			for _, part := range []string{"status ", "header "} {
				if _, err = conn.Write([]byte(part)); err != nil {
					return
				}
			}
			_, err = conn.ReadFrom(b)
		})
		require.ErrorIs(t, err, want, "%d chunks", chunks)
		reads(t, client, "status header chunk ")
	}
}

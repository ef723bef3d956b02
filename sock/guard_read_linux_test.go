package sock_test

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/sock"
)

// What another process wrote is not left in the reader's memory either.
func TestForeignBytesAreCleared(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	all := troupe(t, agent, agent)
	all[0].do("dial", path)
	conn := accept(t, l)
	all[0].give(all[1])
	all[1].do("write", "stolen")
	b := []byte("0123456789")
	n, err := conn.Read(b)
	require.ErrorIs(t, err, sock.ErrOtherSender)
	require.Zero(t, n)
	require.Equal(t, "\x00\x00\x00\x00\x00\x006789", string(b))
}

// What is written by copying leaves after what is held, and with it.
func TestCopyAfterHeld(t *testing.T) {
	client, conn := pair(t, sock.ListenOptions{})
	conn.Hold()
	_, err := conn.Write([]byte("header "))
	require.NoError(t, err)
	_, err = io.Copy(conn, struct{ io.Reader }{strings.NewReader("plain")})
	require.NoError(t, err)
	require.NoError(t, conn.Flush())
	reads(t, client, "header plain")
}

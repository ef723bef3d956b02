package sock_test

import (
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

package sock_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/sock"
)

// A socket that somebody put into root's directory while it was open is not the
// broker's, though nobody but root can change the directory now.
func TestSquatInRootsDirectory(t *testing.T) {
	dir := mkdir(t, filepath.Join(trustedDir(t), "was-open"), 0, 0o777)
	squatter := start(t, stranger)
	path := filepath.Join(dir, "s")
	squatter.do("squat", path)
	chmod(t, dir, 0o755)
	_, err := sock.Dial(t.Context(), path, sock.DialOptions{})
	require.ErrorIs(t, err, sock.ErrUntrusted)
	require.ErrorContains(t, err, "belongs to uid 0, but uid 60013 listens")
	require.Empty(t, squatter.do("robbed"), "nothing is sent")
}

// A server whose uid cannot be read is not trusted.
func TestServerWithoutAName(t *testing.T) {
	l, path := listen(t, sock.ListenOptions{})
	var err error
	denying(t, []denied{{unix.SYS_GETSOCKOPT, 2, unix.SO_PEERCRED, unix.EPERM}}, func() {
		_, err = sock.Dial(t.Context(), path, named)
	})
	require.ErrorIs(t, err, unix.EPERM)
	conn := accept(t, l)
	_, err = read(conn)
	require.Error(t, err, "nothing is sent")
}

// A path that is relative to nothing leads nowhere.
func TestPathFromNowhere(t *testing.T) {
	dir := mkdir(t, filepath.Join(shortDir(t), "gone"), os.Getuid(), 0o755)
	t.Chdir(dir)
	require.NoError(t, os.Remove(dir))
	require.Error(t, sock.TrustedPath("s", 0, true))
}

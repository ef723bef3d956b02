package sock_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/sock"
)

// TestSquat: a client does not take another uid's socket for the broker's,
// wherever that uid could put one up, and sends it nothing.
func TestSquat(t *testing.T) {
	base := trustedDir(t)
	sticky := mkdir(t, filepath.Join(base, "tmp"), 0, 0o777|sticky)
	group := mkdir(t, filepath.Join(base, "group"), 0, 0o775)
	require.NoError(t, chgrp(group, stranger))
	for name, c := range map[string]struct {
		dir     string
		named   bool // the person named the path
		trusted bool
	}{
		"in a directory everybody can write":        {dir: mkdir(t, filepath.Join(base, "open"), 0, 0o777)},
		"in one its group can write":                {dir: group},
		"in a sticky one":                           {dir: sticky},
		"in a sticky one that was named":            {dir: sticky, named: true},
		"in its own, which its group can write":     {dir: mkdir(t, filepath.Join(base, "shared"), stranger, 0o770)},
		"in its own, which everybody can write":     {dir: mkdir(t, filepath.Join(base, "loose"), stranger, 0o703)},
		"in its own, below a sticky one":            {dir: mkdir(t, filepath.Join(sticky, "own"), stranger, 0o755)},
		"in the broker's, left open for once":       {dir: mkdir(t, filepath.Join(base, "was-open"), agent, 0o777)},
		"in its own, below another's":               {dir: mkdir(t, filepath.Join(mkdir(t, filepath.Join(base, "other"), agent, 0o777), "own"), stranger, 0o755)},
		"in its own below a sticky one, so named":   {dir: mkdir(t, filepath.Join(sticky, "named"), stranger, 0o755), named: true, trusted: true},
		"in its own, to which only root can lead":   {dir: mkdir(t, filepath.Join(base, "own"), stranger, 0o755), trusted: true},
		"in its own, which nobody else can go into": {dir: mkdir(t, filepath.Join(base, "closed"), stranger, 0o700), trusted: true},
	} {
		t.Run(name, func(t *testing.T) {
			squatter := start(t, stranger)
			path := filepath.Join(c.dir, "s")
			squatter.do("squat", path)
			t.Cleanup(func() { require.NoError(t, os.Remove(path)) })
			if c.dir == filepath.Join(base, "was-open") {
				chmod(t, c.dir, 0o711)
			}
			conn, err := sock.Dial(t.Context(), path, sock.DialOptions{AllowSticky: c.named})
			if c.trusted {
				require.NoError(t, err)
				require.NoError(t, conn.Close())
				return
			}
			require.ErrorIs(t, err, sock.ErrUntrusted)
			require.Empty(t, squatter.do("robbed"), "nothing is sent")
		})
	}
}

// A squatter that the kernel cannot name is nobody to trust, even with the
// directory to go with it.
func TestSquatByNobody(t *testing.T) {
	path := filepath.Join(mkdir(t, filepath.Join(trustedDir(t), "run"), nobody, 0o755), "s")
	start(t, nobody).do("squat", path)
	_, err := sock.Dial(t.Context(), path, sock.DialOptions{})
	require.ErrorIs(t, err, sock.ErrUntrusted)
}

// TestSymlinkSocketDir: the way to the socket is looked at link by link, as the
// kernel went it.
func TestSymlinkSocketDir(t *testing.T) {
	base := trustedDir(t)
	// Not sticky, where the kernel itself may refuse: see protected_symlinks.
	links := mkdir(t, filepath.Join(base, "links"), 0, 0o755)
	run := mkdir(t, filepath.Join(base, "run"), 0, 0o711)
	elsewhere := mkdir(t, filepath.Join(mkdir(t, filepath.Join(base, "else"), 0, 0o755), "run"), 0, 0o711)
	deep := mkdir(t, filepath.Join(base, "else", "deep"), 0, 0o755)
	for _, dir := range []string{run, elsewhere} {
		listenAt(t, filepath.Join(dir, "s"), sock.ListenOptions{})
	}
	symlink(t, run, filepath.Join(base, "roots"), 0)
	symlink(t, run, filepath.Join(links, "strangers"), stranger)
	symlink(t, "links/strangers", filepath.Join(base, "roots-to-strangers"), 0)
	symlink(t, deep, filepath.Join(links, "deep"), stranger)
	symlink(t, filepath.Join(elsewhere, "s"), filepath.Join(run, "link"), 0)
	symlink(t, "loop", filepath.Join(base, "loop"), 0)

	for name, c := range map[string]struct {
		path string
		err  error
	}{
		"no link":                          {"run/s", nil},
		"root's link":                      {"roots/s", nil},
		"a stranger's link":                {"links/strangers/s", sock.ErrUntrusted},
		"root's link to a stranger's":      {"roots-to-strangers/s", sock.ErrUntrusted},
		"back from a stranger's link":      {"links/deep/../run/s", sock.ErrUntrusted}, // else/run/s, not links/run/s
		"back from a stranger's, twice":    {"links/deep/../../run/s", sock.ErrUntrusted},
		"back and forth without a link":    {"else/../run/./s", nil},
		"the socket itself behind a link":  {"run/link", sock.ErrUntrusted},
		"nothing there":                    {"run/nothing", sock.ErrNotRunning},
		"no directory":                     {"nowhere/s", sock.ErrNotRunning},
		"a socket taken for a directory":   {"run/s/s", sock.ErrNotRunning},
		"a directory taken for the socket": {"run", sock.ErrNotRunning},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := sock.Dial(t.Context(), base+"/"+c.path, sock.DialOptions{})
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.NoError(t, conn.Close())
		})
	}
	_, err := sock.Dial(t.Context(), base+"/loop/s", sock.DialOptions{})
	require.Error(t, err)
}

// The check is of the path that was connected to, not of one that reads alike:
// here the one that reads alike is fine.
func TestPathIsReadAsTheKernelReadsIt(t *testing.T) {
	base := trustedDir(t)
	links := mkdir(t, filepath.Join(base, "links"), 0, 0o755)
	mkdir(t, filepath.Join(base, "run"), 0, 0o755)
	deep := mkdir(t, filepath.Join(mkdir(t, filepath.Join(base, "else"), 0, 0o755), "deep"), 0, 0o755)
	mkdir(t, filepath.Join(base, "else", "run"), 0, 0o755)
	symlink(t, mkdir(t, filepath.Join(deep, "er"), 0, 0o755), filepath.Join(links, "link"), stranger)
	listenAt(t, filepath.Join(base, "else", "run", "s"), sock.ListenOptions{})
	path := links + "/link/../../run/s" // reads like base/run/s, is base/else/run/s
	require.Equal(t, filepath.Join(base, "run", "s"), filepath.Clean(path))
	_, err := sock.Dial(t.Context(), path, sock.DialOptions{})
	require.ErrorIs(t, err, sock.ErrUntrusted)
	require.ErrorContains(t, err, filepath.Join(links, "link"))
	require.ErrorIs(t, sock.TrustedPath(path, 0, false), sock.ErrUntrusted)
}

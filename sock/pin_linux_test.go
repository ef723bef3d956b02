package sock_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"secretctl/sock"
)

// What can be pinned is a file that nobody else can change.
func TestPinExecutable(t *testing.T) {
	dir := trustedDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("good"), "#!", 0o755)
	write(t, at("loose"), "#!", 0o777)
	write(t, at("agents"), "#!", 0o755)
	require.NoError(t, os.Chown(at("agents"), agent, agent))
	write(t, filepath.Join(mkdir(t, at("tmp"), 0, 0o777|sticky), "in-tmp"), "#!", 0o755)
	symlink(t, at("good"), at("link"), 0)
	symlink(t, at("good"), at("agents-link"), agent)
	for path, want := range map[string]string{
		at("good"):        "",
		at("link"):        "",
		at("loose"):       "not trusted",
		at("agents"):      "not trusted",
		at("agents-link"): "not trusted",
		at("tmp/in-tmp"):  "not trusted",
		at("nothing"):     "no such file",
		dir:               "not a regular file",
		"good":            "not an absolute path",
		"":                "not an absolute path",
	} {
		_, err := sock.PinExecutable(path)
		if want == "" {
			require.NoError(t, err, path)
			continue
		}
		require.ErrorContains(t, err, want, "%q", path)
	}
}

// A pinned file counts as long as its content is what it was, however its other
// marks change.
func TestPinnedFileChanges(t *testing.T) {
	dir := trustedDir(t)
	path := program(t, dir, "allowed")
	l, at := listen(t, sock.ListenOptions{})
	p := startProgram(t, agent, path, nil)
	p.do("dial", at)
	conn := accept(t, l)
	pinned := pins(t, path)
	runs := func() error { return conn.Peer().Runs(pinned) }
	require.NoError(t, runs())

	require.NoError(t, os.Chtimes(path, time.Time{}, time.Unix(1, 0)))
	require.NoError(t, runs(), "touched")
	require.NoError(t, runs(), "and known again")

	p.end() // a file that runs cannot be written to
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	content[len(content)-1] ^= 1 // where nothing is run
	require.NoError(t, os.WriteFile(path, content, 0o755))
	require.NoError(t, os.Chtimes(path, time.Time{}, info.ModTime()), "with the old time and length")
	p = startProgram(t, agent, path, nil)
	p.do("dial", at)
	conn = accept(t, l)
	require.ErrorContains(t, runs(), "is not the file it was when the config was read")
	require.ErrorIs(t, runs(), sock.ErrOtherExecutable)

	p.end()
	content[len(content)-1] ^= 1
	require.NoError(t, os.WriteFile(path, content, 0o755))
	p = startProgram(t, agent, path, nil)
	p.do("dial", at)
	conn = accept(t, l)
	require.NoError(t, runs(), "put right")

	require.NoError(t, os.Remove(path))
	require.ErrorIs(t, runs(), os.ErrNotExist)
	require.ErrorIs(t, runs(), sock.ErrOtherExecutable)
}

// Pins that cannot be looked at do not hide one that can.
func TestRunsLooksAtEveryPin(t *testing.T) {
	dir := trustedDir(t)
	gone, allowed := program(t, dir, "gone"), program(t, dir, "allowed")
	pinned := pins(t, gone, allowed)
	require.NoError(t, os.Remove(gone))
	l, at := listen(t, sock.ListenOptions{})
	p := startProgram(t, agent, allowed, nil)
	p.do("dial", at)
	conn := accept(t, l)
	require.NoError(t, conn.Peer().Runs(pinned))
	require.ErrorIs(t, conn.Peer().Runs(nil), sock.ErrOtherExecutable, "no pin allows nothing")
}

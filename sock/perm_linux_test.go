package sock_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/sock"
)

const sticky = fs.ModeSticky

// chgrp gives a file another group.
func chgrp(path string, gid int) error { return os.Chown(path, -1, gid) }

// withUmask runs f under an umask.
func withUmask(mask int, f func()) {
	old := unix.Umask(mask)
	defer unix.Umask(old)
	f()
}

// TestSocketPerms: who can connect follows from the modes of the directory and
// of the socket, and from nothing else: the umask has no say.
func TestSocketPerms(t *testing.T) {
	base := trustedDir(t)
	people := map[string]*puppet{"root": nil, "the owner": nil, "one of the group": nil, "another": nil}
	path := program(t, base, "puppet")
	people["root"] = startProgram(t, 0, path, nil)
	people["the owner"] = startProgram(t, agent, path, nil)
	people["one of the group"] = startProgram(t, agentTwo, path, nil)
	people["another"] = startProgram(t, stranger, path, nil)
	may := func(who string, mode fs.FileMode, bit fs.FileMode) bool {
		switch who {
		case "root":
			return true
		case "the owner":
			return mode>>6&bit != 0
		case "one of the group":
			return mode>>3&bit != 0
		}
		return mode&bit != 0
	}
	for _, dirMode := range []fs.FileMode{0o700, 0o710, 0o711, 0o755} {
		for _, mode := range []fs.FileMode{0o600, 0o660, 0o606, 0o666} {
			for _, mask := range []int{0, 0o022, 0o077, 0o777} {
				dir := mkdir(t, filepath.Join(base, fmt.Sprintf("%o-%o-%o", dirMode, mode, mask)), agent, dirMode)
				require.NoError(t, chgrp(dir, agentTwo))
				at := filepath.Join(dir, "s")
				var l *sock.Listener
				withUmask(mask, func() { l = listenAt(t, at, sock.ListenOptions{Mode: mode}) })
				require.Equal(t, fs.ModeSocket|mode, modeOf(t, at))
				require.NoError(t, os.Chown(at, agent, agentTwo))
				for who, p := range people {
					err := p.try("knock", at)
					want := may(who, dirMode, 1) && may(who, mode, 2)
					require.Equal(t, want, err == nil, "%s, directory %o, socket %o, umask %o: %v", who, dirMode, mode, mask, err)
				}
				require.NoError(t, l.Close())
			}
		}
	}
}

// The default lets everybody connect: the uid is looked at then.
func TestSocketPermsByDefault(t *testing.T) {
	withUmask(0o077, func() {
		_, path := listen(t, sock.ListenOptions{})
		require.Equal(t, fs.ModeSocket|0o666, modeOf(t, path))
	})
}

// There is no moment at which the socket has another mode under its own name, or
// a looser one under any.
func TestSocketPermsAtAllTimes(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o666} {
		for _, mask := range []int{0, 0o077} {
			t.Run(strconv.FormatUint(uint64(mode), 8)+" under "+strconv.FormatInt(int64(mask), 8), func(t *testing.T) {
				dir := shortDir(t)
				path := filepath.Join(dir, "s")
				seen, sawIt, stop := watch(dir, "s")
				withUmask(mask, func() {
					// On a busy machine the watcher may not have had its turn by then.
					for i := 0; i < 300 || !sawIt.Load() && i < 30_000; i++ {
						l, err := sock.Listen(path, sock.ListenOptions{Mode: mode})
						require.NoError(t, err)
						require.NoError(t, l.Close())
					}
				})
				stop()
				require.NotEmpty(t, seen["s"], "the watcher saw nothing")
				for name, modes := range seen {
					for got := range modes {
						require.Zero(t, got&^mode, "%s had mode %o", name, got)
						if name == "s" {
							require.Equal(t, mode, got)
						}
					}
				}
			})
		}
	}
}

// watch looks at the sockets of a directory as often as it can until stop is
// called, and notes the modes that it saw: name → modes. sawIt becomes true with
// the first of the socket that is waited for.
func watch(dir, awaited string) (seen map[string]map[fs.FileMode]bool, sawIt *atomic.Bool, stop func()) {
	sawIt = new(atomic.Bool)
	seen = make(map[string]map[fs.FileMode]bool)
	done := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				info, err := e.Info()
				if err != nil || info.Mode().Type() != fs.ModeSocket {
					continue
				}
				if seen[e.Name()] == nil {
					seen[e.Name()] = make(map[fs.FileMode]bool)
				}
				seen[e.Name()][info.Mode().Perm()] = true
				if e.Name() == awaited {
					sawIt.Store(true)
				}
			}
		}
	})
	return seen, sawIt, func() { close(done); watcher.Wait() }
}

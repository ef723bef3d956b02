package sock_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/sock"
)

// starveTime is how long a broker is watched that has no descriptors left.
const starveTime = 1500 * time.Millisecond

// starved is what a broker says of that time.
type starved struct {
	Errors int64         // of Accept
	CPU    time.Duration // of the process
}

// actStarve serves HTTP at args[0] with args[1] descriptors, says how starveTime
// went by, and goes on until its input ends.
func actStarve(args []string) error {
	out := json.NewEncoder(os.Stdout)
	files, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: files}); err != nil {
		return err
	}
	l, err := sock.Listen(args[0], sock.ListenOptions{})
	if err != nil {
		return err
	}
	counted := &countingListener{Listener: l, failed: make(chan struct{})}
	server := &http.Server{
		ErrorLog: newLog(io.Discard),
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "answer") }),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(counted) }()
	_ = out.Encode(answer{Out: strconv.Itoa(os.Getpid())})
	<-counted.failed
	before, cpu := counted.errors.Load(), cpuTime()
	<-time.After(starveTime)
	report, _ := json.Marshal(starved{counted.errors.Load() - before, cpuTime() - cpu})
	_ = out.Encode(answer{Out: string(report)})
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = server.Close()
	<-served
	return nil
}

// countingListener counts the errors of Accept.
type countingListener struct {
	net.Listener
	errors atomic.Int64
	failed chan struct{} // closed at the first
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		if l.errors.Add(1) == 1 {
			close(l.failed)
		}
	}
	return c, err
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestEmfileNoSpin: a broker without descriptors waits for some, instead of
// asking for them as fast as it can, and then serves those who waited.
func TestEmfileNoSpin(t *testing.T) {
	needRoot(t)
	const files, greedy = 40, 100
	path := filepath.Join(shortDir(t), "s")
	b := startProgram(t, 0, program(t, trustedDir(t), "broker"), func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, actVariable+"=starve")
		cmd.Args = []string{"broker", path, strconv.Itoa(files)}
	})
	var held []net.Conn
	for range greedy {
		held = append(held, dial(t, path))
	}
	waiting := dial(t, path)
	_, err := waiting.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	require.NoError(t, err)

	var s starved
	require.NoError(t, json.Unmarshal([]byte(b.hear()), &s))
	t.Logf("%d errors and %s of processor time in %s", s.Errors, s.CPU, starveTime)
	require.Less(t, s.Errors, int64(2000*starveTime/(5*time.Second)))
	require.Less(t, s.CPU, starveTime/10)

	for _, c := range held {
		require.NoError(t, c.Close())
	}
	got, err := io.ReadAll(waiting)
	require.NoError(t, err)
	require.Contains(t, string(got), "answer")
}

// Where there is a descriptor for the connection but none for the process, whoever
// serves is told, and waits: otherwise all who wait would be cut off in a row. Nor
// is the first.
func TestOutOfFilesWhileNamingThePeer(t *testing.T) {
	for free := range 2 {
		l, path := listen(t, sock.ListenOptions{})
		first, second := dial(t, path), dial(t, path)
		var err error
		withFiles(t, free, func() { _, err = l.Accept() })
		require.ErrorIs(t, err, unix.EMFILE, "%d free", free)
		var passes interface{ Temporary() bool } // what net/http waits for
		require.ErrorAs(t, err, &passes)
		require.True(t, passes.Temporary())
		for _, client := range []*net.UnixConn{first, second} {
			_, err := client.Write([]byte("mine"))
			require.NoError(t, err)
			reads(t, accept(t, l), "mine")
		}
		_ = first.Close()
		_ = second.Close()
	}
}

// withFiles runs f where so many descriptors are left.
func withFiles(t *testing.T, free int, f func()) {
	t.Helper()
	var was unix.Rlimit
	require.NoError(t, unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &was))
	var filled []int
	fill := func() (err error) {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			filled = append(filled, fd)
		}
		return err
	}
	require.NoError(t, fill())
	limit := unix.Rlimit{Cur: uint64(filled[0]) + 64, Max: was.Max}
	require.NoError(t, unix.Prlimit(0, unix.RLIMIT_NOFILE, &limit, nil))
	defer func() {
		for _, fd := range filled {
			_ = unix.Close(fd)
		}
		require.NoError(t, unix.Prlimit(0, unix.RLIMIT_NOFILE, &was, nil))
	}()
	for fill() == nil {
	}
	require.Greater(t, len(filled), free)
	for range free {
		require.NoError(t, unix.Close(filled[len(filled)-1]))
		filled = filled[:len(filled)-1]
	}
	f()
}

package secret_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
)

// childVar names, in the environment, what this binary is to be instead of a
// test run.
const childVar = "SECRET_TEST_CHILD"

// children are the processes the tests start. Each reads a canary from its
// standard input.
var children = map[string]func(){
	"holder":          func() { hold(func() error { return nil }) },
	"hardened holder": func() { hold(secret.Harden) },
	"snooper":         snoop,
	"locker":          lock,
	"panicker":        panicWithCarrier,
}

// hold keeps the canary in a value, and what is in the variable HEAP on the heap,
// until its input ends. It says so once it does.
func hold(harden func() error) {
	allow(unix.RLIMIT_CORE, unix.RLIM_INFINITY)
	if err := harden(); err != nil {
		die(err)
	}
	if err := secret.Lock(); err != nil {
		die(err)
	}
	v := readCanary()
	heap := strings.Repeat(os.Getenv("HEAP"), 2)
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if v.Len() != canary.Len || heap == "x" {
		die("nothing was held")
	}
}

// lock says how locking goes where little may be locked.
func lock() {
	allow(unix.RLIMIT_MEMLOCK, 64<<10)
	fmt.Println(secret.Lock())
}

// panicWithCarrier panics with the canary in what the variable CARRIER names.
func panicWithCarrier() { panics(readCanary())[os.Getenv("CARRIER")]() }

// readCanary reads what tell sends and leaves no copy of it in a buffer.
func readCanary() secret.Value {
	v, err := secret.Fill(canary.Len, func(b []byte) error {
		_, err := io.ReadFull(os.Stdin, b)
		return err
	})
	if err != nil {
		die(err)
	}
	return v
}

// allow sets this process's limit, as far as it may be raised.
func allow(resource int, n uint64) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(resource, &limit); err != nil {
		die(err)
	}
	limit.Cur = min(n, limit.Max)
	if err := unix.Setrlimit(resource, &limit); err != nil {
		die(err)
	}
}

func die(why any) {
	fmt.Fprintln(os.Stderr, "child:", why)
	os.Exit(1)
}

// child is a running child.
type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start starts a child, which ends, at the latest, with the test. prepare
// changes the command before it starts.
func start(t *testing.T, name string, prepare func(*exec.Cmd)) *child {
	t.Helper()
	c := &child{Cmd: exec.CommandContext(t.Context(), "/proc/self/exe")}
	if _, err := os.Stat(c.Path); err != nil {
		c.Path, err = os.Executable()
		require.NoError(t, err)
	}
	c.Dir, c.Stderr = "/", os.Stderr
	c.Env = []string{childVar + "=" + name, "GORACE=atexit_sleep_ms=0", "GOCOVERDIR=" + t.TempDir()}
	var err error
	c.in, err = c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	c.out = bufio.NewReader(out)
	prepare(c.Cmd)
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		_ = c.in.Close()
		_ = c.Wait()
	})
	return c
}

// tell sends the canary.
func (c *child) tell(t *testing.T, value string) {
	t.Helper()
	_, err := io.WriteString(c.in, value)
	require.NoError(t, err)
}

// line reads a line of what the child says.
func (c *child) line(t *testing.T) string {
	t.Helper()
	line, err := c.out.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSuffix(line, "\n")
}

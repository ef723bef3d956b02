package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// plain is a filter that changes nothing.
type plain struct{ io.Writer }

func (plain) Close() error { return nil }

func unchanged(dst io.Writer) io.WriteCloser { return plain{dst} }

// upper is one that can be seen.
type upper struct{ io.Writer }

func (u upper) Write(p []byte) (int, error) { return u.Writer.Write(bytes.ToUpper(p)) }

func (u upper) Close() error { _, err := u.Writer.Write([]byte("|")); return err }

func shouting(dst io.Writer) io.WriteCloser { return upper{dst} }

// shell prepares a shell script whose streams are files of the test.
func shell(t *testing.T, script string, filter func(io.Writer) io.WriteCloser) (c *Command, stdout, stderr func() string) {
	file := func(name string) *os.File {
		f, err := os.Create(t.TempDir() + "/" + name)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	in, err := os.Open(os.DevNull)
	require.NoError(t, err)
	t.Cleanup(func() { in.Close() })
	c = &Command{
		Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []byte("PATH=/usr/bin:/bin\x00KEY=two words\x00"),
		Stdin: in, Stdout: file("stdout"), Stderr: file("stderr"), Filter: filter,
	}
	content := func(f *os.File) func() string {
		return func() string {
			text, err := os.ReadFile(f.Name())
			require.NoError(t, err)
			return string(text)
		}
	}
	return c, content(c.Stdout), content(c.Stderr)
}

func TestRunPassesOnHowItEnds(t *testing.T) {
	for script, want := range map[string]syscall.WaitStatus{
		"true": 0, "exit 1": 1 << 8, "exit 255": 255 << 8, "kill -TERM $$": syscall.WaitStatus(unix.SIGTERM), "kill -KILL $$": syscall.WaitStatus(unix.SIGKILL),
	} {
		for name, filter := range map[string]func(io.Writer) io.WriteCloser{"filtered": unchanged, "bare": nil} {
			c, _, _ := shell(t, script, filter)
			got, err := c.Run(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, got, "%s, %s", script, name)
		}
	}
}

func TestRunKeepsStreamsApart(t *testing.T) {
	c, stdout, stderr := shell(t, `echo "out $KEY"; echo "err $KEY" >&2`, shouting)
	env := c.Env
	_, err := c.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, "OUT TWO WORDS\n|", stdout())
	require.Equal(t, "ERR TWO WORDS\n|", stderr())
	require.Equal(t, make([]byte, len(env)), env, "the environment stays in memory")
}

// TestRunKeepsOrder: what goes to one file from both streams stays in its order.
func TestRunKeepsOrder(t *testing.T) {
	c, stdout, _ := shell(t, `for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done`, unchanged)
	c.Stderr = c.Stdout
	_, err := c.Run(t.Context())
	require.NoError(t, err)
	want := ""
	for i := 1; i < 10; i++ {
		want += fmt.Sprintf("out %d\nerr %d\n", i, i)
	}
	require.Equal(t, want, stdout())
}

// TestRunGivesNoDescriptorsAway: the program has the descriptors that it would
// have without us.
func TestRunGivesNoDescriptorsAway(t *testing.T) {
	// What this process was started with is in the way of os/exec, which closes one
	// that has the number it wants. One that it does not want is passed on.
	require.NoError(t, unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC))
	passed, err := unix.FcntlInt(0, unix.F_DUPFD, 100)
	require.NoError(t, err)
	defer unix.Close(passed)
	const list = `for fd in /proc/self/fd/*; do readlink $fd; done | grep -c . ; ls /proc/self/fd | tr '\n' ' '`
	direct := exec.Command("/bin/sh", "-c", list)
	direct.Stderr = os.Stderr
	want, err := direct.Output()
	require.NoError(t, err)
	d, err := NewDir(t.TempDir())
	require.NoError(t, err)
	c, stdout, _ := shell(t, list, unchanged)
	c.Files = d
	_, err = c.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, string(want), stdout())
	require.Contains(t, string(want), fmt.Sprintf(" %d ", passed))
	require.NoError(t, d.Remove())
}

// TestRunDoesNotWaitForOthers: a process in the background that keeps the streams
// open does not keep Run, and nothing of the program's own is lost.
func TestRunDoesNotWaitForOthers(t *testing.T) {
	c, stdout, _ := shell(t, `sleep 1000 & echo $!; head -c 50000 /dev/zero | tr '\0' x`, shouting)
	began := time.Now()
	status, err := c.Run(t.Context())
	require.NoError(t, err)
	require.Zero(t, status)
	pid, rest, _ := strings.Cut(stdout(), "\n")
	n, err := strconv.Atoi(pid)
	require.NoError(t, err)
	require.NoError(t, unix.Kill(n, unix.SIGKILL), "it should be there still")
	require.Equal(t, strings.Repeat("X", 50000)+"|", rest, "what the filter held back is missing")
	require.Less(t, time.Since(began), 100*time.Second)
}

// TestRunNorForThoseWhoNeverStop: nor one that never stops writing.
func TestRunNorForThoseWhoNeverStop(t *testing.T) {
	c, _, _ := shell(t, `yes & echo $! >&2`, unchanged)
	stdout, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer stdout.Close()
	c.Stdout = stdout
	status, err := c.Run(t.Context())
	require.NoError(t, err)
	require.Zero(t, status)
}

func TestRunLosesNothing(t *testing.T) {
	c, stdout, _ := shell(t, `seq 1 200000`, unchanged)
	_, err := c.Run(t.Context())
	require.NoError(t, err)
	require.Len(t, stdout(), 1288895)
	require.True(t, strings.HasSuffix(stdout(), "\n199999\n200000\n"))
}

// TestRunTellsOfTheReader: a reader that goes away ends the program, with the
// signal it would have had.
func TestRunTellsOfTheReader(t *testing.T) {
	c, _, _ := shell(t, `exec yes`, unchanged)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	c.Stdout = w
	go func() {
		_, _ = r.Read(make([]byte, 10))
		r.Close()
	}()
	status, err := c.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, syscall.WaitStatus(unix.SIGPIPE), status)
}

func TestRunEndsItOnRequest(t *testing.T) {
	c, _, _ := shell(t, `echo up; trap 'exit 3' TERM; while :; do sleep 0.01; done`, unchanged)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	c.Stdout = w
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = r.Read(make([]byte, 3))
		cancel()
	}()
	status, err := c.Run(ctx)
	require.NoError(t, err)
	require.Equal(t, 3, status.ExitStatus())
}

func TestRunPassesSignalsOn(t *testing.T) {
	c, stdout, _ := shell(t, `trap 'echo hup; exit 4' HUP; echo up >&2; while :; do sleep 0.01; done`, unchanged)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	c.Stderr = w
	signals := make(chan syscall.Signal)
	c.Signals = signals
	go func() {
		_, _ = r.Read(make([]byte, 3))
		signals <- unix.SIGHUP
	}()
	status, err := c.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 4, status.ExitStatus())
	require.Equal(t, "hup\n", stdout())
}

func TestRunSaysWhyNot(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"closed": 0o600, "script": 0o700, "broken": 0o700} {
		text := "echo ran as a script"
		if name == "broken" {
			text = "#!/no/such/interpreter\n"
		}
		require.NoError(t, os.WriteFile(dir+"/"+name, []byte(text), mode))
	}
	for name, want := range map[string]error{"nosuch": fs.ErrNotExist, "closed": fs.ErrPermission, "broken": fs.ErrNotExist, "script": nil} {
		c, stdout, _ := shell(t, "", unchanged)
		c.Path, c.Args = dir+"/"+name, []string{name}
		_, err := c.Run(t.Context())
		require.ErrorIs(t, err, want, name)
		if want == nil {
			require.Equal(t, "ran as a script\n", stdout())
			continue
		}
		var failed *StartError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, name, failed.Name)
	}
	c, _, _ := shell(t, "", unchanged)
	c.Env = append(append([]byte("A="), bytes.Repeat([]byte("x"), 4<<20)...), 0)
	_, err := c.Run(t.Context())
	require.ErrorIs(t, err, unix.E2BIG)
}

// TestRunFailsClosed: where a filter breaks nothing goes past it.
func TestRunFailsClosed(t *testing.T) {
	c, stdout, _ := shell(t, `echo one; sleep 0.1; echo two`, func(io.Writer) io.WriteCloser { return broken{} })
	_, err := c.Run(t.Context())
	require.ErrorIs(t, err, errFilter)
	require.NotContains(t, err.Error(), "one")
	require.Empty(t, stdout())
}

type broken struct{}

func (broken) Write(p []byte) (int, error) { panic(string(p)) }
func (broken) Close() error                { return nil }

func TestFind(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/tool", nil, 0o700))
	require.NoError(t, os.Mkdir(dir+"/first", 0o700))
	require.NoError(t, os.WriteFile(dir+"/first/tool", nil, 0o600))
	require.NoError(t, os.WriteFile(dir+"/first/closed", nil, 0o600))
	path := "/nosuch:" + dir + "/first:" + dir
	at, err := Find("tool", path)
	require.NoError(t, err)
	require.Equal(t, dir+"/tool", at)
	_, err = Find("closed", path)
	require.ErrorIs(t, err, fs.ErrPermission)
	_, err = Find("nosuch", path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Find("first", path)
	require.ErrorIs(t, err, fs.ErrPermission)
	at, err = Find(dir+"/tool", "")
	require.NoError(t, err)
	require.Equal(t, dir+"/tool", at)
	_, err = Find(dir+"/first/tool/below", "")
	require.Error(t, err)
	t.Chdir(dir)
	for _, empty := range []string{"", ":/nosuch", "."} {
		if at, err = Find("tool", empty+":"); err == nil {
			require.Equal(t, "./tool", at)
		}
		require.NoError(t, err, empty)
	}
}

// FuzzOrder: what is read is what was sent, and nothing makes reading fail but
// by an error.
func FuzzOrder(f *testing.F) {
	o := order{own: true, path: "/bin/sh", args: []string{"sh", "-c", ""}, env: []byte("A=b\x00C=\x00")}
	f.Add(o.encode())
	f.Add((&order{}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := readOrder(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := readOrder(bytes.NewReader(o.encode()))
		require.NoError(t, err)
		require.Equal(t, o, again)
	})
}

func TestOrderArrives(t *testing.T) {
	for _, o := range []*order{
		{own: true, path: "/bin/sh", args: []string{"sh", "-c", ""}, env: []byte("A=b\x00C=\x00")},
		{path: "p", args: []string{"a"}, env: []byte{}},
	} {
		frame := o.encode()
		require.LessOrEqual(t, len(frame), cap(frame))
		got, err := readOrder(bytes.NewReader(frame))
		require.NoError(t, err)
		require.Equal(t, o, got)
		for n := range frame {
			_, err := readOrder(bytes.NewReader(frame[:n]))
			require.Error(t, err)
		}
	}
	_, err := readOrder(bytes.NewReader([]byte{0xff, 0, 0, 0}))
	require.ErrorIs(t, err, errOrder)
	require.True(t, errors.Is(err, errOrder))
}

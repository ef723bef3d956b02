package sock_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// puppet is a process that does what the test tells it, in words: see words.
type puppet struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      *os.File
	out     *os.File
	answers *json.Decoder
	wire    int // over which connections are passed
	pid     int
	end     func() // ends the process and waits for it
}

// answer is what a puppet says to one command.
type answer struct{ Out, Err string }

// start starts a puppet of a uid. It ends with the test, at the latest: its
// input does.
func start(t *testing.T, uid uint32) *puppet {
	t.Helper()
	return startProgram(t, uid, program(t, trustedDir(t), "puppet"), nil)
}

// troupe starts puppets that share one program.
func troupe(t *testing.T, uids ...uint32) (all []*puppet) {
	t.Helper()
	path := program(t, trustedDir(t), "puppet")
	for _, uid := range uids {
		all = append(all, startProgram(t, uid, path, nil))
	}
	return all
}

// startProgram starts a puppet that runs a copy of this program. prepare, if
// any, changes the command before it starts.
func startProgram(t *testing.T, uid uint32, path string, prepare func(*exec.Cmd)) *puppet {
	t.Helper()
	needRoot(t)
	inR, inW := pipe(t)
	outR, outW := pipe(t)
	wire, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	theirs := os.NewFile(uintptr(wire[1]), "wire")

	cmd := exec.Command(path)
	cmd.Dir = "/"
	cmd.Env = []string{actVariable + "=puppet", "GORACE=atexit_sleep_ms=0", "GOCOVERDIR=" + coverDir(t)}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if prepare != nil {
		prepare(cmd)
	}
	p := &puppet{t: t, cmd: cmd, in: inW, out: outR, answers: json.NewDecoder(outR), wire: wire[0]}
	err = cmd.Start()
	for _, f := range []*os.File{inR, outW, theirs} {
		require.NoError(t, f.Close())
	}
	require.NoError(t, err)
	p.end = sync.OnceFunc(func() { _ = p.in.Close(); _ = cmd.Wait() })
	t.Cleanup(func() {
		p.end()
		_, _ = p.out.Close(), unix.Close(p.wire)
	})
	p.meet()
	return p
}

// meet reads the pid that a puppet says when it is ready.
func (p *puppet) meet() {
	p.t.Helper()
	pid, err := strconv.Atoi(p.hear())
	require.NoError(p.t, err)
	p.pid = pid
}

// hear returns the answer to a command that must go well.
func (p *puppet) hear() string {
	p.t.Helper()
	a := p.listen()
	require.Empty(p.t, a.Err)
	return a.Out
}

// listen returns an answer.
func (p *puppet) listen() (a answer) {
	p.t.Helper()
	require.NoError(p.t, p.out.SetReadDeadline(time.Now().Add(patience)))
	require.NoError(p.t, p.answers.Decode(&a))
	return a
}

// do has something done and returns the answer.
func (p *puppet) do(words ...string) string {
	p.t.Helper()
	p.tell(words...)
	return p.hear()
}

// try has something done that may go wrong.
func (p *puppet) try(words ...string) error {
	p.t.Helper()
	p.tell(words...)
	if a := p.listen(); a.Err != "" {
		return errors.New(a.Err)
	}
	return nil
}

// tell gives a command and does not wait for the answer.
func (p *puppet) tell(words ...string) {
	p.t.Helper()
	require.NoError(p.t, json.NewEncoder(p.in).Encode(words))
}

// give passes the connection to another puppet, which then has it too.
func (p *puppet) give(to *puppet) {
	p.t.Helper()
	p.do("give")
	fd, err := takeFD(p.wire)
	require.NoError(p.t, err)
	defer unix.Close(fd)
	require.NoError(p.t, giveFD(to.wire, fd))
	to.do("take")
}

// giveFD passes a descriptor.
func giveFD(wire, fd int) error {
	return unix.Sendmsg(wire, []byte{0}, unix.UnixRights(fd), nil, 0)
}

// takeFD returns a descriptor that was passed.
func takeFD(wire int) (int, error) {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(wire, make([]byte, 1), control, 0)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) == 0 {
		return -1, errors.Join(err, errors.New("nothing was passed"))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	return r, w
}

// coverDir is where a program built to measure coverage may say what it covered.
func coverDir(t testing.TB) string {
	dir := filepath.Join(shortDir(t), "cover")
	require.NoError(t, os.Mkdir(dir, 0o700))
	chmod(t, dir, 0o777)
	return dir
}

package sock_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// acts are what this program does for a test instead of running tests.
var acts = map[string]func(args []string) error{
	"puppet": func([]string) error { return actPuppet() },
	"masked": actMasked,
	"broker": actBroker,
	"starve": actStarve,
}

func perform(name string, args []string) int {
	if err := acts[name](args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// connVariable carries, over exec, which descriptor the connection is.
const connVariable = "SOCK_TEST_CONN"

// wireFD is where connections are passed from and to the test.
const wireFD = 3

// hand is what the words of a puppet move.
type hand struct {
	conn     int // the connection; -1: none
	listener int
}

// words are what a puppet can be told.
var words = map[string]func(h *hand, args []string) (string, error){
	"dial":        (*hand).dial,
	"thread-dial": (*hand).threadDial,
	"write":       (*hand).write,
	"send":        (*hand).send,
	"urgent":      (*hand).urgent,
	"splice":      (*hand).splice,
	"rights":      (*hand).rights,
	"claim":       (*hand).claim,
	"fork":        (*hand).fork,
	"shutdown":    (*hand).shutdown,
	"read":        (*hand).read,
	"close":       (*hand).close,
	"give":        func(h *hand, _ []string) (string, error) { return "", giveFD(wireFD, h.conn) },
	"take":        (*hand).take,
	"exec":        (*hand).exec,
	"leave":       (*hand).leave,
	"mask":        (*hand).mask,
	"setuid":      (*hand).setuid,
	"squat":       (*hand).squat,
	"robbed":      (*hand).robbed,
	"knock":       (*hand).knock,
}

// actPuppet does what it is told until its input ends.
func actPuppet() error {
	h := &hand{conn: -1, listener: -1}
	if fd := os.Getenv(connVariable); fd != "" {
		h.conn, _ = strconv.Atoi(fd)
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(answer{Out: strconv.Itoa(os.Getpid())}); err != nil {
		return err
	}
	in := &lines{r: os.Stdin}
	for {
		command, err := in.next()
		if err != nil {
			return nil
		}
		var a answer
		if a.Out, err = words[command[0]](h, command[1:]); err != nil {
			a.Err = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

// lines reads commands a byte at a time: who takes over after exec must find
// what was not read.
type lines struct{ r io.Reader }

func (l *lines) next() (command []string, err error) {
	var line []byte
	for b := make([]byte, 1); ; line = append(line, b[0]) {
		if _, err := io.ReadFull(l.r, b); err != nil {
			return nil, err
		}
		if b[0] == '\n' {
			return command, json.Unmarshal(line, &command)
		}
	}
}

// dial connects. The descriptor is one that children inherit.
func (h *hand) dial(args []string) (string, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	h.conn = fd
	wait := unix.NsecToTimeval(patience.Nanoseconds())
	return "", errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Connect(fd, &unix.SockaddrUnix{Name: args[0]}))
}

// threadDial connects from a thread that then ends.
func (h *hand) threadDial(args []string) (_ string, err error) {
	thread := onThread(func() { _, err = h.dial(args) })
	for end := time.Now().Add(patience); unix.Tgkill(os.Getpid(), thread, 0) == nil; pause() {
		if time.Now().After(end) {
			return "", errors.New("the thread does not end")
		}
	}
	return "", err
}

// onThread calls f on a thread that then ends, which the first never does.
func onThread(f func()) (tid int) {
	done := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == os.Getpid() {
			done <- onThread(f)
			return
		}
		f()
		done <- unix.Gettid()
	}()
	return <-done
}

func (h *hand) write(args []string) (string, error) {
	_, err := unix.Write(h.conn, []byte(args[0]))
	return "", err
}

func (h *hand) send(args []string) (string, error) {
	return "", unix.Sendto(h.conn, []byte(args[0]), 0, nil)
}

// urgent writes out of band.
func (h *hand) urgent(args []string) (string, error) {
	return "", unix.Sendto(h.conn, []byte(args[0]), unix.MSG_OOB, nil)
}

// splice writes by moving the pages of a pipe.
func (h *hand) splice(args []string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.WriteString(args[0]); err != nil {
		return "", err
	}
	_, err = unix.Splice(int(r.Fd()), nil, h.conn, nil, len(args[0]), 0)
	return "", err
}

// rights writes with so many descriptors.
func (h *hand) rights(args []string) (string, error) {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return "", err
	}
	fds := make([]int, n)
	for i := range fds {
		fds[i] = int(os.Stderr.Fd())
	}
	return "", unix.Sendmsg(h.conn, []byte(args[1]), unix.UnixRights(fds...), nil, 0)
}

// claim writes with credentials that say another pid and uid.
func (h *hand) claim(args []string) (string, error) {
	pid, err1 := strconv.Atoi(args[0])
	uid, err2 := strconv.Atoi(args[1])
	cred := unix.UnixCredentials(&unix.Ucred{Pid: int32(pid), Uid: uint32(uid), Gid: uint32(os.Getgid())})
	return "", errors.Join(err1, err2, unix.Sendmsg(h.conn, []byte(args[2]), cred, nil, 0))
}

// forks are the ways in which a child comes to have the connection.
var forks = map[string]uintptr{
	"fork":               uintptr(unix.SIGCHLD),
	"vfork":              uintptr(unix.SIGCHLD) | unix.CLONE_VFORK,
	"shared descriptors": uintptr(unix.SIGCHLD) | unix.CLONE_FILES,
	"sibling":            uintptr(unix.SIGCHLD) | unix.CLONE_PARENT,
}

// fork has a child write that shares no other code with this program than that.
func (h *hand) fork(args []string) (string, error) {
	text := []byte(args[1])
	pid, errno := forkAndWrite(forks[args[0]], h.conn, text)
	if errno != 0 {
		return "", errno
	}
	if args[0] == "sibling" {
		return strconv.Itoa(pid), nil // the test waits for it
	}
	_, err := unix.Wait4(pid, nil, 0, nil)
	return strconv.Itoa(pid), err
}

// forkAndWrite calls nothing in the child but the kernel: of the runtime there is
// only the one thread left.
//
//go:norace
func forkAndWrite(flags uintptr, fd int, text []byte) (pid int, errno syscall.Errno) {
	at, n := &text[0], uintptr(len(text))
	child, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, flags, 0, 0, 0, 0, 0)
	if child == 0 && errno == 0 {
		syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(at)), n)
		for {
			syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	return int(child), errno
}

func (h *hand) shutdown(args []string) (string, error) {
	how := map[string]int{"reading": unix.SHUT_RD, "writing": unix.SHUT_WR, "both": unix.SHUT_RDWR}
	return "", unix.Shutdown(h.conn, how[args[0]])
}

// read returns what one read(2) gives; at the end, "EOF".
func (h *hand) read([]string) (string, error) {
	b := make([]byte, 4096)
	n, err := unix.Read(h.conn, b)
	if n == 0 && err == nil {
		return "EOF", nil
	}
	return string(b[:max(n, 0)]), err
}

func (h *hand) close([]string) (string, error) { return "", unix.Close(h.conn) }

func (h *hand) take([]string) (_ string, err error) {
	h.conn, err = takeFD(wireFD)
	return "", err
}

// exec goes on as another program, with the connection. It answers when it is
// that program, with its pid.
func (h *hand) exec(args []string) (string, error) {
	return "", errors.Join(os.Setenv(connVariable, strconv.Itoa(h.conn)), unix.Exec(args[0], args[:1], os.Environ()))
}

// leave ends the process while a child of it goes on with the connection.
func (h *hand) leave([]string) (string, error) {
	if _, err := h.child("puppet", nil); err != nil {
		return "", err
	}
	os.Exit(0)
	panic("unreachable")
}

// mask has a child go on in a user and mount namespace of its own, in which the
// program args[1] is what the path args[0] leads to.
func (h *hand) mask(args []string) (string, error) {
	child, err := h.child("masked", &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}, args...)
	if err != nil {
		return "", err
	}
	_ = child.Wait() // it answers from now on
	os.Exit(0)
	panic("unreachable")
}

// child starts a child that has all this process has.
func (h *hand) child(act string, attr *syscall.SysProcAttr, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), actVariable+"="+act)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	cmd.ExtraFiles = []*os.File{os.NewFile(wireFD, "wire")}
	if h.conn >= 0 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(h.conn), "conn"))
		cmd.Env = append(cmd.Env, connVariable+"="+strconv.Itoa(wireFD+1))
	}
	return cmd, cmd.Start()
}

// actMasked puts one program over the path of another and runs it from there.
func actMasked(args []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if args[1] != args[0] {
		if err := unix.Mount(args[1], args[0], "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return errors.Join(os.Setenv(actVariable, "puppet"), unix.Exec(args[0], args[:1], os.Environ()))
}

// setuid sets the real, effective and saved uid.
func (h *hand) setuid(args []string) (string, error) {
	var ids [3]int
	for i := range ids {
		ids[i], _ = strconv.Atoi(args[i])
	}
	return "", syscall.Setresuid(ids[0], ids[1], ids[2])
}

// squat listens where it should not.
func (h *hand) squat(args []string) (string, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	h.listener = fd
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: args[0]}); err != nil {
		return "", err
	}
	return "", errors.Join(os.Chmod(args[0], 0o777), unix.Listen(fd, 8))
}

// robbed returns all that the next client of the squatter sends.
func (h *hand) robbed([]string) (string, error) {
	fd, _, err := unix.Accept(h.listener)
	if err != nil {
		return "", err
	}
	client := os.NewFile(uintptr(fd), "client")
	defer client.Close()
	b, err := io.ReadAll(client)
	return string(b), err
}

// knock connects and hangs up.
func (h *hand) knock(args []string) (string, error) {
	_, err := h.dial(args)
	return "", errors.Join(err, unix.Close(h.conn))
}

package onepassword

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"secretctl/providers"
	"secretctl/providers/onepassword/wire"

	"golang.org/x/sys/unix"
)

// Helper is the name of the program that runs 1Password's code, which lies beside
// this one. Its descriptor 3 is its end of the socket.
const Helper = "secretctl-onepassword"

// startHelper starts the helper, where nobody else can have put another in its
// place: it gets the token.
func startHelper() (*helper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(filepath.Dir(self), Helper)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, unavailable(fmt.Sprintf("the program %s, which speaks to 1Password, is not beside secretctl", Helper),
			fmt.Sprintf("go build -o %s ./cmd/%s", path, Helper))
	}
	if err := providers.Trusted("the 1Password helper", path); err != nil {
		return nil, unavailable(err.Error(), "let nobody but root and the broker's user write it, or a directory above it")
	}
	cmd := exec.Command(path)
	for _, key := range wire.PassedOn {
		if value, ok := os.LookupEnv(key); ok {
			cmd.Env = append(cmd.Env, key+"="+value)
		}
	}
	if cmd.Env == nil {
		cmd.Env = []string{} // nil is all of ours
	}
	return startCommand(cmd)
}

// socketPair makes two ends of a socket. Neither may slip into another child of the
// broker's: it could ask for values, and would keep the socket open when the helper
// has ended.
func socketPair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return os.NewFile(uintptr(fds[0]), "helper"), os.NewFile(uintptr(fds[1]), "helper"), nil
}

func startCommand(cmd *exec.Cmd) (*helper, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	defer ours.Close() // FileConn has its own
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	// It keeps nothing that an end without ceremony could harm.
	return &helper{conn: conn, end: func() {
		conn.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}}, nil
}

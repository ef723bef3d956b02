package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
)

// asUserCommand is the command of the process that is another user. People do not
// type it: without what import gives it, it does nothing.
const asUserCommand = "import-as-user"

// account is an OS user whose files are worked on.
type account struct {
	uid, gid uint32
	groups   []uint32
	home     string // "": none is known
}

// lookupAccount finds a user by name or number. A number without an account has
// the group of the same number, and no home.
func lookupAccount(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		n, numeric := strconv.ParseUint(name, 10, 32)
		if numeric != nil || n == 1<<32-1 {
			return account{}, fmt.Errorf("there is no user %q", name)
		}
		return account{uid: uint32(n), gid: uint32(n)}, nil
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return account{uint32(uid), uint32(gid), groupsOf(uint32(uid)), u.HomeDir}, err
}

// uid returns whose files are imported.
func (m *importing) uid() (uid uint32, ok bool) {
	if m.user == "" {
		return uint32(os.Geteuid()), true
	}
	a, err := lookupAccount(m.user)
	return a.uid, err == nil
}

// checkOthers keeps a user's file from giving another agent a secret: it would
// use, and trust, what that user has chosen.
func (m *importing) checkOthers(moves []*move) error {
	uid, isUser := m.uid()
	if m.user == "" || !isUser {
		return nil
	}
	cfg, err := m.config()
	if err != nil {
		m.w.say("warning: whether other agents are granted what this makes cannot be told: %v", err)
		return nil
	}
	for _, move := range moves {
		if _, named := m.choosing.names[move.entry.Key]; named || move.action != actionCreated {
			continue
		}
		for _, a := range cfg.Agents {
			if _, _, granted := cfg.Policy.Granted(a.Name, move.name); granted && a.UID != uid {
				return hinted(fmt.Errorf("%s, of %s, would go to %s: it is granted that name, and the file is another user's", move.name, move.entry.Key, a.Name),
					fmt.Sprintf("if it is meant to: --map %s=%s; else give these names a beginning of their own: --prefix P", move.entry.Key, move.name))
			}
		}
	}
	return nil
}

// ownHome returns the home of this process's user, "" when it is not known.
func ownHome() string {
	home, _ := os.UserHomeDir()
	return home
}

// openAs starts the process that is the user. This one stays root, and speaks to
// the owner's socket: the broker of whoever typed sudo, unless another is named.
func (m *importing) openAs(ctx context.Context) (envFiles, error) {
	if os.Geteuid() != 0 {
		return nil, hinted(errors.New("only root can become another user"), "sudo secretctl import --user "+m.user+" FILE…")
	}
	a, err := lookupAccount(m.user)
	if err != nil {
		return nil, err
	}
	if a.uid == 0 {
		return nil, &usageError{command: "import", text: "--user is for the files of a user that is not root"}
	}
	m.w = m.w.ofSudoer()
	return startAs(ctx, a)
}

// ofSudoer returns a world in which the home is the one of the user who typed
// sudo, where nothing else says which it is and root has none.
func (w *world) ofSudoer() *world {
	if w.getenv("SECRETCTL_HOME") != "" || w.getenv("SECRETCTL_SOCKET") != "" || w.getenv("SUDO_UID") == "" {
		return w
	}
	if h, err := w.home(); err == nil {
		if _, err := os.Lstat(h.dir); err == nil {
			return w
		}
	}
	u, err := user.LookupId(w.getenv("SUDO_UID"))
	if err != nil {
		return w
	}
	theirs := *w
	theirs.env = func(key string) (string, bool) {
		if key == "SECRETCTL_HOME" {
			return filepath.Join(u.HomeDir, ".secretctl"), true
		}
		return w.env(key)
	}
	return &theirs
}

// startAs starts this program again as another user: the kernel makes it that user
// before its first instruction, and nothing of this process but one end of a
// socket is open in it, the terminal not either.
func startAs(ctx context.Context, a account) (*userFiles, error) {
	return startProgramAs(ctx, selfPath(), a)
}

func startProgramAs(ctx context.Context, path string, a account) (*userFiles, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("starting a process of uid %d: %w", a.uid, err)
	}
	defer theirs.Close()
	cmd := exec.CommandContext(ctx, path, asUserCommand)
	cmd.Args[0] = "secretctl"
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin", "HOME=" + a.home}
	cmd.ExtraFiles = []*os.File{theirs} // descriptor 3 there
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}, Setsid: true}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, hinted(fmt.Errorf("starting a process of uid %d: %w", a.uid, reason(err)), "every user must be able to run "+cmd.Path)
	}
	u := &userFiles{conn: ours, cmd: cmd}
	if _, _, err := u.ask(call{Op: opBecome, UID: a.uid, GID: a.gid}, nil); err != nil {
		return nil, errors.Join(err, u.close())
	}
	return u, nil
}

// userFiles are the files of another user, worked on by a process that is that
// user. What it says is not to be believed more than the user is.
type userFiles struct {
	conn *os.File
	cmd  *exec.Cmd
}

// ask sends a call and returns the answer.
func (u *userFiles) ask(c call, body []byte) (answer, []byte, error) {
	if err := send(u.conn, c, body); err != nil {
		return answer{}, nil, fmt.Errorf("speaking to the process that works on the files: %w", err)
	}
	var a answer
	got, err := receive(u.conn, &a)
	if err != nil {
		return answer{}, nil, fmt.Errorf("the process that works on the files has ended: %w", err)
	}
	if a.Error != "" {
		clear(got)
		return a, nil, hinted(errors.New(a.Error), a.Hint)
	}
	return a, got, nil
}

func (u *userFiles) open(path string) ([]byte, error) {
	_, content, err := u.ask(call{Op: opOpen, Path: path}, nil)
	return content, err
}

func (u *userFiles) rewrite(path string, with []byte) error {
	_, _, err := u.ask(call{Op: opRewrite, Path: path}, with)
	return err
}

func (u *userFiles) remains(path string, taken []int) ([]remain, error) {
	a, _, err := u.ask(call{Op: opRemains, Path: path, Taken: taken}, nil)
	return a.Remains, err
}

// close ends the process, which ends with its socket.
func (u *userFiles) close() error {
	err := u.conn.Close()
	if wait := u.cmd.Wait(); wait != nil {
		err = errors.Join(err, fmt.Errorf("the process that worked on the files: %w", wait))
	}
	return err
}

func importAsUserCommand(*world) *cobra.Command {
	return &cobra.Command{
		Use:     asUserCommand,
		Short:   "work on files as another user, for import --user",
		Long:    "Is started by import --user, and by nobody else. It opens and rewrites files as\nthe user that it was made to be.",
		Example: "  sudo secretctl import --user aiagent FILE…",
		Hidden:  true,
		Args:    takes(),
		RunE:    func(*cobra.Command, []string) error { return serveAsUser() },
	}
}

// serveAsUser answers calls until there are no more. It works on nothing before
// it has seen that it is the user it should be, and can be no other.
func serveAsUser() error {
	if err := withoutNewPrivileges(); err != nil {
		return fmt.Errorf("giving up the way to other users: %w", err)
	}
	conn, err := inherited(3) // not before: it is closed in what this process becomes
	if err != nil {
		return &usageError{command: "import", text: asUserCommand + " is started by import --user"}
	}
	defer conn.Close()
	var c call
	if _, err := receive(conn, &c); err != nil {
		return err
	}
	if c.Op != opBecome {
		return errors.New("a call before the user was named")
	}
	err = isForGood(c.UID, c.GID)
	if sent := send(conn, answering(answer{}, err), nil); err != nil || sent != nil {
		return errors.Join(err, sent)
	}
	files := &ownFiles{home: ownHome(), step: testOnlyStep}
	defer files.close()
	for {
		if done, err := serveCall(conn, files); done || err != nil {
			return err
		}
	}
}

func serveCall(conn *os.File, files *ownFiles) (done bool, err error) {
	var c call
	body, err := receive(conn, &c)
	if errors.Is(err, errEnded) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	defer clear(body)
	var a answer
	var content []byte
	switch c.Op {
	case opOpen:
		content, err = files.open(c.Path)
	case opRewrite:
		err = files.rewrite(c.Path, body)
	case opRemains:
		a.Remains, err = files.remains(c.Path, c.Taken)
	default:
		return false, fmt.Errorf("there is no call %q", c.Op)
	}
	defer clear(content)
	return false, send(conn, answering(a, err), content)
}

// answering adds an error to an answer.
func answering(a answer, err error) answer {
	if err != nil {
		a.Error, a.Hint = err.Error(), hintOf(err)
	}
	return a
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"secretctl/broker"
)

// demo is one showing, with what it stands on.
type demo struct {
	w      *world
	paint  painter
	dir    string // all of it, removed at the end
	binary string // a copy of this one that every user can run
	home   home
	agent  *syscall.Credential // nil: the agent is this user
	env    []string

	host   *demoHost // nil: there is no sshd here
	broker *exec.Cmd // nil: none runs
	said   sync.WaitGroup
}

// setStage makes the directory. It is in /tmp, which is there on every system
// and leaves a socket's path short.
func (d *demo) setStage() (err error) {
	if d.dir, err = os.MkdirTemp("/tmp", "secretctl-demo"); err != nil {
		return err
	}
	d.home = home{filepath.Join(d.dir, "home"), true}
	d.binary = filepath.Join(d.dir, "secretctl")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SECRETCTL_") {
			d.env = append(d.env, v)
		}
	}
	d.env = append(d.env, "SECRETCTL_HOME="+d.home.dir)
	if os.Getuid() == 0 {
		uid := freeUID()
		d.agent = &syscall.Credential{Uid: uid, Gid: uid}
	}
	err = errors.Join(os.Chmod(d.dir, 0o711), d.copySelf())
	if err != nil {
		err = errors.Join(err, os.RemoveAll(d.dir))
	}
	return err
}

func (d *demo) copySelf() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return copyFile(self, d.binary, 0o755)
}

// freeUID returns a uid that is nobody's account.
func freeUID() uint32 {
	uid := uint32(54321)
	for ; ; uid++ {
		if _, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err != nil {
			return uid
		}
	}
}

// clear ends the broker, if it still runs, and removes everything.
func (d *demo) clear() error {
	if d.broker != nil {
		_ = d.broker.Process.Kill()
		d.said.Wait()
		_ = d.broker.Wait()
	}
	var err error
	if d.host != nil {
		err = d.host.stop()
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}

// configure writes the config and shows it.
func (d *demo) configure(context.Context) error {
	uid := uint32(os.Getuid())
	if d.agent != nil {
		uid = d.agent.Uid
	}
	text := fmt.Sprintf(demoConfig, uid)
	if d.host != nil {
		text += d.host.config()
	}
	if err := os.WriteFile(d.home.configPath(), []byte(text), 0o600); err != nil {
		return err
	}
	if err := d.showCommand(false, "cat $SECRETCTL_HOME/"+broker.ConfigFile); err != nil {
		return err
	}
	return d.w.printf("%s", text)
}

// serve starts the broker and shows what it says until it is ready.
func (d *demo) serve(ctx context.Context) error {
	if err := d.showCommand(false, "secretctl serve &"); err != nil {
		return err
	}
	cmd := d.command(ctx, false, "serve")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.broker = cmd
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if err := d.w.printf("%s\n", lines.Text()); err != nil {
			return err
		}
		if strings.HasPrefix(lines.Text(), "secretctl: ready ") {
			// What it says from now on nobody waits for, but it must be taken.
			d.said.Go(func() {
				for lines.Scan() {
				}
			})
			return nil
		}
	}
	return errors.New("secretctl serve: it ended before it was ready")
}

// stop ends the broker, which must end cleanly.
func (d *demo) stop(context.Context) error {
	if err := d.showCommand(false, "kill %1"); err != nil {
		return err
	}
	cmd := d.broker
	d.broker = nil
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	d.said.Wait()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("secretctl serve: %w", err)
	}
	return nil
}

// tamper copies the home and changes one bit of the log in the copy.
func (d *demo) tamper(copied string) act {
	return func(context.Context) error {
		if err := d.showCommand(false, "cp -a $SECRETCTL_HOME "+copied); err != nil {
			return err
		}
		if err := copyTree(d.home.dir, copied); err != nil {
			return err
		}
		segments, err := filepath.Glob(filepath.Join(copied, broker.AuditDir, "*.jsonl"))
		if err != nil || len(segments) == 0 {
			return errors.Join(errors.New("the copy has no log"), err)
		}
		text, err := os.ReadFile(segments[0])
		if err != nil {
			return err
		}
		text[len(text)/2] ^= 1
		if err := d.showCommand(false, "# flip one bit in the middle of "+segments[0]); err != nil {
			return err
		}
		return os.WriteFile(segments[0], text, 0o600)
	}
}

// copyTree copies directories and files; sockets and the like it passes over.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		switch {
		case e.IsDir():
			return os.Mkdir(target, info.Mode().Perm())
		case e.Type().IsRegular():
			return copyFile(path, target, info.Mode().Perm())
		}
		return nil
	})
}

func copyFile(from, to string, perm fs.FileMode) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, perm)
}

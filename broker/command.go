package broker

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"secretctl/broker/config"
	"secretctl/sock"
)

// commandTime bounds one of the owner's commands for a rotation, where nothing
// else is said.
const commandTime = 30 * time.Second

// command runs one of the owner's commands with nothing but what it is to read:
// no environment, no directory of anybody's, and whatever it prints is nobody's
// business. It is checked again each time: it may have changed since the config
// was read. What it began and left behind ends with it when it takes too long.
func (b *Broker) command(ctx context.Context, what string, argv []string, stdin []byte, deadline time.Duration) error {
	if err := b.checkCommand(what, argv); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, deadline)
	defer stop()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Env, cmd.Dir = bytes.NewReader(stdin), []string{}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	switch err := cmd.Run(); {
	case err == nil:
		return nil
	case ctx.Err() == context.DeadlineExceeded:
		return fmt.Errorf("%s: %s did not end within %s", what, argv[0], config.FormatDuration(deadline))
	default:
		return fmt.Errorf("%s: %s: %w", what, argv[0], err)
	}
}

// checkCommands refuses commands that somebody else than root or the broker's
// own user can replace: whoever can write what the broker runs is the broker. The
// same goes for files that say which server a credential is sent to.
func (b *Broker) checkCommands(cfg *config.Config) error {
	if len(cfg.Audit.Anchor) > 0 {
		if err := b.checkCommand("[audit] anchor", cfg.Audit.Anchor); err != nil {
			return err
		}
	}
	for name, s := range cfg.Secrets {
		if s.Rotate != nil {
			for _, path := range s.Rotate.Files {
				// The provider looks again whenever it reads it.
				if err := sock.TrustedPath(path, b.uid, true); err != nil {
					return fmt.Errorf("[secret.%q] rotate: %w", name, err)
				}
			}
		}
		for _, argv := range s.Announce {
			if err := b.checkCommand(fmt.Sprintf("[secret.%q] announce", name), argv); err != nil {
				return err
			}
		}
		if len(s.Confirm) > 0 {
			if err := b.checkCommand(fmt.Sprintf("[secret.%q] confirm", name), s.Confirm); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Broker) checkCommand(what string, argv []string) error {
	for _, path := range files(argv) {
		if err := sock.TrustedPath(path, b.uid, false); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// files are the program and the files it is given by their whole names: of an
// interpreter, one of those is what runs.
func files(argv []string) []string {
	paths := argv[:1:1]
	for _, arg := range argv[1:] {
		if info, err := os.Stat(arg); filepath.IsAbs(arg) && err == nil && info.Mode().IsRegular() {
			paths = append(paths, arg)
		}
	}
	return paths
}

// commands are the files of what the broker runs for the owner.
func commands(cfg *config.Config) (paths []string) {
	if len(cfg.Audit.Anchor) > 0 {
		paths = append(paths, files(cfg.Audit.Anchor)...)
	}
	for _, s := range cfg.Secrets {
		for _, argv := range s.Announce {
			paths = append(paths, files(argv)...)
		}
		if len(s.Confirm) > 0 {
			paths = append(paths, files(s.Confirm)...)
		}
	}
	return paths
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	onepassword "github.com/1password/onepassword-sdk-go"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"secretctl/providers/onepassword/optest"
	"secretctl/providers/onepassword/source"
)

// stageDir is a directory that every uid can reach, with a copy of the test
// binary that is called secretctl.
var stageDir string

// TestMain is also the main of the processes that scripts start: the test
// binary under another name.
func TestMain(m *testing.M) {
	testscript.Main(staged{m}, map[string]func(){"secretctl": mainEnding, "secretctl-onepassword": onepasswordHelper, "op": op, copyName: main, "as": as, "dies": dies, "tried": tried, "hammers": hammers, "uses": uses})
}

// staged runs the tests with the stage set, and looks for goroutines that were
// left behind.
type staged struct{ m *testing.M }

func (s staged) Run() int {
	if err := stage(); err != nil {
		fmt.Fprintln(os.Stderr, "setting the stage:", err)
		return 1
	}
	defer os.RemoveAll(stageDir)
	// Under nohup, or in the background of a shell without job control, what the
	// tests start would ignore these, as it should.
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	code := s.m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func stage() (err error) {
	if stageDir, err = os.MkdirTemp("", "stage"); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cover := filepath.Join(stageDir, "cover")
	return errors.Join(os.Chmod(stageDir, 0o755), copyFile(self, filepath.Join(stageDir, "secretctl"), 0o755),
		os.Symlink("secretctl", filepath.Join(stageDir, "uses")), os.Symlink("secretctl", filepath.Join(stageDir, "secretctl-onepassword")),
		os.Symlink("secretctl", filepath.Join(stageDir, "op")),
		os.Mkdir(cover, 0o755), os.Chmod(cover, 0o777))
}

// mainEnding is main, but for a test that wants it to end without ceremony after a
// step: the file end-after beside the home names it.
func mainEnding() {
	if step, err := os.ReadFile(filepath.Join(filepath.Dir(os.Getenv("SECRETCTL_HOME")), "end-after")); err == nil {
		testOnlyStep = func(done string) {
			if done == string(step) {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
	}
	main()
}

// onepasswordHelper is the helper of the 1Password store, with an account in a
// file: it gets no environment, but the token names it.
func onepasswordHelper() {
	err := source.Serve(&source.Source{Connect: func(ctx context.Context, token string) (*onepassword.Client, error) {
		path, ok := strings.CutPrefix(token, "fake:")
		if !ok {
			return new(optest.Account).Connect(ctx, token)
		}
		return (&optest.Account{Path: path, Token: token}).Connect(ctx, token)
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// op is 1Password's program of that name.
func op() { os.Exit(optest.Op(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)) }

// as becomes another user for good and runs a command: as UID CMD ARGS….
func as() {
	err := func() error {
		uid, err := strconv.Atoi(os.Args[1])
		if err != nil {
			return err
		}
		path := filepath.Join(os.Getenv("STAGE"), "secretctl")
		if os.Args[2] != "secretctl" {
			if path, err = exec.LookPath(os.Args[2]); err != nil {
				return err
			}
		}
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(uid), syscall.Setuid(uid), os.Chdir("/")); err != nil {
			return err
		}
		// Coverage goes where every uid can write; that of tests is closed to it.
		if err := os.Setenv("GOCOVERDIR", filepath.Join(os.Getenv("STAGE"), "cover")); err != nil {
			return err
		}
		return syscall.Exec(path, os.Args[2:], os.Environ())
	}()
	fmt.Fprintln(os.Stderr, "as:", err)
	os.Exit(125)
}

// gatherCoverage brings what the processes of other uids have covered to where
// the test binary looks for it.
func gatherCoverage(t *testing.T) {
	dir := os.Getenv("GOCOVERDIR")
	if dir == "" {
		return
	}
	t.Cleanup(func() {
		found, err := filepath.Glob(filepath.Join(stageDir, "cover", "*"))
		require.NoError(t, err)
		for _, path := range found {
			require.NoError(t, copyFile(path, filepath.Join(dir, filepath.Base(path)), 0o600))
		}
	})
}

// needRoot fails or skips a test that needs a second uid.
func needRoot(t *testing.T) {
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("SECRETCTL_TEST_STRICT") != "" {
		t.Fatal("this test needs root: a second uid")
	}
	t.Skip("needs root: a second uid")
}

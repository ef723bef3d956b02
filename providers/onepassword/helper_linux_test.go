package onepassword_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	sdk "github.com/1password/onepassword-sdk-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"secretctl/providers"
	"secretctl/providers/onepassword"
	"secretctl/providers/onepassword/optest"
	"secretctl/providers/onepassword/source"
	"secretctl/providers/storetest"
)

// helperArg is the argument with which the test binary is the helper.
const helperArg = "helper"

// opArg is the argument with which it is the op program.
const opArg = "op"

// TestMain is also the helper: its account is in the file that SECRETCTL_TEST_ACCOUNT
// names, and the library's real core is loaded beside it when SECRETCTL_TEST_CORE is
// set.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == opArg {
		os.Exit(optest.Op(os.Args[2:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == helperArg {
		s := &source.Source{Connect: func(ctx context.Context, token string) (*sdk.Client, error) {
			if os.Getenv("SECRETCTL_TEST_CORE") != "" {
				if err := sdk.Secrets.ValidateSecretReference(ctx, "op://vault/item/field"); err != nil {
					return nil, err
				}
			}
			return (&optest.Account{Path: os.Getenv("SECRETCTL_TEST_ACCOUNT")}).Connect(ctx, token)
		}}
		if err := s.Run(os.NewFile(3, "helper")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// process is a store whose helper is a process, with its account in a file.
type process struct {
	*onepassword.Store
	path    string // of the account
	started []*exec.Cmd
}

func openProcess(t *testing.T, setting onepassword.Setting, env ...string) *process {
	path := filepath.Join(t.TempDir(), "account.json")
	p := &process{path: path}
	setting.Token = optest.Token
	setting.Command = func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe", helperArg)
		cmd.Env = append([]string{"SECRETCTL_TEST_ACCOUNT=" + path}, env...)
		p.started = append(p.started, cmd)
		return cmd
	}
	p.Store = setting.Open()
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// last returns the helper that was started last.
func (p *process) last() *os.Process { return p.started[len(p.started)-1].Process }

// resident returns the memory of a process in bytes, 0 when it is gone.
func resident(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kib, _ := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "kB", 2)[0]))
	return kib << 10
}

// TestProcessContract: the same by way of a process.
func TestProcessContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		p := openProcess(t, onepassword.Setting{})
		return storetest.Subject{Store: p, Keep: func(value []byte) (string, func([]byte)) {
			// The helper reads the file when it starts.
			change := func(value []byte) {
				p.Drop()
				require.NoError(t, (&optest.Account{Path: p.path}).Keep("github", "keys", "token", string(value)))
			}
			change(value)
			return "op://Agents/github/token", change
		}}
	})
}

// TestKilled: a helper that is killed is started anew, and what reads does not even
// fail.
func TestKilled(t *testing.T) {
	p := openProcess(t, onepassword.Setting{})
	put(t, p, "a", "value")
	for range 20 {
		require.NoError(t, p.last().Kill())
		get(t, p, "a", "value")
	}
	require.Len(t, p.started, 21)
}

// TestStopped: a helper that does not answer is killed, and whoever waits is told in
// time.
func TestStopped(t *testing.T) {
	p := openProcess(t, onepassword.Setting{Answer: 500 * time.Millisecond})
	put(t, p, "a", "value")
	stopped := p.last()
	require.NoError(t, stopped.Signal(syscall.SIGSTOP))

	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	begin := time.Now()
	_, err := p.Get(ctx, "a", 1, providers.Sum{})
	require.Less(t, time.Since(begin), 2*time.Second)
	require.ErrorIs(t, err, providers.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	_, err = p.Get(t.Context(), "a", 1, providers.Sum{})
	require.True(t, err == nil || errors.Is(err, providers.ErrUnavailable), err)
	get(t, p, "a", "value")
	require.Len(t, p.started, 2)
	require.Zero(t, resident(stopped.Pid))
}

// TestNothingInArgvOrEnviron: the token is where nobody else looks.
func TestNothingInArgvOrEnviron(t *testing.T) {
	p := openProcess(t, onepassword.Setting{})
	put(t, p, "a", "value")
	for _, file := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.last().Pid, file))
		require.NoError(t, err)
		require.NotEmpty(t, b)
		require.NotContains(t, string(b), optest.Token)
	}
}

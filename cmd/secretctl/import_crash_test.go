package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret/canary"
)

// dies is secretctl, but for killing itself before a step of import, given by its
// number: dies N ARGS….
func dies() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	testOnlyStep = func(string) {
		if n--; n < 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
	os.Args = append([]string{"secretctl"}, os.Args[2:]...)
	main()
}

// imported is a home and a file that is imported into it.
type importedInto struct {
	*testHome
	value, file   string
	before, after []byte
}

func newImport(t *testing.T, dir string) *importedInto {
	i := &importedInto{testHome: newTestHome(t), value: canary.New(t, "value"), file: filepath.Join(dir, "app"+canary.Channel)}
	i.before = []byte("# keys\nTOKEN='" + i.value + "'\nPORT=3000")
	i.after = []byte("# keys\nTOKEN='secret://token'\nPORT=3000")
	require.NoError(t, os.WriteFile(i.file, i.before, 0o600))
	return i
}

// dying runs import or the like so that it dies before a step, and reports whether
// it did.
func (i *importedInto) dying(step int, args ...string) bool {
	cmd := i.command()
	cmd.Args = append([]string{"dies", strconv.Itoa(step)}, args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	require.NoError(i.t, err, "%s", out)
	return false
}

func (i *importedInto) content() string {
	b, err := os.ReadFile(i.file)
	require.NoError(i.t, err)
	return string(b)
}

// left returns what a rewriting that was cut short left beside the file, and
// removes it.
func (i *importedInto) left() (found []string) {
	found, err := filepath.Glob(i.file + tempPart + "*")
	require.NoError(i.t, err)
	for _, path := range found {
		require.NoError(i.t, os.Remove(path))
	}
	return found
}

// TestImportDies: whenever import is killed, the file is as it was or as it is to
// be, the vault has the value, and running it again ends well.
func TestImportDies(t *testing.T) {
	i := newImport(t, canary.Dir(t))
	steps, leftovers := 0, 0
	for ; i.dying(steps, "import", i.file); steps++ {
		at := fmt.Sprintf("killed before step %d", steps)
		require.Contains(t, []string{string(i.before), string(i.after)}, i.content(), at)
		require.Equal(t, i.value+"\n", i.run("", "get", "token"), at)
		left := i.left()
		leftovers += len(left)
		require.LessOrEqual(t, len(left), 1, at)

		i.run("", "import", i.file)
		require.Equal(t, string(i.after), i.content(), at)
		require.Equal(t, "1\n", countVersions(i.testHome, "token"), at)
		require.Empty(t, i.left(), at)
		require.NoError(t, os.WriteFile(i.file, i.before, 0o600))
	}
	require.Equal(t, string(i.after), i.content())
	require.Greater(t, steps, 8)
	require.Positive(t, leftovers)
	t.Logf("killed at %d steps, %d of which left a file beside it", steps, leftovers)

	for steps = 0; i.dying(steps, "import", "--undo", i.file); steps++ {
		require.Contains(t, []string{string(i.before), string(i.after)}, i.content(), steps)
		i.left()
		i.run("", "import", "--undo", i.file)
		require.Equal(t, string(i.before), i.content())
		require.NoError(t, os.WriteFile(i.file, i.after, 0o600))
	}
	require.Equal(t, string(i.before), i.content())
	require.Greater(t, steps, 7)
}

// TestImportNamesWhatADeathLeft: the old content that a killed import may leave
// beside the file is said to be there.
func TestImportNamesWhatADeathLeft(t *testing.T) {
	i := newImport(t, canary.Dir(t))
	named := 0
	for step := 0; i.dying(step, "import", i.file); step++ {
		found, err := filepath.Glob(i.file + tempPart + "*")
		require.NoError(t, err)
		out := i.run("", "import", i.file)
		for _, path := range found {
			require.Regexp(t, `(?m)^  `+path+` +a rewriting that was cut short left it: look at it, then remove it$`, out)
			named++
		}
		i.left()
		require.NoError(t, os.WriteFile(i.file, i.before, 0o600))
	}
	require.Positive(t, named)
}

func countVersions(h *testHome, name string) string {
	return strconv.Itoa(strings.Count(h.run("", "versions", "--json", name), `"version"`)) + "\n"
}

// TestImportBrokerDies: whenever a broker is killed while it takes values in, the
// file is as it was or as it is to be, and running import again ends well: the
// vault has every value.
func TestImportBrokerDies(t *testing.T) {
	i := newImport(t, canary.Dir(t))
	const keys = 40
	var before strings.Builder
	for n := range keys {
		fmt.Fprintf(&before, "TOKEN_%d=%s\n", n, canary.New(t, strconv.Itoa(n)))
	}
	cut := 0
	for at := 0; at <= keys; at += 5 {
		require.NoError(t, os.WriteFile(i.file, []byte(before.String()), 0o600))
		prefix := fmt.Sprintf("r%d", at)
		cmd := i.command("import", "--prefix", prefix, i.file)
		require.NoError(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for put := 0; put < at && len(ended) == 0; {
			found, err := filepath.Glob(filepath.Join(i.dir, "home", "vault", prefix, "*", "*"))
			require.NoError(t, err)
			put = len(found)
		}
		_ = i.broker.stop(syscall.SIGKILL)
		if err := <-ended; err != nil {
			cut++
			require.Equal(t, before.String(), i.content(), "killed after %d", at)
		}
		require.NoError(t, i.broker.start(filepath.Join(i.dir, "serve.log"), i.env))
		i.run("", "import", "--prefix", prefix, i.file)
		require.Equal(t, keys, strings.Count(i.content(), "=secret://"+prefix+"/token-"))
		require.NoError(t, os.WriteFile(i.file, []byte(before.String()), 0o600))
		out := i.run("", "import", "--json", "--prefix", prefix, i.file)
		require.Equal(t, keys, strings.Count(out, `"unchanged"`), out)
	}
	require.Greater(t, cut, 2, "it was hardly ever in the middle")
	t.Logf("killed in the middle %d times", cut)
}

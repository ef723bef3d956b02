package age_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"filippo.io/age/plugin"
	"github.com/stretchr/testify/require"
)

// pluginName is the plugin in testdata, which is built for the tests. The race
// detector would make each of its many starts ten times as long.
const pluginName = "secretctltest"

// The ways it behaves.
const (
	plainly = "plainly" // as it should
	asking  = "asking"  // it asks for a PIN first
	silent  = "silent"  // it does not answer until the file named by holdVar is gone
	telling = "telling" // it says that it is to be touched
)

// holdVar names the file that the silent one waits for to go.
const holdVar = "AGE_TEST_HOLD"

// pluginDir is where the plugin is built, once.
var pluginDir string

// installed puts the plugin into a directory of its own, which is the whole PATH,
// and returns that.
func installed(t *testing.T) string {
	t.Helper()
	const name = "age-plugin-" + pluginName
	built := filepath.Join(pluginDir, name)
	if _, err := os.Stat(built); err != nil {
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", built, "./testdata/"+name).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	dir := t.TempDir()
	require.NoError(t, os.Symlink(built, filepath.Join(dir, name)))
	t.Setenv("PATH", dir)
	return dir
}

// pluginIdentity is an identity that the plugin has.
func pluginIdentity(how string) string {
	return plugin.EncodeIdentity(pluginName, []byte(how+":"+testIdentity))
}

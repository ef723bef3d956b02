package age_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	plain "filippo.io/age"
	"filippo.io/age/plugin"
	"github.com/stretchr/testify/require"
)

// pluginName is the plugin that this test binary is when it is started as
// age-plugin-secretctltest. What its identities hold is a native one, after a
// word that says how it behaves.
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

// bePlugin is the plugin.
func bePlugin() int {
	p, err := plugin.New(pluginName)
	must(err)
	key := func(data []byte) (*plain.X25519Identity, error) {
		how, text, _ := strings.Cut(string(data), ":")
		switch how {
		case asking:
			if _, err := p.RequestValue("the PIN", true); err != nil {
				return nil, errors.New("no PIN")
			}
		case telling:
			if err := p.DisplayMessage("touch me"); err != nil {
				return nil, err
			}
		case silent:
			if f, err := os.Open(os.Getenv(holdVar)); err == nil { // a fifo: until somebody opens and closes it
				_, _ = f.Read(make([]byte, 1))
				f.Close()
			}
		}
		return plain.ParseX25519Identity(text)
	}
	p.HandleIdentity(func(data []byte) (plain.Identity, error) { return key(data) })
	p.HandleIdentityAsRecipient(func(data []byte) (plain.Recipient, error) {
		id, err := key(data)
		if err != nil {
			return nil, err
		}
		return id.Recipient(), nil
	})
	return p.Main()
}

// installed puts the plugin into a directory of its own, which is the whole PATH,
// and returns that.
func installed(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Symlink(exe, filepath.Join(dir, "age-plugin-"+pluginName)))
	t.Setenv("PATH", dir)
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	return dir
}

// pluginIdentity is an identity that the plugin has.
func pluginIdentity(how string) string {
	return plugin.EncodeIdentity(pluginName, []byte(how+":"+testIdentity))
}

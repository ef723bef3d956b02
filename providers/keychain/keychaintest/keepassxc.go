package keychaintest

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/providers/servertest"
)

// KeePassCollection is the database that [KeePassXC] opens.
const KeePassCollection = "vault"

// database is one all of whose entries the Secret Service may see.
const database = `<?xml version="1.0" encoding="utf-8"?>
<KeePassFile><Meta><Generator>KeePassXC</Generator><DatabaseName>vault</DatabaseName><CustomData><Item>
<Key>FDO_SECRETS_EXPOSED_GROUP</Key><Value>{7e6b2ec5-3b3e-4b5e-9d8c-0123456789ab}</Value></Item></CustomData></Meta>
<Root><Group><UUID>fmsuxTs+S16djAEjRWeJqw==</UUID><Name>Root</Name>ENTRIES</Group></Root></KeePassFile>
`

// settings has KeePassXC be a Secret Service that asks nobody.
const settings = `[GUI]
CheckForUpdates=false
[FdoSecrets]
Enabled=true
ConfirmAccessItem=false
ConfirmDeleteItem=false
[Security]
NoConfirmMoveEntryToRecycleBin=true
[General]
UpdateCheckMessageShown=true
AutoSaveAfterEveryChange=true
`

// Settings of KeePassXC, instead of those that the tests use.
const (
	// AskToDelete, and AskToRecycle, which it does instead: it asks before that.
	AskToDelete, AskToRecycle = "ConfirmDeleteItem=true", "NoConfirmMoveEntryToRecycleBin=false"
	// AskToOpen: what another client has put there is locked until somebody says yes.
	AskToOpen = "ConfirmAccessItem=true"
	// WriteLater: it writes its file when it ends and not after each change, which
	// it does not survive when another comes meanwhile.
	WriteLater = "AutoSaveAfterEveryChange=false"
)

// KeePassXC starts a session with KeePassXC, unlocked, and no window, with other
// settings where they are given. It skips the test where there is none.
func KeePassXC(t testing.TB, other ...string) *Session {
	t.Helper()
	return KeePassXCWith(t, nil, other...)
}

// KeePassXCWith is KeePassXC with these items.
func KeePassXCWith(t testing.TB, items []Item, other ...string) *Session {
	t.Helper()
	var entries strings.Builder
	for i, item := range items {
		id := make([]byte, 16)
		binary.BigEndian.PutUint32(id, uint32(i+1))
		fmt.Fprintf(&entries, "<Entry><UUID>%s</UUID>", base64.StdEncoding.EncodeToString(id))
		for key, value := range item.Attributes {
			fmt.Fprintf(&entries, "<String><Key>%s</Key><Value>%s</Value></String>", key, value)
		}
		fmt.Fprintf(&entries, "<String><Key>Title</Key><Value>filler %d</Value></String><String><Key>Password</Key><Value>%s</Value></String></Entry>\n", i, item.Value)
	}
	program, cli := servertest.Program(t, "keepassxc"), servertest.Program(t, "keepassxc-cli")
	s := NewSession(t)
	set := settings
	for _, o := range other {
		key, value, _ := strings.Cut(o, "=")
		set = regexp.MustCompile("(?m)^"+key+"=.*$").ReplaceAllLiteralString(set, key+"="+value)
	}
	path := func(name string) string { return filepath.Join(s.Dir, name) }
	for name, text := range map[string]string{"in.xml": strings.Replace(database, "ENTRIES", entries.String(), 1), "kp.ini": set} {
		require.NoError(t, os.WriteFile(path(name), []byte(text), 0o600))
	}
	made := s.launch(Password+"\n"+Password+"\n", cli, "import", "-p", path("in.xml"), path("vault.kdbx"))
	made.Wait()
	require.FileExists(t, path("vault.kdbx"))
	s.start = func() {
		s.Keyring = s.launch(Password+"\n", program, "--config", path("kp.ini"), "--localconfig", path("local.ini"), "--pw-stdin", path("vault.kdbx"))
		require.True(t, s.Keyring.Ready(func() bool { return s.ready(KeePassCollection) }), "KeePassXC does not start")
	}
	s.start()
	return s
}

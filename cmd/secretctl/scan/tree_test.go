package scan_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"secretctl/cmd/secretctl/scan"
)

// TestTree: which files of a tree are searched.
func TestTree(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, outside, map[string]string{"secret": fake, "sub/secret": fake})
	write(t, dir, map[string]string{
		"a": fake, "b/c/d": fake, ".hidden/e": fake, ".git/config": "[remote \"o\"]\nurl = https" + "://me:x7Gk2pQ9vTzL@git.internal/x\n", "ignored.log": fake,
		".gitignore": "ignored.log\n", ".git/objects/ab": fake, "node_modules/x/f": fake, "vendor/x/f": fake, "sub/node_modules/f": fake,
		"binary": "\x00" + fake, "empty": "", "no-newline": strings.TrimSpace(fake),
	})
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "sub"), filepath.Join(dir, "linked")))
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "loop")))
	require.NoError(t, os.Symlink("a", filepath.Join(dir, "inside")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))

	s := scanned(t, new(scan.Scanner), dir)
	require.Equal(t, []string{".git/config", ".hidden/e", "a", "b/c/d", "ignored.log", "no-newline"}, places(t, s, dir))

	// What is named is searched, whatever it is.
	for _, name := range []string{"binary", "node_modules", "inside", "linked"} {
		s := scanned(t, new(scan.Scanner), filepath.Join(dir, name))
		require.Len(t, s.Findings(), 1, name)
	}
}

// TestTrouble: what cannot be searched is told, and stops nothing else.
func TestTrouble(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": fake, "z": fake})
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	s := new(scan.Scanner)
	s.Paths(t.Context(), []string{filepath.Join(dir, "none"), filepath.Join(dir, "pipe"), dir})
	require.Equal(t, []string{"a", "z"}, places(t, s, dir))
	require.Len(t, s.Troubles(), 2)
	require.ErrorContains(t, s.Troubles()[0], `none": no such file or directory`)
	require.ErrorContains(t, s.Troubles()[1], `pipe": it is no regular file`)
}

// TestTwice: a path that is given twice, or within another, is reported once.
func TestTwice(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": fake})
	require.Len(t, scanned(t, new(scan.Scanner), dir, dir).Findings(), 1)
}

func TestStopped(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": fake})
	ctx, stop := context.WithCancel(t.Context())
	stop()
	s := new(scan.Scanner)
	s.Paths(ctx, []string{dir})
	require.Empty(t, s.Troubles())
}

// TestWindows: what is found is where it is, wherever the borders of the window
// that a file is seen through lie.
func TestWindows(t *testing.T) {
	dir := t.TempDir()
	const window, overlap = 1 << 20, 64 << 10
	for _, at := range []int{0, 1000, window - overlap - 1030, window - overlap - 500, window - overlap - 6, window - overlap, window - 15, window - 10, window, 2*window - 2*overlap - 9, 3 * window} {
		var text bytes.Buffer
		line := 1
		for text.Len() < at {
			n := min(at-text.Len(), 61)
			text.WriteString(strings.Repeat("x", n-1) + "\n")
			line++
		}
		text.WriteString(fake)
		for text.Len() < at+window/2 {
			text.WriteString("and so on\n")
		}
		path := filepath.Join(dir, "f")
		require.NoError(t, os.WriteFile(path, text.Bytes(), 0o600))
		found := scanned(t, new(scan.Scanner), path).Findings()
		require.Len(t, found, 1, at)
		require.Equal(t, [2]int{line, 12}, [2]int{found[0].Line, found[0].Column}, at)
	}
}

// TestLongValues: a value of the vault is found whatever it is longer than.
func TestLongValues(t *testing.T) {
	const window = 1 << 20
	for _, size := range []int{60 << 10, 200 << 10, window} {
		value := strings.Repeat("0123456789abcde\n", size/16)
		for _, at := range []int{0, window / 2, window - 100, 2*window - 70_000} {
			path := filepath.Join(t.TempDir(), "f")
			text := strings.Repeat("and so on\n", at/10) + value + strings.Repeat("and so on\n", window/10)
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			found := scanned(t, known("long", value), path).Findings()
			require.Len(t, found, 1, "%d bytes at %d", size, at)
			require.Equal(t, [2]int{at/10 + 1, 1}, [2]int{found[0].Line, found[0].Column})
		}
	}
}

// TestUTF16: files that Windows wrote.
func TestUTF16(t *testing.T) {
	dir := t.TempDir()
	units := utf16.Encode([]rune("\ufeff# 🔑\r\n" + fake))
	for name, order := range map[string]binary.AppendByteOrder{"little": binary.LittleEndian, "big": binary.BigEndian} {
		var b []byte
		for _, u := range units {
			b = order.AppendUint16(b, u)
		}
		write(t, dir, map[string]string{name: string(b)})
	}
	s := scanned(t, new(scan.Scanner), dir)
	require.Equal(t, []string{"big", "little"}, places(t, s, dir))
	for _, f := range s.Findings() {
		require.Equal(t, [2]int{2, 12}, [2]int{f.Line, f.Column})
	}
}

// TestNames: what only the name of a file tells.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	const variables = "# a comment\nexport DB_PASSWORD='hunter2' # weak\nPORT=3000\nWHATEVER=x7Gk2pQ9vTzL4mWb8nRcYh3f\nAPI_KEY=\nTOKEN=secret://x\n"
	write(t, dir, map[string]string{
		".env": variables, ".env.local": variables, "prod.env": variables, ".env.example": variables, "other": variables,
		".pgpass": "# host:port:db:user:password\ndb:5432:*:me:hunter2\nesc\\:aped:5432:*:me:hun\\:ter:2\nno:password\n",
	})
	s := scanned(t, new(scan.Scanner), dir)
	count := make(map[string]int)
	for _, f := range s.Findings() {
		count[filepath.Base(f.Path)+" "+f.Rule]++
	}
	require.Equal(t, map[string]int{
		".env secret-name": 1, ".env high-entropy": 1, ".env.local secret-name": 1, ".env.local high-entropy": 1, "prod.env secret-name": 1, "prod.env high-entropy": 1,
		".pgpass pgpass-password": 2,
	}, count)
	require.Equal(t, [2]int{2, 21}, [2]int{s.Findings()[0].Line, s.Findings()[0].Column})
}

// TestKnown: a value of the vault is found whatever it looks like, and told from
// what only looks like one.
func TestKnown(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": "say correct horse // secretctl:allow\n", "b": fake + "x7Gk2pQ9vTzL\n"})
	s := scanned(t, known("db/passphrase", "correct horse"), dir)
	require.Equal(t, []string{"password-assignment", "vault"}, rulesOf(s))
	require.Equal(t, "db/passphrase", s.Findings()[0].Secret)
	s = scanned(t, known("db/password", fake[len(fake)-14:len(fake)-2]), dir)
	require.Equal(t, []string{"vault", "vault"}, rulesOf(s))
}

// TestPlaces: the places of a home, and no other.
func TestPlaces(t *testing.T) {
	home := filepath.Join(t.TempDir(), "ho[m]e*")
	write(t, home, map[string]string{
		".env": fake, "src/app/.env.local": fake, ".bash_history": "mysqldump --pass" + "word=x7Gk2pQ9vTzL\n", ".netrc": "mach" + "ine h login l password x7Gk2pQ9vTzL\n",
		".openclaw/openclaw.json": fake, ".openclaw/openclaw.json.bak.1": fake, ".openclaw/agents/main/auth.sqlite": "SQLite format 3\x00\x10" + fake,
		".claude/projects/p/t.jsonl": fake, ".pgpass": "h:1:d:u:hunter2\n", ".ssh/id_rsa": "-----BEGIN " + "OPENSSH PRIVATE KEY-----\n" + strings.Repeat("b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9u\n", 4) + "-----END OPENSSH PRIVATE KEY-----\n",
		"src/app/main.go": fake, "Documents/letter": fake,
	})
	require.NoError(t, os.Symlink(filepath.Join(home, "Documents/letter"), filepath.Join(home, ".npmrc")))
	s := new(scan.Scanner)
	s.Places(t.Context(), home, false)
	require.Empty(t, s.Troubles())
	require.Equal(t, []string{
		".bash_history", ".claude/projects/p/t.jsonl", ".env", ".netrc", ".openclaw/agents/main/auth.sqlite", ".openclaw/openclaw.json", ".openclaw/openclaw.json.bak.1",
		".pgpass", ".ssh/id_rsa", "src/app/.env.local",
	}, places(t, s, home))
}

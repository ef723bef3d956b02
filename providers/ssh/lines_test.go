package ssh

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func public(t testing.TB, name string) ssh.PublicKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, name)
	k, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(seed).Public())
	require.NoError(t, err)
	return k
}

// TestKeyIn: where a line has its key, as sshd sees it.
func TestKeyIn(t *testing.T) {
	k := public(t, "old")
	text := authorized(k)
	for before, after := range map[string]string{
		"":                                  " comment",
		"  \t":                              "",
		"no-pty ":                           "\r\n",
		`command="a b" `:                    "\n",
		`command="a \" b",no-pty` + "\t \t": " x\n",
		`environment="A=#" `:                "\x00 ssh-rsa",
		"cert-authority ":                   "",
	} {
		at, got := keyIn([]byte(before + text + after))
		require.True(t, same(k, got), "%q", before)
		require.Equal(t, len(before), at, "%q", before)
	}
	for _, line := range []string{
		"", "\n", "#" + text, " # " + text, "a b " + text, "a, " + "b " + text, `command="a ` + text, "\x00" + text,
		strings.Replace(text, "ssh-ed25519 ", "ssh-rsa ", 1), text[:len(text)-3], "ssh-ed25519", strings.ToUpper(text),
	} {
		_, got := keyIn([]byte(line))
		require.Nil(t, got, "%q", line)
	}
}

// FuzzEdit: an edit touches the lines of its key alone, and is undone by its
// opposite.
func FuzzEdit(f *testing.F) {
	old, key, other := public(f, "old"), public(f, "new"), public(f, "other")
	for _, s := range []string{"OLD\n", "a\nno-pty OLD\r\nb", "OTHER\nx OLD y\nOLD", "", "\n\n", `command="OLD" OTHER`, "\x00OLD", "'OLD"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		content = bytes.ReplaceAll(content, []byte("OLD"), []byte(authorized(old)))
		content = bytes.ReplaceAll(content, []byte("OTHER"), []byte(authorized(other)))
		if holds(content, key) {
			return
		}
		without, _ := removing(content, old)
		require.Equal(t, holds(content, old), without != nil)
		if without == nil {
			return
		}
		require.False(t, holds(without.result(), old))
		require.Equal(t, holds(content, other), holds(without.result(), other))

		added := adding(content, old, key, "tag").result()
		require.True(t, holds(added, key) && holds(added, old))
		require.Nil(t, adding(added, old, key, "tag"), "it is there")
		undone, _ := removing(added, key)
		if back := undone.result(); !bytes.Equal(back, content) {
			require.Equal(t, append(content, '\n'), back)
		}
		// What is left of both orders is the same but for the line that was added.
		done, _ := removing(added, old)
		none, _ := removing(done.result(), key)
		require.Equal(t, strings.TrimSuffix(string(without.result()), "\n"), strings.TrimSuffix(string(none.result()), "\n"))
	})
}

func TestCksum(t *testing.T) {
	for _, s := range []string{"", "a", "123456789", strings.Repeat("x\n\x00\xff", 100_000)} {
		cmd := exec.CommandContext(t.Context(), "cksum")
		cmd.Stdin = strings.NewReader(s)
		out, err := cmd.Output()
		require.NoError(t, err)
		require.Equal(t, strings.TrimSpace(string(out)), cksum([]byte(s)))
	}
}

// TestShells: every shell that a host may have for sh runs the scripts, and one
// that is given less than all of them does nothing.
func TestShells(t *testing.T) {
	t.Parallel()
	old, key := public(t, "old"), public(t, "new")
	content := []byte("\x81\x00\r\n" + `command="it's $x \"` + "`" + ` %s \\ ` + "\x88" + `" ` + authorized(old) + " x\r\n\xff")
	e := adding(content, old, key, "tag")
	tried := 0
	for _, shell := range [][]string{{"sh"}, {"dash"}, {"bash"}, {"bash", "--posix"}, {"busybox", "sh"}, {"mksh"}, {"ksh93"}, {"zsh", "--emulate", "sh"}} {
		program, err := exec.LookPath(shell[0])
		if err != nil {
			continue
		}
		tried++
		home := t.TempDir()
		path := filepath.Join(home, "a 'name'")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		give := func(script string) string {
			cmd := exec.CommandContext(t.Context(), program, shell[1:]...)
			cmd.Stdin = strings.NewReader(script)
			cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
			cmd.Dir = "/"
			out, _ := cmd.Output()
			return string(out)
		}
		script := compose("WORD", "a 'name'", changing(e))
		for n := 0; n < len(script)-2; n += 61 {
			require.Empty(t, give(script[:n]), "%v, %d bytes", shell, n)
		}
		require.Equal(t, "WORD:begin\nWORD:content\n"+string(content)+"WORD:end\n", give(compose("WORD", path, lookScript)), "%v", shell)
		require.Equal(t, "WORD:begin\nWORD:done\n", give(script), "%v", shell)
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, e.result(), b, "%v", shell)
		require.Equal(t, "WORD:begin\nWORD:changed\n", give(script), "%v: it is no longer what it was", shell)
		left, err := os.ReadDir(home)
		require.NoError(t, err)
		require.Len(t, left, 1, "%v", shell)
	}
	require.Positive(t, tried)
}

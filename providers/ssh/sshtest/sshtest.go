// Package sshtest starts real sshd servers for tests, and makes keys for them.
package sshtest

import (
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"secretctl/broker/secret"
	"secretctl/broker/secret/canary"
	"secretctl/providers/servertest"
)

// uid is that of the user who logs in, where the test is root. No account of the
// machine has it.
const uid = 54_022

// Host is an sshd of its own on loopback, with one user who can log in. Where
// the test runs as root on Linux that is one that only this sshd knows, with its
// home under Dir, and StrictModes is on; elsewhere it is the test's own user.
type Host struct {
	Addr           string // host:port
	User           string
	Dir            string // removed when the test ends
	Home           string // the user's
	AuthorizedKeys string // the file, empty at first
	HostKey        string // "ssh-ed25519 AAAA…"
	KnownHosts     string // a known_hosts file with that key

	t       testing.TB
	log     string
	process *servertest.Process
	group   int
	own     bool // the user is the test's
}

// Target is the login, as the provider's option hosts has it.
func (h *Host) Target() string { return h.User + "@" + h.Addr }

// Start starts an sshd that ends with the test. More lines for its config can be
// given. Where there is no sshd the test is skipped, or fails under
// SECRETCTL_TEST_STRICT.
func Start(t testing.TB, config ...string) *Host {
	t.Helper()
	path := servertest.Program(t, "sshd", "/usr/sbin/sshd", "/usr/local/sbin/sshd")
	var account servertest.Account // root
	own := os.Getuid() != 0 || runtime.GOOS != "linux"
	if own {
		account = servertest.Unprivileged(t)
	}
	dir := account.Dir(t)
	require.NoError(t, os.Chmod(dir, 0o755)) // the user's way home
	h := &Host{own: own, Dir: dir, Home: filepath.Join(dir, "home"), t: t, log: filepath.Join(dir, "log"), KnownHosts: filepath.Join(dir, "known_hosts")}
	h.AuthorizedKeys = filepath.Join(h.Home, ".ssh", "authorized_keys")
	require.NoError(t, os.MkdirAll(filepath.Dir(h.AuthorizedKeys), 0o700))
	require.NoError(t, os.WriteFile(h.AuthorizedKeys, nil, 0o600))
	if own {
		me, err := user.Current()
		require.NoError(t, err)
		h.User = me.Username
	} else {
		h.User = "deploy"
		for _, p := range []string{h.Home, filepath.Dir(h.AuthorizedKeys), h.AuthorizedKeys} {
			require.NoError(t, os.Chown(p, uid, uid))
		}
	}
	h.hostKey()
	h.write("sshd_config", strings.Join(append(config, // the first of two settings holds
		"ListenAddress 127.0.0.1",
		"HostKey "+filepath.Join(dir, "host_key"),
		"PidFile none",
		"LogLevel VERBOSE",
		"AuthorizedKeysFile "+h.AuthorizedKeys,
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"UsePAM no",
		"MaxStartups 100",
		"StrictModes "+map[bool]string{true: "no", false: "yes"}[own],
	), "\n")+"\n")

	for range 5 { // a free port may be taken by another until sshd has it
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		h.Addr = l.Addr().String()
		require.NoError(t, l.Close())
		_, port, err := net.SplitHostPort(h.Addr)
		require.NoError(t, err)
		if h.start(account, path, port) {
			require.NoError(t, os.WriteFile(h.KnownHosts, []byte("[127.0.0.1]:"+port+" "+h.HostKey+"\n"), 0o600))
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("%s said:\n%s", h.Addr, h.Log())
				}
			})
			return h
		}
	}
	t.Fatalf("sshd does not start: %s", h.Log())
	return nil
}

// hostKey makes the host's key.
func (h *Host) hostKey() {
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(h.t, err)
	p, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(h.t, err)
	var text strings.Builder
	require.NoError(h.t, pem.Encode(&text, p))
	h.write("host_key", text.String())
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(h.t, err)
	h.HostKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

func (h *Host) write(name, text string) {
	require.NoError(h.t, os.WriteFile(filepath.Join(h.Dir, name), []byte(text), 0o600))
}

// start runs sshd until it listens, and reports whether it does.
func (h *Host) start(account servertest.Account, path, port string) bool {
	args := []string{path, "-D", "-e", "-f", filepath.Join(h.Dir, "sshd_config"), "-p", port}
	if !h.own {
		// An /etc that only this process and its children see. A mount on /etc/passwd
		// itself would be gone as soon as anybody adds a user to the machine.
		passwd, err := os.ReadFile("/etc/passwd")
		require.NoError(h.t, err)
		etc := filepath.Join(h.Dir, "etc")
		require.NoError(h.t, os.MkdirAll(etc, 0o755))
		require.NoError(h.t, os.WriteFile(filepath.Join(etc, "passwd"), fmt.Appendf(passwd, "%s:*:%d:%d::%s:/bin/sh\n", h.User, uid, uid, h.Home), 0o644))
		require.NoError(h.t, os.MkdirAll("/run/sshd", 0o755)) // where sshd wants an empty directory
		// With a process namespace, no login outlives the server.
		args = append([]string{"unshare", "-m", "-p", "-f", "--kill-child", "sh", "-c", `mount -t overlay -o "lowerdir=$0:/etc" none /etc && exec "$@"`, etc}, args...)
	}
	cmd := account.Command(h.t, "/", args[0], args[1:]...)
	cmd.SysProcAttr.Setpgid = true
	log, err := os.Create(h.log)
	require.NoError(h.t, err)
	defer log.Close()
	cmd.Stderr = log
	h.process = servertest.Start(h.t, cmd)
	h.group = cmd.Process.Pid
	return h.process.Ready(func() bool { return strings.Contains(h.Log(), "Server listening on ") })
}

// Stop ends the server and every session in it. It can be called again.
func (h *Host) Stop() { h.process.Kill() }

// Pause makes the server, and what has begun to log in, stand still until the
// test ends: connections are accepted and nothing is said on them.
func (h *Host) Pause() { require.NoError(h.t, syscall.Kill(-h.group, syscall.SIGSTOP)) }

// Settle waits until no login is left, nor anything that one began. It knows
// that on Linux alone.
func (h *Host) Settle() {
	h.t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	sshd := h.group
	if !h.own { // unshare is between
		found := children(h.group)
		require.Len(h.t, found, 1)
		sshd = found[0]
	}
	require.Eventually(h.t, func() bool { return len(children(sshd)) == 0 }, time.Minute, time.Millisecond)
}

func children(of int) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		text, _ := os.ReadFile(path) // it may have ended
		var state string
		var parent, pid int
		_, after, _ := strings.Cut(string(text), ") ") // the name is in brackets
		if n, _ := fmt.Sscan(after, &state, &parent); n == 2 && parent == of {
			_, _ = fmt.Sscan(string(text), &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// Log is what the server said so far.
func (h *Host) Log() string {
	b, err := os.ReadFile(h.log)
	require.NoError(h.t, err)
	return string(b)
}

// Authorize replaces what is in the authorized_keys file.
func (h *Host) Authorize(text string) {
	h.t.Helper()
	require.NoError(h.t, os.WriteFile(h.AuthorizedKeys, []byte(text), 0o600))
}

// Authorized returns what is in the authorized_keys file.
func (h *Host) Authorized() string {
	h.t.Helper()
	b, err := os.ReadFile(h.AuthorizedKeys)
	require.NoError(h.t, err)
	return string(b)
}

// Key makes a private key as ssh-keygen does, whose secret bytes are a canary,
// and the public one as authorized_keys has it, with the name for a comment. The
// same name gives the same key.
func Key(t testing.TB, name string) (secret.Value, string) {
	t.Helper()
	private := ed25519.NewKeyFromSeed([]byte(canary.New(t, name))[:ed25519.SeedSize])
	p, err := ssh.MarshalPrivateKey(private, name)
	require.NoError(t, err)
	var text strings.Builder
	require.NoError(t, pem.Encode(&text, p))
	v, err := secret.New([]byte(text.String()))
	require.NoError(t, err)
	t.Cleanup(v.Clear)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	return v, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " " + name
}

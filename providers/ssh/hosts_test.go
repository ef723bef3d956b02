package ssh_test

import (
	"context"
	"crypto/ed25519"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/servertest"
	"secretctl/providers/ssh"
	"secretctl/providers/ssh/sshtest"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	_, line := sshtest.Key(t, "host")
	key := strings.Join(strings.Fields(line)[:2], " ")
	_, err := openKind(map[string]any{"hosts": []string{"me@web"}, "host_keys": []string{key}, "self": true})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		set    map[string]any
		option string
	}{
		"no host":         {map[string]any{"hosts": []string{}}, "hosts"},
		"no user":         {map[string]any{"hosts": []string{"web"}}, "hosts"},
		"an option":       {map[string]any{"hosts": []string{"-oProxyCommand=x@web"}}, "hosts"},
		"blank":           {map[string]any{"hosts": []string{"me @web"}}, "hosts"},
		"no name":         {map[string]any{"hosts": []string{"me@"}}, "hosts"},
		"port 0":          {map[string]any{"hosts": []string{"me@web:0"}}, "hosts"},
		"a large port":    {map[string]any{"hosts": []string{"me@web:65536"}}, "hosts"},
		"bare IPv6":       {map[string]any{"hosts": []string{"me@fe80::1"}}, "hosts"},
		"twice":           {map[string]any{"hosts": []string{"me@web", "me@WEB:22"}}, "hosts"},
		"no keys":         {map[string]any{"host_keys": nil}, ""},
		"both":            {map[string]any{"known_hosts": "/etc/ssh/known_hosts"}, "host_keys"},
		"a relative path": {map[string]any{"host_keys": nil, "known_hosts": "~/.ssh/known_hosts"}, "known_hosts"},
		"a key of others": {map[string]any{"host_keys": []string{"other " + key}}, "host_keys"},
		"no key":          {map[string]any{"host_keys": []string{"web ssh-ed25519"}}, "host_keys"},
		"a pattern":       {map[string]any{"host_keys": []string{"* " + key}}, "host_keys"},
		"a marker":        {map[string]any{"host_keys": []string{"@revoked web " + key}}, "host_keys"},
		"no way in":       {map[string]any{"self": false}, ""},
		"two ways in":     {map[string]any{"admin": secret.Name("own/admin")}, "self"},
		"no file":         {map[string]any{"authorized_keys": ""}, "authorized_keys"},
		"a directory":     {map[string]any{"authorized_keys": ".ssh/"}, "authorized_keys"},
		"a home":          {map[string]any{"authorized_keys": "~/.ssh/authorized_keys"}, "authorized_keys"},
		"a line more":     {map[string]any{"comment": "a\nb"}, "comment"},
		"a long comment":  {map[string]any{"comment": strings.Repeat("x", 201)}, "comment"},
	} {
		set := map[string]any{"hosts": []string{"me@web"}, "host_keys": []string{key}, "self": true}
		for k, v := range c.set {
			set[k] = v
			if v == nil {
				delete(set, k)
			}
		}
		_, err := openKind(set)
		var wrong *providers.OptionError
		require.ErrorAs(t, err, &wrong, name)
		require.Equal(t, c.option, wrong.Option, name)
		require.NotEmpty(t, wrong.Remedy, name)
	}
	for _, hosts := range []string{"me@web", "me@10.0.0.1:2222", "me@corp@web.example.com", "me@[fe80::1]", "me@[fe80::1%eth0]:2222"} {
		_, err := openKind(map[string]any{"hosts": []string{hosts}, "host_keys": []string{key}, "self": true})
		require.NoError(t, err, hosts)
	}
}

// TestKnownHosts: the file is read at each login, hashed names too, and what is
// wrong with it is said.
func TestKnownHosts(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t)
	path := filepath.Join(t.TempDir(), "known_hosts")
	w := newWorldOf(t, true, []*sshtest.Host{h}, map[string]any{"host_keys": nil, "known_hosts": path})
	check := func() error {
		_, err := w.rotator.Check(t.Context(), w.call())
		return err
	}
	w.fails(check(), providers.DefinitelyNot, providers.CodeOptions, "is not there")
	for _, c := range []struct {
		text string
		mode os.FileMode
		says string
	}{
		{"other " + h.HostKey, 0o600, "is not in the known_hosts file"},
		{"junk", 0o600, "is not one"},
		{"[127.0.0.1]:" + port(h) + " " + h.HostKey, 0o622, "could be changed by others"},
		{"@revoked * " + h.HostKey + "\n[127.0.0.1]:" + port(h) + " " + h.HostKey, 0o600, "another host key"},
		{"[127.0.0.1]:" + port(h) + " " + h.HostKey, 0o644, ""},
		{knownhosts.HashHostname("[127.0.0.1]:"+port(h)) + " " + h.HostKey, 0o644, ""},
	} {
		require.NoError(t, os.WriteFile(path, []byte(c.text+"\n"), 0o600))
		require.NoError(t, os.Chmod(path, c.mode))
		if err := check(); c.says != "" {
			e := w.fails(err, providers.DefinitelyNot, providers.CodeOptions, c.says)
			require.NotEmpty(t, e.Remedy)
		} else {
			require.NoError(t, err)
		}
	}
}

// TestKnownHostsOfAgents: whoever could write the file, or put another in its
// place, would say which machine is the host. Nothing is dialled with it.
func TestKnownHostsOfAgents(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		servertest.Missing(t, "needs root: a second uid")
	}
	h := sshtest.Start(t)
	dir := filepath.Join(t.TempDir(), "a")
	require.NoError(t, os.Mkdir(dir, 0o755))
	path := filepath.Join(dir, "known_hosts")
	require.NoError(t, os.WriteFile(path, []byte("[127.0.0.1]:"+port(h)+" "+h.HostKey+"\n"), 0o644))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(path, link))
	const agent = 54321
	for _, at := range []string{path, link} {
		w := newWorldOf(t, true, []*sshtest.Host{h}, map[string]any{"host_keys": nil, "known_hosts": at})
		for what, way := range map[string][2]func() error{
			"its owner":             {func() error { return os.Chown(path, agent, agent) }, func() error { return os.Chown(path, 0, 0) }},
			"its directory":         {func() error { return os.Chmod(dir, 0o777) }, func() error { return os.Chmod(dir, 0o755) }},
			"its directory's owner": {func() error { return os.Chown(dir, agent, agent) }, func() error { return os.Chown(dir, 0, 0) }},
			"the link's owner":      {func() error { return os.Lchown(link, agent, agent) }, func() error { return os.Lchown(link, 0, 0) }},
		} {
			c := w.call()
			_, err := w.rotator.Check(t.Context(), c)
			require.NoError(t, err)
			h.Settle()
			log := h.Log()
			require.NoError(t, way[0]())
			_, err = w.rotator.Check(t.Context(), c)
			require.NoError(t, way[1]())
			if at == path && what == "the link's owner" {
				require.NoError(t, err)
				continue
			}
			e := w.fails(err, providers.DefinitelyNot, providers.CodeOptions, "the known_hosts file could be changed by others")
			require.NotEmpty(t, e.Remedy, what)
			require.Equal(t, log, h.Log(), "%s: the host was asked all the same", what)
		}
	}
}

// TestTakenOut: a host that a key is installed on and the config no longer names
// is not forgotten, however the key came there.
func TestTakenOut(t *testing.T) {
	t.Parallel()
	for name, self := range map[string]bool{"self": true, "admin": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := newWorld(t, self, 2)
			w := newWorldOf(t, self, all.hosts[:1], nil)
			w.rotator = all.rotator
			w.hosts = all.hosts
			c := w.call()
			w.hosts[1].Authorize(w.file(w.line))
			next := w.issue(c)
			both := w.rotator
			only := newWorldOf(t, self, all.hosts[:1], nil).rotator
			w.hosts[0].Authorize(w.file(w.line, next.Facts["public_key"]))

			// The old one is of before the second host, as its Facts have it, and of both as
			// the new one's have it.
			for _, cred := range []*providers.Credential{c.Old, next} {
				other := c.Old
				if cred == c.Old {
					other = next
				}
				err := only.Revoke(t.Context(), c, cred)
				e := w.fails(err, providers.Unknown, providers.CodeOptions, "may still log in at "+w.hosts[1].Target())
				require.Contains(t, e.Remedy, w.hosts[1].Target())
				require.Contains(t, e.Remedy, "secretctl rotate --give-up ssh/deploy")
				require.Equal(t, w.file(other.Facts["public_key"]), strings.ReplaceAll(w.hosts[0].Authorized(), " old", ""), "what can be removed is")
				w.hosts[0].Authorize(w.file(w.line, next.Facts["public_key"]))
			}
			require.NoError(t, both.Revoke(t.Context(), c, c.Old), "put back")
			w.refuses(c, c.Old)

			// A host that came after the new key was made would not be in its Facts.
			c = &providers.Call{Secret: c.Secret, Tag: c.Tag, Old: next, Own: c.Own}
			made, err := only.(providers.Chooser).Choose(t.Context(), c)
			require.NoError(t, err)
			_, err = both.Issue(t.Context(), c, made)
			e := w.fails(err, providers.DefinitelyNot, providers.CodeOptions, w.hosts[1].Target()+" came into the config")
			require.Contains(t, e.Remedy, "secretctl rotate ssh/deploy")
		})
	}
}

func port(h *sshtest.Host) string { return h.Addr[strings.LastIndexByte(h.Addr, ':')+1:] }

// TestTwoHostKeys: the host is asked for the key that is known, whichever it
// would rather show.
func TestTwoHostKeys(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ecdsa")
	run(t, "ssh-keygen", "-q", "-N", "", "-t", "ecdsa", "-f", path)
	newWorldOf(t, true, []*sshtest.Host{sshtest.Start(t, "HostKey "+path)}, nil).rotate()
}

// TestWrongHostKey: nothing is shown to a machine that is not the host.
func TestWrongHostKey(t *testing.T) {
	t.Parallel()
	h := sshtest.Start(t, "LogLevel DEBUG1")
	_, other := sshtest.Key(t, "other")
	key := strings.Join(strings.Fields(other)[:2], " ")
	w := newWorldOf(t, true, []*sshtest.Host{h}, map[string]any{"host_keys": []string{key}})
	c := w.call()
	_, err := w.rotator.Check(t.Context(), c)
	w.fails(err, providers.DefinitelyNot, providers.CodeOptions, "another host key")
	next := w.choose(c)
	_, err = w.rotator.Issue(t.Context(), c, next)
	w.fails(err, providers.DefinitelyNot, providers.CodeOptions, "another host key")
	c.New = next
	w.fails(w.rotator.Revoke(t.Context(), c, c.Old), providers.DefinitelyNot, providers.CodeOptions, "another host key")
	_, err = w.rotator.Verify(t.Context(), c, c.Old)
	w.fails(err, providers.Unknown, providers.CodeOptions, "another host key")
	require.Contains(t, h.Log(), "Connection from", "it was the host that was asked")
	require.NotContains(t, h.Log(), "userauth", "and it was told no user and no key")
	require.Equal(t, w.file(w.line), h.Authorized())

	w = newWorldOf(t, true, []*sshtest.Host{h}, nil)
	w.rotate()
	require.Contains(t, h.Log(), "userauth", "what is looked for is what a login leaves")
}

// TestOneOfThreeDown: nothing is issued on two of three hosts, a key is not
// called refused by a host that says nothing, and what can be removed is.
func TestOneOfThreeDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false, 3)
	c := w.call()
	next := w.choose(c)
	w.hosts[1].Stop()

	_, err := w.rotator.Check(t.Context(), c)
	w.fails(err, providers.DefinitelyNot, providers.CodeUnavailable, w.hosts[1].Target())
	_, err = w.rotator.Issue(t.Context(), c, next)
	w.fails(err, providers.DefinitelyNot, providers.CodeUnavailable, w.hosts[1].Target())
	require.Equal(t, w.file(w.line), w.hosts[0].Authorized())
	_, err = w.rotator.Verify(t.Context(), c, next)
	w.fails(err, providers.Unknown, providers.CodeUnavailable, w.hosts[1].Target())

	newLine := next.Facts["public_key"] + " x"
	w.hosts[0].Authorize(w.file(w.line, newLine))
	w.hosts[2].Authorize(w.file(w.line, newLine))
	c.New = next
	err = w.rotator.Revoke(t.Context(), c, c.Old)
	w.fails(err, providers.Unknown, providers.CodeUnavailable, w.hosts[1].Target())
	require.Equal(t, w.file(newLine), w.hosts[0].Authorized())
	require.Equal(t, w.file(newLine), w.hosts[2].Authorized())
}

// TestHalfIssued: a key that one host takes and another does not is invalid when
// it is new, and alive when it is old.
func TestHalfIssued(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true, 2)
	c := w.call()
	next := w.choose(c)
	w.hosts[0].Authorize(w.line + "\n" + next.Facts["public_key"] + "\n")
	_, err := w.rotator.Verify(t.Context(), c, next)
	w.fails(err, providers.DefinitelyNot, providers.CodeInvalid, w.hosts[1].Target())

	c.New = w.issue(c)
	w.hosts[0].Authorize(c.New.Facts["public_key"] + "\n")
	_, err = w.rotator.Verify(t.Context(), c, c.Old)
	w.fails(err, providers.Unknown, providers.CodeUnavailable, w.hosts[1].Target()+" accepts it")
	require.NoError(t, w.rotator.Revoke(t.Context(), c, c.Old))
	w.refuses(c, c.Old)
}

// TestHung: a context ends a call in every phase of it.
func TestHung(t *testing.T) {
	t.Parallel()
	hung := func(w *world) {
		w.Helper()
		c := w.call()
		next := w.choose(c)
		c.New = next
		for name, call := range map[string]func(context.Context) error{
			"check":  func(ctx context.Context) error { _, err := w.rotator.Check(ctx, c); return err },
			"issue":  func(ctx context.Context) error { _, err := w.rotator.Issue(ctx, c, next); return err },
			"revoke": func(ctx context.Context) error { return w.rotator.Revoke(ctx, c, c.Old) },
		} {
			ctx, cancel := context.WithTimeout(w.Context(), 500*time.Millisecond)
			began := time.Now()
			err := call(ctx)
			cancel()
			require.Less(w, time.Since(began), 5*time.Second, name)
			w.fails(err, providers.DefinitelyNot, providers.CodeUnavailable, "did not answer in time")
		}
	}
	t.Run("accept", func(t *testing.T) { // connected by the kernel, and nobody answers
		w := newWorld(t, true, 1)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		_, line := sshtest.Key(t, "host")
		w.use(open(t, map[string]any{"hosts": []string{"me@" + l.Addr().String()}, "host_keys": []string{strings.Join(strings.Fields(line)[:2], " ")}, "self": true}))
		hung(w)
	})
	t.Run("handshake", func(t *testing.T) {
		w := newWorld(t, true, 1)
		w.hosts[0].Pause()
		hung(w)
	})
	t.Run("session", func(t *testing.T) {
		w := newWorld(t, false, 1)
		w.hosts[0].Authorize(w.line + "\n" + `command="exec sleep 60" ` + w.admin + "\n")
		hung(w)
	})
}

// TestServers: what other servers may do proves nothing.
func TestServers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config gossh.ServerConfig
		code   providers.Code
		says   string
	}{
		"lets everybody in": {gossh.ServerConfig{NoClientAuth: true}, providers.CodeOptions, "lets everybody in"},
		"no keys": {gossh.ServerConfig{
			PasswordCallback: func(gossh.ConnMetadata, []byte) (*gossh.Permissions, error) { return nil, nil },
		}, providers.CodeUnsupported, "takes no keys"},
		"more than a key": {gossh.ServerConfig{
			PublicKeyCallback: func(gossh.ConnMetadata, gossh.PublicKey) (*gossh.Permissions, error) {
				return nil, &gossh.PartialSuccessError{Next: gossh.ServerAuthCallbacks{
					PasswordCallback: func(gossh.ConnMetadata, []byte) (*gossh.Permissions, error) { return nil, nil },
				}}
			},
		}, providers.CodeUnsupported, "asks for more than a key"},
		"unsafe algorithms": {gossh.ServerConfig{
			Config:           gossh.Config{KeyExchanges: []string{gossh.InsecureKeyExchangeDH1SHA1}},
			PasswordCallback: func(gossh.ConnMetadata, []byte) (*gossh.Permissions, error) { return nil, nil },
		}, providers.CodeOptions, "none of the algorithms"},
		"cut while asking": {gossh.ServerConfig{
			PublicKeyCallback: func(m gossh.ConnMetadata, _ gossh.PublicKey) (*gossh.Permissions, error) {
				cut <- m.RemoteAddr().String()
				<-cutDone
				return nil, os.ErrClosed
			},
		}, providers.CodeUnavailable, "ended the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			_, private, err := ed25519.GenerateKey(nil)
			require.NoError(t, err)
			signer, err := gossh.NewSignerFromKey(private)
			require.NoError(t, err)
			c.config.AddHostKey(signer)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			done := make(chan struct{})
			go func() {
				defer close(done)
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				go func() {
					select {
					case <-cut:
						conn.Close()
						cutDone <- struct{}{}
					case <-done:
					}
				}()
				if s, _, _, err := gossh.NewServerConn(conn, &c.config); err == nil {
					_ = s.Wait()
				}
			}()
			defer func() { l.Close(); <-done }()
			r := open(t, map[string]any{"hosts": []string{"me@" + l.Addr().String()}, "host_keys": []string{strings.TrimSpace(string(gossh.MarshalAuthorizedKey(signer.PublicKey())))}, "self": true})
			v, _ := sshtest.Key(t, "old")
			w := &world{T: t, rotator: r, current: &providers.Credential{Value: v}}
			_, err = r.Verify(t.Context(), w.call(), w.current)
			w.fails(err, providers.Unknown, c.code, c.says)
		})
	}
}

var cut, cutDone = make(chan string), make(chan struct{})

func openKind(set map[string]any) (providers.Rotator, error) {
	kind := ssh.Kind()
	o, err := kind.NewOptions(set)
	if err != nil {
		return nil, err
	}
	return kind.Open(o)
}

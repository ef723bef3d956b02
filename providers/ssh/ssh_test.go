package ssh_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/rotatortest"
	"secretctl/providers/ssh"
	"secretctl/providers/ssh/sshtest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	for _, self := range []bool{true, false} {
		t.Run(fmt.Sprintf("self=%v", self), func(t *testing.T) {
			rotatortest.Run(t, func(t *testing.T) *rotatortest.Service {
				w := newWorld(t, self, 1)
				return &rotatortest.Service{
					Kind: ssh.Kind(), Rotator: w.rotator,
					Call:  func(*testing.T) *providers.Call { return w.call() },
					Down:  func(*testing.T) { w.hosts[0].Stop() },
					Leaks: w.leaks,
				}
			})
		})
	}
}

// world is a provider with hosts, on each of which a key of its own can log in,
// and another that edits unless self is set.
type world struct {
	*testing.T
	hosts   []*sshtest.Host
	rotator providers.Rotator
	current *providers.Credential
	line    string // of the first current
	admin   string // its line; "" with self
	minted  []secret.Value
	calls   int
}

func newWorld(t *testing.T, self bool, n int) *world {
	var hosts []*sshtest.Host
	for range n {
		hosts = append(hosts, sshtest.Start(t))
	}
	return newWorldOf(t, self, hosts, nil)
}

func newWorldOf(t *testing.T, self bool, hosts []*sshtest.Host, set map[string]any) *world {
	w := &world{T: t, hosts: hosts}
	var targets, keys []string
	for _, h := range hosts {
		targets = append(targets, h.Target())
		keys = append(keys, fmt.Sprintf("[127.0.0.1]:%s %s", h.Addr[strings.LastIndexByte(h.Addr, ':')+1:], h.HostKey))
	}
	v, line := sshtest.Key(t, "old")
	w.current, w.line = &providers.Credential{Value: v}, line
	all := map[string]any{"hosts": targets, "host_keys": keys, "authorized_keys": hosts[0].AuthorizedKeys}
	if len(hosts) > 1 || os.Getuid() == 0 {
		delete(all, "authorized_keys")
	}
	if self {
		all["self"] = true
	} else {
		_, w.admin = sshtest.Key(t, "admin")
		all["admin"] = secret.Name("own/admin")
	}
	for name, v := range set {
		all[name] = v
		if v == nil {
			delete(all, name)
		}
	}
	w.use(open(t, all))
	for _, h := range hosts {
		h.Authorize(w.file(line))
	}
	return w
}

// use has the current key be one of the rotator's hosts.
func (w *world) use(r providers.Rotator) {
	w.rotator = r
	require.NoError(w, r.(providers.Identifier).Identify(w.Context(), nil, w.current))
}

// file is an authorized_keys file with lines, and the admin's.
func (w *world) file(lines ...string) string {
	if w.admin != "" {
		lines = append(lines, w.admin)
	}
	return strings.Join(lines, "\n") + "\n"
}

func open(t testing.TB, set map[string]any) providers.Rotator {
	kind := ssh.Kind()
	o, err := kind.NewOptions(set)
	require.NoError(t, err)
	r, err := kind.Open(o)
	require.NoError(t, err)
	return r
}

func (w *world) call() *providers.Call {
	w.calls++
	return &providers.Call{
		Secret: "ssh/deploy", Tag: fmt.Sprintf("secretctl/ssh/deploy/%d", w.calls), Old: w.current,
		Own: func(_ context.Context, name secret.Name) (secret.Value, error) {
			require.Equal(w, secret.Name("own/admin"), name)
			v, _ := sshtest.Key(w, "admin")
			return v, nil
		},
	}
}

func (w *world) choose(c *providers.Call) *providers.Credential {
	w.Helper()
	next, err := w.rotator.(providers.Chooser).Choose(w.Context(), c)
	require.NoError(w, err)
	w.Cleanup(next.Value.Clear)
	w.minted = append(w.minted, next.Value)
	return next
}

// issue makes a new key and puts it everywhere.
func (w *world) issue(c *providers.Call) *providers.Credential {
	w.Helper()
	next := w.choose(c)
	got, err := w.rotator.Issue(w.Context(), c, next)
	require.NoError(w, err)
	require.True(w, got.Value.Equal(next.Value))
	c.New = next
	return next
}

// rotate is a whole rotation.
func (w *world) rotate() {
	w.Helper()
	c := w.call()
	_, err := w.rotator.Check(w.Context(), c)
	require.NoError(w, err)
	next := w.issue(c)
	w.accepts(c, next)
	w.accepts(c, c.Old)
	require.NoError(w, w.rotator.Revoke(w.Context(), c, c.Old))
	w.refuses(c, c.Old)
	w.accepts(c, next)
	w.current = next
}

func (w *world) accepts(c *providers.Call, cred *providers.Credential) {
	w.Helper()
	_, err := w.rotator.Verify(w.Context(), c, cred)
	require.NoError(w, err)
}

func (w *world) refuses(c *providers.Call, cred *providers.Credential) {
	w.Helper()
	_, err := w.rotator.Verify(w.Context(), c, cred)
	w.fails(err, providers.DefinitelyNot, providers.CodeInvalid, "refuses the key")
}

func (w *world) fails(err error, o providers.Outcome, code providers.Code, says string) *providers.CallError {
	w.Helper()
	var call *providers.CallError
	require.ErrorAs(w, err, &call)
	require.Equal(w, o, call.Outcome, "%v", err)
	require.Equal(w, code, call.Code, "%v", err)
	require.ErrorContains(w, err, says)
	w.leaks(w.T, call.Problem+call.Remedy)
	return call
}

// leaks looks for any line of a private key.
func (w *world) leaks(t *testing.T, text string) {
	t.Helper()
	for _, v := range append(w.minted, w.current.Value) {
		_ = v.Use(func(b []byte) error {
			for line := range strings.Lines(string(b)) {
				require.NotContains(t, text, strings.TrimSpace(line))
			}
			return nil
		})
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	n := 5
	if long() {
		n = 100
	}
	for _, self := range []bool{true, false} {
		t.Run(fmt.Sprintf("self=%v", self), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, self, 2)
			for range n {
				w.rotate()
			}
			for _, h := range w.hosts {
				require.Equal(t, w.file(w.current.Facts["public_key"]+fmt.Sprintf(" secretctl/ssh/deploy/%d", n)), h.Authorized())
				require.NotContains(t, h.Log(), "error")
			}
		})
	}
}

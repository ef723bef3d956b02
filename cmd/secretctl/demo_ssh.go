package main

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/builtin"
)

// demoHost is a real sshd of the demo's own, on loopback.
type demoHost struct {
	cmd     *exec.Cmd
	dir     string
	address string // host:port
	user    string
	hostKey string // its public half, as known_hosts has it
	key     []byte // the private key that logs in, until it is replaced
	made    string // a directory that sshd wanted; removed at the end
}

// sshdConfig is of the directory and the address.
const sshdConfig = `HostKey %[1]s/host_key
AuthorizedKeysFile %[1]s/authorized_keys
ListenAddress %[2]s
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
UsePAM no
StrictModes no
`

// startHost starts an sshd that lets this user in with a key of the demo's. It
// returns nil where there is none, or it lets nobody in.
func (d *demo) startHost(ctx context.Context) (*demoHost, error) {
	path := ""
	for _, name := range []string{"sshd", "/usr/sbin/sshd"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found // sshd starts itself again by it
		}
	}
	me, err := user.Current()
	if path == "" || err != nil {
		return nil, nil
	}
	h := &demoHost{dir: filepath.Join(d.dir, "sshd"), user: me.Username}
	if err := h.prepare(); err != nil {
		return nil, errors.Join(err, h.stop())
	}
	h.cmd = exec.Command(path, "-D", "-e", "-f", filepath.Join(h.dir, "sshd_config"))
	h.cmd.Dir = "/"
	if h.cmd.Start() != nil {
		h.cmd = nil
		return nil, h.stop()
	}
	for range 100 {
		if h.login(ctx, h.key) == nil {
			return h, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, h.stop()
		}
	}
	return nil, h.stop()
}

// prepare writes what the sshd is to have.
func (h *demoHost) prepare() error {
	if err := os.Mkdir(h.dir, 0o755); err != nil {
		return err
	}
	if privsep := "/run/sshd"; os.Getuid() == 0 {
		if os.Mkdir(privsep, 0o755) == nil {
			h.made = privsep
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	h.address = l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	host, hostKey, err := newKey()
	if err != nil {
		return err
	}
	key, authorized, err := newKey()
	if err != nil {
		return err
	}
	h.key, h.hostKey = key, strings.TrimSpace(string(hostKey))
	return errors.Join(
		os.WriteFile(filepath.Join(h.dir, "host_key"), host, 0o600),
		os.WriteFile(filepath.Join(h.dir, "authorized_keys"), authorized, 0o600),
		os.WriteFile(filepath.Join(h.dir, "sshd_config"), fmt.Appendf(nil, sshdConfig, h.dir, h.address), 0o600),
	)
}

// newKey makes a key pair as ssh-keygen does.
func newKey() (private, public []byte, err error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "demo")
	if err != nil {
		return nil, nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(block), ssh.MarshalAuthorizedKey(signer.PublicKey()), nil
}

// config is how the key is rotated.
func (h *demoHost) config() string {
	return fmt.Sprintf(`
[secret."deploy/ssh-key"]
rotate = { provider = "ssh", hosts = [%q], host_keys = [%q], authorized_keys = %q, self = true }
`, h.user+"@"+h.address, h.hostKey, filepath.Join(h.dir, "authorized_keys"))
}

// login logs in with a key, as a rotation does to prove one.
func (h *demoHost) login(ctx context.Context, key []byte) error {
	kind, _ := builtin.Find("ssh")
	options, err := kind.NewOptions(map[string]any{
		"hosts": []string{h.user + "@" + h.address}, "host_keys": []string{h.hostKey}, "self": true,
	})
	if err != nil {
		return err
	}
	r, err := kind.Open(options)
	if err != nil {
		return err
	}
	value, err := secret.New(append([]byte{}, key...))
	if err != nil {
		return err
	}
	defer value.Clear()
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	_, err = r.Verify(ctx, &providers.Call{}, &providers.Credential{Value: value})
	return err
}

// stop ends the sshd and removes what it wanted.
func (h *demoHost) stop() error {
	if h.cmd != nil {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
	}
	if h.made != "" {
		return os.Remove(h.made)
	}
	return nil
}

// rotateKey is the part of the demo in which an SSH key is replaced.
func (d *demo) rotateKey() []act {
	keys := filepath.Join(d.dir, "sshd", "authorized_keys")
	return []act{
		d.tell("A key that logs in on a real sshd, at %s.", d.host.address),
		d.run(step{input: string(d.host.key), shown: "secretctl set deploy/ssh-key < id_ed25519", args: []string{"set", "deploy/ssh-key"}, shows: "version 1"}),
		d.show("cat "+keys, func() (string, error) { return readText(keys) }),
		d.run(step{args: []string{"rotate", "--plan", "deploy/ssh-key"}, shows: "retire: end version 1"}),

		d.tell("It is replaced: the new key logs in before the old one's line goes."),
		d.run(step{args: []string{"rotate", "--wait", "deploy/ssh-key"}, shows: "done"}),
		d.show("cat "+keys, func() (string, error) { return readText(keys) }),
		d.refused,
		d.run(step{args: []string{"versions", "deploy/ssh-key"}, shows: "done"}),
	}
}

func readText(path string) (string, error) {
	b, err := os.ReadFile(path)
	return string(b), err
}

// show shows a command and what it would print.
func (d *demo) show(typed string, prints func() (string, error)) act {
	return func(context.Context) error {
		if err := d.showCommand(false, typed); err != nil {
			return err
		}
		text, err := prints()
		if err != nil {
			return err
		}
		return d.w.printf("%s", text)
	}
}

// refused has the host refuse the old key.
func (d *demo) refused(ctx context.Context) error {
	err := d.host.login(ctx, d.host.key)
	if providers.CodeOf(err) != providers.CodeInvalid {
		return fmt.Errorf("the old key must be refused, and is not: %w", err)
	}
	return d.tell("Whoever kept a copy of the old key: %v", err)(ctx)
}

// Package ssh is the provider of SSH keys that log in on hosts: ed25519 pairs
// whose public half is a line of authorized_keys there.
//
// It guards against locking anybody out, itself first. The new key's line is
// added beside the old one's and has logged in before that goes; a line is
// removed only over a login with another key whose line stays; and a file is
// replaced in one step by a whole copy in which every other byte is as it was,
// whenever the connection is cut. Nor is a key forgotten where the config no
// longer looks: its Facts name the hosts that have it. It also guards against a
// host that is not the one that is meant: a host key that is not known ends the
// connection before a key is shown. No agent, no ~/.ssh/config and no password is
// ever used.
//
// It does not see what sshd sees. That a line is in the file does not mean that
// sshd reads the file, so that a key is trusted, or called dead, only after a
// login. Logins that must be refused are among them: a host that punishes those
// (PerSourcePenalties of sshd, fail2ban) should spare the broker's address.
package ssh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"golang.org/x/crypto/ssh"

	"secretctl/broker/secret"
	"secretctl/providers"
)

const hostsExample = `["deploy@web1.example.com", "deploy@web2.example.com:2222"]`

// maxComment is how long a comment may be, in bytes: as long as a tag.
const maxComment = 200

// Kind describes the provider. The page that Docs names was read as it comes
// with OpenSSH 9.2.
func Kind() providers.Kind {
	return providers.Kind{
		Name:    "ssh",
		Summary: "an ed25519 key that logs in on hosts, in their authorized_keys",
		Shape:   providers.ShapeSet,
		Options: []providers.Option{
			{Name: "hosts", Type: providers.List, Required: true, Help: "where the key logs in: user@host[:port]", Example: hostsExample},
			{Name: "known_hosts", Type: providers.File, Help: "the known_hosts file with the hosts' keys, which nobody else may write", Example: `"/home/joel/.ssh/known_hosts"`},
			{Name: "host_keys", Type: providers.List, Help: "the hosts' keys themselves, instead of known_hosts", Example: `["web1.example.com ssh-ed25519 AAAA…"]`},
			{Name: "admin", Type: providers.Own, Help: "a key that may log in as the same users and run sh, to edit authorized_keys", Example: `"own/ssh-admin"`},
			{Name: "self", Type: providers.Switch, Help: "the key edits authorized_keys itself, instead of admin", Example: "true"},
			{Name: "authorized_keys", Type: providers.Text, Default: ".ssh/authorized_keys", Help: "the file that sshd reads, absolute or in the user's home", Example: `"/etc/ssh/keys/deploy"`},
			{Name: "comment", Type: providers.Text, Help: "what the key is called there; otherwise the rotation's tag", Example: `"deploy by secretctl"`},
		},
		Permission: "log in as the user and run sh, which may write the authorized_keys file and its directory",
		Docs:       "https://man.openbsd.org/sshd.8#AUTHORIZED_KEYS_FILE_FORMAT",
		Read:       "2026-11-26",
		Schedule:   "0 4 1 */3 *",
		Overlap:    true,
		Proofs:     1,
		Open:       open,
	}
}

// rotator is the provider with its options.
type rotator struct {
	hosts   []host
	keys    hostKeys
	admin   secret.Name // "" where the key edits its own line
	file    string
	comment string // "": the tag
}

func open(o providers.Options) (providers.Rotator, error) {
	wrong := func(option, problem, remedy string) error {
		return &providers.OptionError{Option: option, Problem: problem, Remedy: remedy}
	}
	hosts, err := parseHosts(o.List("hosts"))
	if err != nil {
		return nil, err
	}
	r := &rotator{hosts: hosts, admin: o.Own("admin"), file: o.Text("authorized_keys"), comment: o.Text("comment")}
	switch path, list := o.Text("known_hosts"), o.List("host_keys"); {
	case path == "" && len(list) == 0:
		return nil, wrong("", "nothing says how the hosts are known: host keys are always checked", `known_hosts = "/…/known_hosts", or host_keys = ["host ssh-ed25519 AAAA…"]`)
	case path != "" && len(list) > 0:
		return nil, wrong("host_keys", "known_hosts and host_keys are both set", "keep one of them")
	case path != "":
		r.keys = knownHosts(path)
	default:
		if r.keys, err = listedKeys(list, hosts); err != nil {
			return nil, err
		}
	}
	switch self := o.Switch("self"); {
	case r.admin == "" && !self:
		return nil, wrong("", "nothing says which key edits authorized_keys", `admin = "own/…", or self = true where the key itself may`)
	case r.admin != "" && self:
		return nil, wrong("self", "admin and self are both set", "keep one of them")
	}
	if r.file == "" || strings.HasSuffix(r.file, "/") || strings.HasPrefix(r.file, "~") || unprintable(r.file) {
		return nil, wrong("authorized_keys", fmt.Sprintf("%q is no path of a file", r.file), "an absolute path, or one in the user's home such as .ssh/authorized_keys")
	}
	if unprintable(r.comment) || len(r.comment) > maxComment || strings.TrimSpace(r.comment) != r.comment {
		return nil, wrong("comment", fmt.Sprintf("%q cannot be a key's comment", r.comment), fmt.Sprintf("one line of at most %d bytes, without blanks around it", maxComment))
	}
	return r, nil
}

func unprintable(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

// account is where the key logs in.
func (r *rotator) account() providers.Identity {
	var all []string
	for _, h := range r.hosts {
		all = append(all, h.text)
	}
	return providers.Identity{Account: strings.Join(all, " ")}
}

// Choose makes a key pair.
func (r *rotator) Choose(_ context.Context, c *providers.Call) (*providers.Credential, error) {
	v, public, err := newKey(r.commentOf(c))
	if err != nil {
		return nil, err
	}
	cred := &providers.Credential{Value: v}
	r.describe(cred, public)
	return cred, nil
}

func (r *rotator) commentOf(c *providers.Call) string {
	if r.comment != "" {
		return r.comment
	}
	return c.Tag
}

// Identify works out the public key. No host is asked: what was imported is on
// those of the config, or [rotator.Check] says where not.
func (r *rotator) Identify(_ context.Context, _ *providers.Call, cred *providers.Credential) error {
	k, err := parseKey(cred.Value)
	if err != nil {
		return err
	}
	defer k.Clear()
	r.describe(cred, k.PublicKey())
	return nil
}

// Check logs in everywhere as an edit would, and looks at the files.
func (r *rotator) Check(ctx context.Context, c *providers.Call) (providers.Identity, error) {
	files, old, err := r.openFiles(ctx, c)
	if err != nil {
		return providers.Identity{}, err
	}
	defer closeAll(files)
	for _, f := range files {
		content, missing, err := f.look(ctx)
		if err == nil && missing {
			err = f.trouble("missing")
		}
		if err == nil && old != nil && !holds(content, old) {
			if _, err = f.like(c, old); err != nil {
				return providers.Identity{}, err
			}
		}
		if err == nil && old != nil && expires(content, old) {
			err = f.dies(old)
		}
		if err != nil {
			return providers.Identity{}, err
		}
	}
	return r.account(), nil
}

// Issue adds the new key's line everywhere. It has logged in on every host
// before it changes the first.
func (r *rotator) Issue(ctx context.Context, c *providers.Call, next *providers.Credential) (*providers.Credential, error) {
	public, err := publicOf(next)
	if err != nil {
		return nil, err
	}
	// What its Facts do not name would keep its line, unseen, when it is taken out of
	// the config later.
	if known := hostsOf(next); known != nil {
		if added := without(r.hosts, known); added != nil {
			e := providers.Not(providers.CodeOptions, "%s came into the config after the new key was made", strings.Join(added, ", "))
			e.Remedy = fmt.Sprintf("secretctl rotate %s, which makes another", c.Secret)
			return nil, e
		}
	}
	files, old, err := r.openFiles(ctx, c)
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	any := false
	for _, f := range files {
		changed, err := f.apply(ctx, func(content []byte, missing bool) (*edit, error) {
			switch {
			case missing:
				return nil, f.trouble("missing")
			case holds(content, public):
				return nil, nil
			case old != nil && !holds(content, old):
				list, err := f.like(c, old)
				if err != nil {
					return nil, err
				}
				return appending(content, list, public, r.commentOf(c)), nil
			case old != nil && expires(content, old):
				return nil, f.dies(old)
			}
			return adding(content, old, public, r.commentOf(c)), nil
		})
		if err != nil {
			return nil, after(any, err)
		}
		any = any || changed
	}
	return next, nil
}

// openFiles logs in on every host with the key that edits the files while the
// old one is there. It returns the old key, nil where there is none.
func (r *rotator) openFiles(ctx context.Context, c *providers.Call) (files []*file, old ssh.PublicKey, err error) {
	if c.Old != nil {
		if old, err = publicOf(c.Old); err != nil {
			return nil, nil, err
		}
	}
	k, err := r.manager(ctx, c, c.Old)
	if err != nil {
		return nil, nil, err
	}
	defer k.Clear()
	for _, h := range r.hosts {
		f, err := r.openFile(ctx, h, k.Signer)
		if err != nil {
			closeAll(files)
			return nil, nil, err
		}
		files = append(files, f)
	}
	return files, old, nil
}

func closeAll(files []*file) {
	for _, f := range files {
		f.Close()
	}
}

// openFile logs in on a host with the key that edits the file.
func (r *rotator) openFile(ctx context.Context, h host, k ssh.Signer) (*file, error) {
	conn, err := r.login(ctx, h, k)
	if providers.CodeOf(err) == providers.CodeInvalid {
		e := providers.Not(providers.CodeDenied, "%s refuses the key that is to edit %s, %s", h.text, r.file, ssh.FingerprintSHA256(k.PublicKey()))
		e.Remedy = "put its line there: " + authorized(k.PublicKey())
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	return &file{conn, r.file}, nil
}

// manager opens the key that edits the files: the managing one or, where keys
// manage themselves, the given one. It must be cleared.
func (r *rotator) manager(ctx context.Context, c *providers.Call, self *providers.Credential) (*key, error) {
	if r.admin == "" {
		if self == nil {
			e := providers.Not(providers.CodeOptions, "there is no other key that could edit %s", r.file)
			e.Remedy = `name one: admin = "own/…"`
			return nil, e
		}
		return parseKey(self.Value)
	}
	v, err := c.Open(ctx, r.admin)
	if err != nil {
		return nil, err
	}
	defer v.Clear()
	k, err := parseKey(v)
	if err != nil {
		e := providers.Not(providers.CodeDenied, "%s is no private SSH key that opens without a passphrase", r.admin)
		e.Remedy = fmt.Sprintf("secretctl set %s < FILE", r.admin)
		return nil, e
	}
	return k, nil
}

// noLine is a file that does not hold the key that logs in.
func (f *file) noLine(k ssh.PublicKey) error {
	return &providers.CallError{
		Outcome: providers.DefinitelyNot, Code: providers.CodeOptions,
		Problem: fmt.Sprintf("%s on %s does not hold the key %s", f.path, f.host.text, ssh.FingerprintSHA256(k)),
		Remedy:  "set authorized_keys to the file that has it; keys that a command or a directory service gives sshd (sshd -T | grep authorizedkeys) cannot be replaced so",
	}
}

// like returns the options of the old key's line, which is not in the file. They
// are known of a key that was ended with none in its place; without them the new
// key could do more than that one.
func (f *file) like(c *providers.Call, old ssh.PublicKey) (list string, err error) {
	if !c.Dead {
		return "", f.noLine(old)
	}
	list, ok := c.Old.Facts[factOptions+f.host.text]
	if !ok || hasOption([]byte(list), "expiry-time") {
		return "", &providers.CallError{
			Outcome: providers.DefinitelyNot, Code: providers.CodeOptions,
			Problem: fmt.Sprintf("%s on %s does not hold the key %s any more, and it is not known which options a new one may have", f.path, f.host.text, ssh.FingerprintSHA256(old)),
			Remedy:  "make a key by hand, add its line there, then: secretctl set " + string(c.Secret),
		}
	}
	return list, nil
}

// dies is a line whose options end the key at a time: the new key's line would
// have them, and that time may be near.
func (f *file) dies(k ssh.PublicKey) error {
	return &providers.CallError{
		Outcome: providers.DefinitelyNot, Code: providers.CodeOptions,
		Problem: fmt.Sprintf("the line of the key %s in %s on %s has the option expiry-time, which would end the new key too", ssh.FingerprintSHA256(k), f.path, f.host.text),
		Remedy:  "take expiry-time out of the line there: rotation is what ends the key",
	}
}

// after is the error of a call that had done a part of its work before.
func after(some bool, err error) error {
	call := (*providers.CallError)(nil)
	if !some || !errors.As(err, &call) {
		return err
	}
	e := *call
	e.Outcome = providers.Unknown
	return &e
}

// Find has only comments to go by, which anybody may have written.
func (*rotator) Find(context.Context, *providers.Call) ([]providers.Credential, error) {
	return nil, providers.Not(providers.CodeUnsupported, "lines of authorized_keys are not found by their comments")
}

// Verify logs in everywhere and does nothing there, so that a key for one
// command is verified too. One host that refuses the new key makes it invalid;
// the old one is invalid when all do, since it is alive where any takes it. A
// host that does not say leaves it unknown.
func (r *rotator) Verify(ctx context.Context, c *providers.Call, cred *providers.Credential) (providers.Identity, error) {
	k, err := parseKey(cred.Value)
	if err != nil {
		return providers.Identity{}, err
	}
	defer k.Clear()
	var refuses error
	accepts := ""
	for _, h := range r.hosts {
		conn, err := r.login(ctx, h, k.Signer)
		switch {
		case err == nil:
			conn.Close()
			accepts = h.text
		case providers.CodeOf(err) == providers.CodeInvalid:
			if refuses == nil {
				refuses = err
			}
		default:
			return providers.Identity{}, after(true, err)
		}
	}
	if refuses != nil && accepts != "" && r.isOld(c, k.PublicKey()) {
		return providers.Identity{}, providers.Maybe(providers.CodeUnavailable, "%s, and %s accepts it", refuses, accepts)
	}
	if refuses != nil {
		return providers.Identity{}, refuses
	}
	return r.account(), nil
}

func (*rotator) isOld(c *providers.Call, k ssh.PublicKey) bool {
	if c.Old == nil {
		return false
	}
	old, err := publicOf(c.Old)
	return err == nil && same(old, k)
}

// Disable could comment the line out. That is an edit like Revoke's, and as hard
// to undo from outside.
func (*rotator) Disable(context.Context, *providers.Call, *providers.Credential) error {
	return providers.Not(providers.CodeUnsupported, "a key is removed from authorized_keys or left there")
}

// Revoke removes the key's line on every host that can be reached, logged in
// with another key whose line stays.
func (r *rotator) Revoke(ctx context.Context, c *providers.Call, cred *providers.Credential) error {
	public, err := publicOf(cred)
	if err != nil {
		return err
	}
	// The one that stays: the new key while the old goes, and the old where a
	// rotation is rolled back.
	other := c.New
	if !r.isOld(c, public) {
		other = c.Old
	}
	var stays ssh.PublicKey
	if other != nil {
		if stays, err = publicOf(other); err != nil {
			return err
		}
	}
	k, err := r.manager(ctx, c, other)
	if err != nil {
		return err
	}
	defer k.Clear()
	if same(k.PublicKey(), public) {
		return providers.Not(providers.CodeOptions, "the key that is to be removed is the one that would remove it")
	}
	var problems []error
	// Where the new key was put, the old one was found.
	if left := without(append(hostsOf(cred), hostsOf(c.New)...), r.hosts); left != nil {
		problems = append(problems, outOfReach(c, public, left))
	}
	any := false
	facts := maps.Clone(cred.Facts)
	if facts == nil {
		facts = make(map[string]string)
	}
	for _, h := range r.hosts {
		changed, err := r.remove(ctx, h, k.Signer, public, stays, facts)
		any = any || changed
		if err != nil {
			problems = append(problems, err)
		}
	}
	cred.Facts = facts
	return all(any, problems)
}

// outOfReach are hosts that a key was installed on and the config no longer
// names: it may still log in there, and nothing says how they are reached.
func outOfReach(c *providers.Call, k ssh.PublicKey, hosts []string) error {
	names := strings.Join(hosts, ", ")
	return &providers.CallError{
		Outcome: providers.DefinitelyNot, Code: providers.CodeOptions,
		Problem: fmt.Sprintf("the key %s may still log in at %s, which the config no longer names", ssh.FingerprintSHA256(k), names),
		Remedy:  fmt.Sprintf("name %s in hosts again; or remove the key's line there yourself, then: secretctl rotate --give-up %s", names, c.Secret),
	}
}

// remove removes a key's line on one host, unless nobody could log in then, and
// keeps its options in the facts.
func (r *rotator) remove(ctx context.Context, h host, k ssh.Signer, public, stays ssh.PublicKey, facts map[string]string) (changed bool, err error) {
	f, err := r.openFile(ctx, h, k)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return f.apply(ctx, func(content []byte, missing bool) (*edit, error) {
		e, remain := removing(content, public)
		switch {
		case missing || e == nil:
			return nil, nil // gone
		case stays != nil && !holds(content, stays):
			return nil, f.noLine(stays)
		case remain == 0:
			e := providers.Not(providers.CodeOptions, "the key is the last one in %s on %s, and nobody could log in without it", f.path, h.text)
			e.Remedy = "add another key there, or remove the line by hand"
			return nil, e
		}
		facts[factOptions+h.text] = optionsOf(content, public)
		return e, nil
	})
}

// all is what several hosts come to: the first problem, with the others' words.
func all(some bool, problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	var words []string
	for _, p := range problems {
		words = append(words, p.Error())
		some = some || providers.OutcomeOf(p) == providers.Unknown
	}
	e := &providers.CallError{Outcome: providers.DefinitelyNot, Code: providers.CodeOf(problems[0]), Problem: strings.Join(words, "; ")}
	if call := (*providers.CallError)(nil); errors.As(problems[0], &call) {
		e.Remedy = call.Remedy
	}
	return after(some, e)
}

// Package redis is the provider of the passwords of Redis users, and of
// connection URLs with one in them.
//
// A user can have several passwords, so the new one is added beside the old,
// proven, and the old one taken away. It guards against a server that forgets:
// what is not saved after it was set is undone by the next restart, which brings
// the old password back.
//
// A user should belong to one secret alone: a password that two secrets hold, one
// bare and one in a URL, is taken from both, and end_sessions ends the sessions of
// both. The config is refused where it names the user, and the same admin or
// address, twice; which user a URL is of, it cannot see.
//
// The server is told the SHA-256 hash of a password, and sees the password
// itself in logins alone.
package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/connurl"
	"secretctl/providers/generate"
)

// Limits of the length of a password, in characters. The server keeps an
// unsalted hash, so that only what nobody can guess is safe in its files.
const (
	minLength     = 20
	maxLength     = 512
	defaultLength = 40
)

// alphabet is what passwords are made of: none of it is escaped in a URL.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// rights is what a managing user must be allowed.
const rights = "+acl|getuser +acl|setuser +acl|save +acl|dryrun +config|get +config|rewrite +info +client|kill +multi +exec"

// Kind describes the provider.
func Kind() providers.Kind {
	return providers.Kind{
		Name:    "redis",
		Summary: "the password of a Redis user, or a connection URL with it",
		Shape:   providers.ShapeSet,
		Options: []providers.Option{
			{Name: "address", Type: providers.Text, Help: "where the server is, when the value or the admin is a password alone; rediss:// is TLS", Example: `"rediss://cache.example:6379"`},
			{Name: "user", Type: providers.Text, Help: "the user, when the value does not name one; default when not set", Example: `"app"`},
			{Name: "admin", Type: providers.Own, Help: "the password, or the connection URL, of a user that may change it", Example: `"own/redis-admin"`},
			{Name: "admin_user", Type: providers.Text, Help: "the user of admin, when that is a password alone; default when not set", Example: `"admin"`},
			{Name: "self", Type: providers.Switch, Help: "the user changes its own password: there is no admin", Example: "true"},
			{Name: "tls_ca", Type: providers.File, Help: "a file, which nobody else may write, with the certificates to trust instead of the system's", Example: `"/etc/redis/ca.pem"`},
			{Name: "plaintext", Type: providers.Switch, Help: "send passwords in the clear to a server that is not on this machine and has no TLS", Example: "true"},
			{Name: "save", Type: providers.Switch, Default: true, Help: "save each change: ACL SAVE, or CONFIG REWRITE where there is no ACL file", Example: "false"},
			{Name: "end_sessions", Type: providers.Switch, Help: "end all the user's open sessions when the old password is retired, also those that use the new one", Example: "true"},
			{Name: "length", Type: providers.Number, Default: int64(defaultLength), Help: "characters of the password", Example: "40"},
		},
		Permission: rights,
		Docs:       "https://redis.io/docs/latest/commands/acl-setuser/",
		Read:       "2026-11-26",
		Schedule:   "0 4 1 * *",
		Overlap:    true,
		Proofs:     1,
		Accounts:   accounts,
		Open:       open,
	}
}

// accounts is the user, where the options have it and say at which server.
func accounts(o providers.Options) []string {
	user, admin, address := o.Text("user"), o.Own("admin"), o.Text("address")
	switch {
	case user == "", admin == "" && address == "":
		return nil
	case address == "":
		return []string{fmt.Sprintf("the user %q, which %s changes", user, admin)}
	}
	return []string{fmt.Sprintf("the user %q at %s", user, address)}
}

func open(o providers.Options) (providers.Rotator, error) {
	r := &rotator{
		user: o.Text("user"), admin: o.Own("admin"), adminUser: o.Text("admin_user"), ca: o.Text("tls_ca"),
		plaintext: o.Switch("plaintext"), save: o.Switch("save"), endSessions: o.Switch("end_sessions"), length: int(o.Number("length")),
	}
	wrong := func(option, problem, remedy string) error {
		return &providers.OptionError{Option: option, Problem: problem, Remedy: remedy}
	}
	switch {
	case r.admin == "" && !o.Switch("self"):
		return nil, wrong("", "nothing says who changes the password", `admin = "own/redis-admin", or self = true when the user may change its own`)
	case r.admin != "" && o.Switch("self"):
		return nil, wrong("self", "an admin changes the password, or the user itself, not both", "leave one of admin and self out")
	case r.admin == "" && o.IsSet("admin_user"):
		return nil, wrong("admin_user", "there is no admin whose user this could be", `admin = "own/redis-admin"`)
	case strings.ContainsAny(r.user+r.adminUser, " \x00\r\n"):
		return nil, wrong("user", "the name of a user has no spaces", `user = "app"`)
	case r.length < minLength || r.length > maxLength:
		return nil, wrong("length", fmt.Sprintf("a length of %d cannot be", r.length), fmt.Sprintf("from %d to %d", minLength, maxLength))
	}
	if o.IsSet("address") {
		at, err := readAddress(o.Text("address"))
		if err != nil {
			return nil, err
		}
		if !at.tls && !r.plaintext && !connurl.Local(at.host) {
			return nil, wrong("address", "the address is of a server that is not on this machine, and would be sent passwords in the clear", `address = "rediss://HOST:PORT", or plaintext = true where nobody else can listen`)
		}
		r.address = at
	}
	return r, nil
}

// rotator is the provider with its options.
type rotator struct {
	address           *place // nil: the value says it
	user              string // "": the value says it, or "default"
	admin             secret.Name
	adminUser         string
	ca                string
	plaintext         bool // passwords may leave this machine in the clear
	save, endSessions bool
	length            int
}

func withRemedy(err *providers.CallError, remedy string) *providers.CallError {
	err.Remedy = remedy
	return err
}

// Check looks whether the user's passwords can be changed, and the change kept.
func (r *rotator) Check(ctx context.Context, c *providers.Call) (providers.Identity, error) {
	if c.Old == nil {
		return providers.Identity{}, errFirst
	}
	at, err := r.place(c.Old.Value)
	if err != nil {
		return providers.Identity{}, err
	}
	m, err := r.manage(ctx, c, at, c.Old)
	if err != nil {
		return providers.Identity{}, denied(err)
	}
	defer m.close()
	u, err := m.lookUp(at)
	if err != nil {
		return providers.Identity{}, err
	}
	old, err := hashOf(at, c.Old.Value)
	if err != nil {
		return providers.Identity{}, err
	}
	if !slices.Contains(u.hashes, old) {
		// It is dead, or this is not the server it is for.
		if _, err := r.Verify(ctx, c, c.Old); err == nil {
			return providers.Identity{}, withRemedy(providers.Not(providers.CodeOptions, "the admin's server, %s, is another than that of the secret, %s", m.at.server(), at.server()), "name the same server for both")
		}
	}
	if err := m.stands(); err != nil {
		return providers.Identity{}, err
	}
	if err := m.mayChange(r, at); err != nil {
		return providers.Identity{}, err
	}
	if r.save {
		err = m.canSave()
	}
	return providers.Identity{Account: at.account()}, err
}

var errFirst = withRemedy(providers.Not(providers.CodeOptions, "there is no password yet that another could follow"), "set the first value by hand, with secretctl set")

// Choose makes a new password, or the old URL with a new password in it.
func (r *rotator) Choose(_ context.Context, c *providers.Call) (*providers.Credential, error) {
	password, err := generate.Value(alphabet, r.length)
	if err != nil {
		return nil, err
	}
	if c.Old == nil {
		return &providers.Credential{Value: password}, nil
	}
	at, err := r.place(c.Old.Value)
	if err != nil || at.url == nil {
		return &providers.Credential{Value: password}, err
	}
	defer password.Clear()
	v, err := at.url.With(c.Old.Value, at.url.User, password)
	if err != nil {
		return nil, err
	}
	return &providers.Credential{Value: v}, nil
}

// Issue adds the new password to the user's.
func (r *rotator) Issue(ctx context.Context, c *providers.Call, next *providers.Credential) (*providers.Credential, error) {
	at, err := r.place(next.Value)
	if err != nil {
		return nil, err
	}
	hash, err := hashOf(at, next.Value)
	if err != nil {
		return nil, err
	}
	m, err := r.manage(ctx, c, at, next)
	if err != nil {
		return nil, denied(err)
	}
	defer m.close()
	u, err := m.lookUp(at)
	if err != nil {
		return nil, untouched(err)
	}
	rule, undo := "#"+hash, "!"+hash
	if slices.Contains(u.hashes, hash) {
		rule, undo = "", ""
	}
	if err := r.set(m, at, rule, undo); err != nil {
		return nil, err
	}
	return next, nil
}

// denied is the error of a user that cannot manage itself, its password being
// refused.
func denied(err error) error {
	if call := (*providers.CallError)(nil); errors.As(err, &call) && call.Code == providers.CodeInvalid {
		call.Code = providers.CodeDenied
	}
	return err
}

// Find cannot: a password carries no tag, and needs none, since it is known.
func (*rotator) Find(context.Context, *providers.Call) ([]providers.Credential, error) {
	return nil, providers.Not(providers.CodeUnsupported, "a Redis password has no name to be found by")
}

// Verify logs in.
func (r *rotator) Verify(ctx context.Context, _ *providers.Call, cred *providers.Credential) (providers.Identity, error) {
	at, err := r.place(cred.Value)
	if err != nil {
		return providers.Identity{}, err
	}
	s, err := r.login(ctx, at, cred.Value)
	if err != nil {
		return providers.Identity{}, err
	}
	s.close()
	return providers.Identity{Account: at.account()}, nil
}

// Disable cannot: turning the user off would stop the new password too.
func (*rotator) Disable(context.Context, *providers.Call, *providers.Credential) error {
	return providers.Not(providers.CodeUnsupported, "one password of a Redis user cannot be stopped for a while")
}

// Revoke takes the password away, and ends the user's sessions when the options
// say so.
func (r *rotator) Revoke(ctx context.Context, c *providers.Call, cred *providers.Credential) error {
	at, err := r.place(cred.Value)
	if err != nil {
		return err
	}
	hash, err := hashOf(at, cred.Value)
	if err != nil {
		return err
	}
	m, err := r.manage(ctx, c, at, cred)
	switch {
	case providers.CodeOf(err) == providers.CodeInvalid:
		return nil // the user itself is to end it, and it is refused: it is gone
	case err != nil:
		return err
	}
	defer m.close()
	u, err := m.user(at.user)
	switch {
	case err != nil:
		return untouched(err)
	case u == nil:
		return nil
	}
	rule := "!" + hash
	if !slices.Contains(u.hashes, hash) {
		rule = ""
	}
	if err := r.set(m, at, rule, ""); err != nil || !r.endSessions {
		return err
	}
	return m.change("CLIENT", "KILL", "USER", at.user, "SKIPME", "yes")
}

// hashOf is how the server keeps the password in a value.
func hashOf(at place, v secret.Value) (string, error) {
	password, err := at.password(v)
	if err != nil {
		return "", err
	}
	if at.url != nil {
		defer password.Clear()
	}
	var sum [sha256.Size]byte
	err = password.Use(func(b []byte) error { sum = sha256.Sum256(b); return nil })
	return hex.EncodeToString(sum[:]), err
}

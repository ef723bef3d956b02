// Package postgres is the provider of PostgreSQL logins, as connection URLs.
//
// It guards against an outage between two passwords: a role has one password,
// which dies the moment the next is set, so two roles take turns. The one that
// is not in use gets a new password and is proven; then the other is locked.
// So a role must belong to one secret alone. The config is refused where two name
// it with the same admin; with two admins of one server nobody can tell, and each
// rotation locks the role, or sets the password, that the other secret has.
//
// The server never sees a new password outside a login: it is told the
// SCRAM-SHA-256 verifier, so that no statement log holds anything that opens
// the door.
package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/generate"
)

// Limits of the length of a password, in characters. The verifier's hash is
// slow to invert for people's passwords only if they are long; ours are.
const (
	minLength     = 20
	maxLength     = 512 // poolers have refused longer ones
	defaultLength = 40
)

// maxIdentifier is the longest name of a role, in bytes (NAMEDATALEN - 1). The
// server cuts a longer one, and so might alter another role.
const maxIdentifier = 63

// alphabet is what passwords are made of: none of it is escaped in a URL.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// Kind describes the provider.
//
// Of the vendor's page only the text of an older version could be read, so Read
// is empty; what is said of versions 16 and later is not from there.
func Kind() providers.Kind {
	return providers.Kind{
		Name:    "postgres",
		Summary: "a PostgreSQL connection URL, two roles taking turns",
		Shape:   providers.ShapeSet,
		Options: []providers.Option{
			{Name: "users", Type: providers.List, Help: "the two roles that take turns (required)", Example: `["app_a", "app_b"]`},
			{Name: "admin", Type: providers.Own, Required: true, Help: "the connection URL of a role that may alter both", Example: `"own/pg-admin"`},
			{Name: "end_sessions", Type: providers.Switch, Help: "end the old role's open sessions when it is retired", Example: "true"},
			{Name: "length", Type: providers.Number, Default: int64(defaultLength), Help: "characters of the password", Example: "40"},
		},
		Permission: "CREATEROLE, and from PostgreSQL 16 both roles WITH ADMIN OPTION; pg_signal_backend for end_sessions",
		Docs:       "https://www.postgresql.org/docs/current/sql-alterrole.html",
		Schedule:   "0 4 1 * *",
		Overlap:    true,
		Proofs:     1,
		Accounts:   accounts,
		Open:       open,
	}
}

// accounts are the roles, which are of the whole server: that of the admin's URL.
func accounts(o providers.Options) (all []string) {
	for _, u := range o.List("users") {
		all = append(all, fmt.Sprintf("the role %q, which %s alters", u, o.Own("admin")))
	}
	return all
}

func open(o providers.Options) (providers.Rotator, error) {
	users := o.List("users")
	example := `users = ["app_a", "app_b"]`
	switch {
	case len(users) != 2:
		return nil, &providers.OptionError{Option: "users", Problem: "two roles are needed, since a role has one password and the old one would die before the new one is in use", Remedy: example}
	case users[0] == users[1]:
		return nil, &providers.OptionError{Option: "users", Problem: fmt.Sprintf("%q is there twice; two roles take turns", users[0]), Remedy: example}
	}
	for _, u := range users {
		if u == "" || len(u) > maxIdentifier || strings.ContainsRune(u, 0) {
			return nil, &providers.OptionError{Option: "users", Problem: fmt.Sprintf("%.80q cannot be the name of a role: it has from 1 to %d bytes, none of them zero", u, maxIdentifier), Remedy: example}
		}
	}
	n := o.Number("length")
	if n < minLength || n > maxLength {
		return nil, &providers.OptionError{Option: "length", Problem: fmt.Sprintf("a length of %d cannot be", n), Remedy: fmt.Sprintf("from %d to %d", minLength, maxLength)}
	}
	return &rotator{[2]string{users[0], users[1]}, o.Own("admin"), o.Switch("end_sessions"), int(n)}, nil
}

// rotator is the provider with its options.
type rotator struct {
	users       [2]string
	admin       secret.Name
	endSessions bool
	length      int
}

// turn parses a connection URL and says which role's turn it is, and which
// one's it is next.
func (r *rotator) turn(cred *providers.Credential) (at place, other string, err error) {
	if cred == nil {
		return at, "", withRemedy(providers.Not(providers.CodeOptions, "there is no connection URL yet to take the server and the database from"),
			fmt.Sprintf("set the first value by hand: postgres://%s:PASSWORD@HOST:PORT/DATABASE", r.users[0]))
	}
	if at, err = parse(cred.Value); err != nil {
		return at, "", err
	}
	i := slices.Index(r.users[:], at.User)
	if i < 0 {
		return at, "", withRemedy(providers.Not(providers.CodeOptions, "the connection URL is of the role %q, which is neither %q nor %q", at.User, r.users[0], r.users[1]),
			"name it in users, beside a second role with the same rights")
	}
	return at, r.users[1-i], nil
}

// withRemedy adds what to do about an error.
func withRemedy(err *providers.CallError, remedy string) *providers.CallError {
	err.Remedy = remedy
	return err
}

// Check looks whether the two roles can take turns: they exist, may do the same
// things, and the admin may alter them.
func (r *rotator) Check(ctx context.Context, c *providers.Call) (providers.Identity, error) {
	at, other, err := r.turn(c.Old)
	if err != nil {
		return providers.Identity{}, err
	}
	admin, err := r.login(ctx, c)
	if err != nil {
		return providers.Identity{}, err
	}
	defer admin.close()
	if err := admin.mayAlter(ctx, r, at.database); err != nil {
		return providers.Identity{}, err
	}
	old, _, err := login(ctx, c.Old.Value)
	switch {
	case providers.CodeOf(err) == providers.CodeInvalid:
		// It is dead already. What it owned is not compared then.
		return providers.Identity{Account: at.account()}, admin.alike(ctx, at.User, other)
	case err != nil:
		return providers.Identity{}, err
	}
	defer old.close()
	if err := sameServer(ctx, admin, old); err != nil {
		return providers.Identity{}, err
	}
	if err := old.alike(ctx, at.User, other); err != nil {
		return providers.Identity{}, err
	}
	return providers.Identity{Account: at.account()}, old.ownAlike(ctx, at.User, other)
}

// Choose makes the other role's URL: a new password, and all the rest of the
// old URL byte for byte.
func (r *rotator) Choose(_ context.Context, c *providers.Call) (*providers.Credential, error) {
	at, other, err := r.turn(c.Old)
	if err != nil {
		return nil, err
	}
	password, err := generate.Value(alphabet, r.length)
	if err != nil {
		return nil, err
	}
	defer password.Clear()
	v, err := at.With(c.Old.Value, other, password)
	if err != nil {
		return nil, err
	}
	return &providers.Credential{ID: other, Value: v}, nil
}

// Identify finds the role in the URL.
func (r *rotator) Identify(_ context.Context, _ *providers.Call, cred *providers.Credential) error {
	at, _, err := r.turn(cred)
	if err == nil {
		cred.ID = at.User
	}
	return err
}

// Issue gives the role its new password, and lets it log in.
func (r *rotator) Issue(ctx context.Context, c *providers.Call, next *providers.Credential) (*providers.Credential, error) {
	at, _, err := r.turn(next)
	if err != nil {
		return nil, err
	}
	password, err := at.password(next.Value)
	if err != nil {
		return nil, err
	}
	defer password.Clear()
	verifier, err := scram(password)
	if err != nil {
		return nil, err
	}
	if err := r.alter(ctx, c, at.User, "LOGIN PASSWORD '"+verifier+"'"); err != nil {
		return nil, err
	}
	return next, nil
}

// Find cannot: a role carries no tag, and needs none, since the value is known.
func (*rotator) Find(context.Context, *providers.Call) ([]providers.Credential, error) {
	return nil, providers.Not(providers.CodeUnsupported, "a PostgreSQL password has no name to be found by")
}

// Verify logs in, and sees that the role has no more rights than the one it
// takes turns with.
func (r *rotator) Verify(ctx context.Context, c *providers.Call, cred *providers.Credential) (providers.Identity, error) {
	at, other, err := r.turn(cred)
	if err != nil {
		return providers.Identity{}, err
	}
	s, _, err := login(ctx, cred.Value)
	if err != nil {
		return providers.Identity{}, err
	}
	defer s.close()
	if c.Old != nil && !c.Old.Value.Equal(cred.Value) {
		if err := s.notWider(ctx, at.User, other); err != nil {
			return providers.Identity{}, err
		}
	}
	return providers.Identity{Account: at.account()}, s.is(ctx, at)
}

// Disable locks the role, which keeps its password.
func (r *rotator) Disable(ctx context.Context, c *providers.Call, cred *providers.Credential) error {
	at, live, err := r.live(ctx, cred)
	if err != nil || !live {
		return err
	}
	return r.gone(r.alter(ctx, c, at.User, "NOLOGIN"))
}

// Revoke locks the role, takes its password away, and ends its sessions when
// the options say so.
func (r *rotator) Revoke(ctx context.Context, c *providers.Call, cred *providers.Credential) error {
	at, live, err := r.live(ctx, cred)
	if err != nil {
		return err
	}
	if live {
		if err := r.gone(r.alter(ctx, c, at.User, "NOLOGIN PASSWORD NULL")); err != nil {
			return err
		}
	}
	if r.endSessions {
		return r.terminate(ctx, c, at.User)
	}
	return nil
}

// gone turns the error of a role that is not there into none.
func (*rotator) gone(err error) error {
	if providers.CodeOf(err) == providers.CodeNotFound {
		return nil
	}
	return err
}

// live reports whether the credential's password is still its role's. Roles
// take turns: a password that was retired late may by now have been followed by
// the one in use, and locking the role would end that.
func (r *rotator) live(ctx context.Context, cred *providers.Credential) (place, bool, error) {
	at, _, err := r.turn(cred)
	if err != nil {
		return at, false, err
	}
	s, proven, err := login(ctx, cred.Value)
	switch {
	case err == nil:
		s.close()
		return at, true, nil
	case proven:
		return at, true, nil
	case providers.CodeOf(err) == providers.CodeInvalid:
		return at, false, nil
	}
	return at, false, untouched(err)
}

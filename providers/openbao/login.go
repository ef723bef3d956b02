package openbao

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// session is a token, and what is known of it.
type session struct {
	token     secret.Value
	ttl       time.Duration // as of the login; 0: it has no end
	renewable bool          // by us
}

// login is a way to come by a token. One is under way at a time.
type login interface {
	session(context.Context, *client) (*session, error)
	// fresh reports whether each session is another token than the one before.
	fresh() bool
	// forget clears what was kept from one login for the next.
	forget()
}

// auth is what a server says of a token it gives or renews.
type auth struct {
	Auth struct {
		Token     text  `json:"client_token"`
		Lease     int64 `json:"lease_duration"` // seconds
		Renewable bool  `json:"renewable"`
	} `json:"auth"`
}

// lookup is what it says of one that was given before.
type lookup struct {
	Data struct {
		TTL       int64 `json:"ttl"`
		Renewable bool  `json:"renewable"`
	} `json:"data"`
}

func lookUp(token secret.Value, into *lookup) request {
	return request{method: http.MethodGet, path: []string{"auth", "token", "lookup-self"}, token: token, into: into}
}

func seconds(n int64) time.Duration { return time.Duration(max(n, 0)) * time.Second }

// fetch opens one of the broker's own secrets, for which is what the remedy makes.
func fetch(ctx context.Context, own func(context.Context, secret.Name) (secret.Value, error), name secret.Name, remedy string) (secret.Value, error) {
	v, err := own(ctx, name)
	if err != nil {
		return secret.Value{}, &providers.StoreError{
			Kind: providers.ErrUnavailable, Problem: fmt.Sprintf("logging in: %v", err), Remedy: remedy + " | secretctl set " + string(name), Err: err,
		}
	}
	return v, nil
}

// appRole logs in with a role_id and a secret_id.
type appRole struct {
	own          func(context.Context, secret.Name) (secret.Value, error)
	role, secret secret.Name
	wrapped      bool

	wrapping, unwrapped secret.Value // what the secret held, and what was in it
}

func (a *appRole) fresh() bool { return true }

func (a *appRole) forget() {
	a.wrapping.Clear()
	a.unwrapped.Clear()
	a.wrapping, a.unwrapped = secret.Value{}, secret.Value{}
}

const (
	makeRoleID   = "bao read -field=role_id auth/approle/role/ROLE/role-id"
	makeSecretID = "bao write -f -field=secret_id auth/approle/role/ROLE/secret-id"
	makeWrapped  = "bao write -f -wrap-ttl=10m -field=wrapping_token auth/approle/role/ROLE/secret-id"
)

func (a *appRole) session(ctx context.Context, c *client) (*session, error) {
	role, err := fetch(ctx, a.own, a.role, makeRoleID)
	if err != nil {
		return nil, err
	}
	defer role.Clear()
	secretID, clear, err := a.secretID(ctx, c)
	if err != nil {
		return nil, err
	}
	defer clear()
	body, err := loginBody(role, secretID)
	if err != nil {
		return nil, err
	}
	defer body.Clear()
	var out auth
	status, err := c.do(ctx, request{method: http.MethodPost, path: []string{"auth", "approle", "login"}, body: body, into: &out})
	if status == http.StatusBadRequest || status == http.StatusForbidden {
		remedy := makeSecretID
		if a.wrapped {
			remedy = makeWrapped
		}
		return nil, &providers.StoreError{
			Kind: providers.ErrRefused, Problem: fmt.Sprintf("%s does not accept the role_id with the secret_id: one of them is wrong, or used up, or has run out", c.name()),
			Remedy: remedy + " | secretctl set " + string(a.secret),
		}
	}
	if err == nil && out.Auth.Token.Len() == 0 {
		err = c.trouble("%s lets us in and gives no token", c.name())
	}
	if err != nil {
		out.Auth.Token.Clear()
		return nil, err
	}
	return &session{out.Auth.Token.Value, seconds(out.Auth.Lease), out.Auth.Renewable}, nil
}

// secretID returns the secret_id, and what clears it if it is not kept.
func (a *appRole) secretID(ctx context.Context, c *client) (_ secret.Value, clear func(), _ error) {
	remedy := makeSecretID
	if a.wrapped {
		remedy = makeWrapped
	}
	held, err := fetch(ctx, a.own, a.secret, remedy)
	if err != nil {
		return secret.Value{}, nil, err
	}
	if !a.wrapped {
		return held, held.Clear, nil
	}
	if a.wrapping.Equal(held) {
		held.Clear()
		return a.unwrapped, func() {}, nil
	}
	var out struct {
		Data struct {
			SecretID text `json:"secret_id"`
		} `json:"data"`
	}
	status, err := c.do(ctx, request{method: http.MethodPost, path: []string{"sys", "wrapping", "unwrap"}, token: held, into: &out})
	if status == http.StatusBadRequest || status == http.StatusForbidden {
		err = &providers.StoreError{
			Kind:    providers.ErrRefused,
			Problem: fmt.Sprintf("%s does not know the wrapping token in %q: it has run out, or it was used, and where that was not this broker somebody else has the secret_id", c.name(), a.secret),
			Remedy:  remedy + " | secretctl set " + string(a.secret),
		}
	} else if err == nil && out.Data.SecretID.Len() == 0 {
		err = &providers.StoreError{
			Kind: providers.ErrRefused, Problem: fmt.Sprintf("what the wrapping token in %q has in it is no secret_id", a.secret), Remedy: remedy + " | secretctl set " + string(a.secret),
		}
	}
	if err != nil {
		held.Clear()
		out.Data.SecretID.Clear()
		return secret.Value{}, nil, err
	}
	a.forget()
	a.wrapping, a.unwrapped = held, out.Data.SecretID.Value
	return a.unwrapped, func() {}, nil
}

func loginBody(role, secretID secret.Value) (secret.Value, error) {
	parts := []string{`{"role_id":"`, `","secret_id":"`, `"}`}
	n := role.Len() + secretID.Len()
	for _, p := range parts {
		n += len(p)
	}
	return secret.Fill(n, func(mem []byte) error {
		mem = append(mem[:0], parts[0]...)
		for i, v := range []secret.Value{role, secretID} {
			err := v.Use(func(b []byte) error {
				if !printable(b) {
					return &providers.StoreError{
						Kind: providers.ErrRefused, Problem: "the role_id or the secret_id has characters that none has", Remedy: makeRoleID,
					}
				}
				mem = append(mem, b...)
				return nil
			})
			if err != nil {
				return providers.Unavailable(err)
			}
			mem = append(mem, parts[i+1]...)
		}
		return nil
	})
}

// ownToken takes a token from one of the broker's own secrets.
type ownToken struct {
	own  func(context.Context, secret.Name) (secret.Value, error)
	name secret.Name
}

const makeToken = "bao token create -period=24h -policy=secretctl -field=token"

func (*ownToken) fresh() bool { return false }
func (*ownToken) forget()     {}

func (o *ownToken) session(ctx context.Context, c *client) (*session, error) {
	token, err := fetch(ctx, o.own, o.name, makeToken)
	if err != nil {
		return nil, err
	}
	return given(ctx, c, token, fmt.Sprintf("the token in %q", o.name), makeToken+" | secretctl set "+string(o.name))
}

// given is the session of a token that is there already. It is cleared if it is
// not accepted.
func given(ctx context.Context, c *client, token secret.Value, what, remedy string) (*session, error) {
	var out lookup
	status, err := c.do(ctx, lookUp(token, &out))
	if status == http.StatusForbidden {
		err = &providers.StoreError{Kind: providers.ErrRefused, Problem: fmt.Sprintf("%s does not accept %s: it has run out or was revoked", c.name(), what), Remedy: remedy}
	}
	if err != nil {
		token.Clear()
		return nil, err
	}
	return &session{token, seconds(out.Data.TTL), out.Data.Renewable}, nil
}

// tokenFile takes a token from a file that somebody else writes, and renews.
type tokenFile struct{ path string }

func (*tokenFile) fresh() bool { return false }
func (*tokenFile) forget()     {}

func (f *tokenFile) session(ctx context.Context, c *client) (*session, error) {
	b, err := readTrusted("the file of token_file", f.path, maxAnswer)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	if info, err := os.Stat(f.path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, &providers.StoreError{
			Kind: providers.ErrRefused, Problem: fmt.Sprintf("the file of token_file, %q, can be read by others", f.path), Remedy: "chmod 600 " + f.path,
		}
	}
	token, err := secret.New(bytes.Clone(bytes.TrimSpace(b)))
	if err != nil {
		return nil, providers.Unavailable(err)
	}
	s, err := given(ctx, c, token, fmt.Sprintf("the token in %q", f.path), "systemctl restart bao-agent")
	if err == nil {
		s.renewable = false
	}
	return s, err
}

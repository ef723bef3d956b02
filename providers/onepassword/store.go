// Package onepassword keeps secrets in a vault of 1Password: an item for each, with
// a field for each version.
//
// It guards against what 1Password's own code does to a process: that runs in a
// helper, this program again, which is started when there is something to do, ended
// when it is idle or sick, and is the only one to have the token and the values as
// text. And against a limit used up by asking in vain: what was refused is not asked
// again for a while, also by the next process.
package onepassword

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
	"secretctl/providers/onepassword/wire"
)

// Kind is the kind of this store.
func Kind() providers.StoreKind {
	return providers.StoreKind{
		Name:    "onepassword",
		Summary: "a vault of 1Password, by a service account",
		Options: []providers.Option{
			{Name: "vault", Type: providers.Text, Required: true, Help: "the vault's name or ID; a service account cannot have a Personal, Private or Employee one", Example: `"Agents"`},
			{Name: "token", Type: providers.Own, Required: true, Help: "the service account's token, a secret of the broker's own", Example: `"own/onepassword"`},
			{Name: "via", Type: providers.Text, Default: wire.ViaSDK, Help: "how it is reached: by 1Password's library (sdk), a Connect server (connect) or the op program (op)", Example: `"connect"`},
			{Name: "url", Type: providers.Text, Help: "where the Connect server is; http is for this machine alone", Example: `"https://connect.internal:8443"`},
			{Name: "program", Type: providers.File, Help: "where the op program is, of version 2.30 or later", Example: `"/usr/local/bin/op"`},
			{Name: "plan", Type: providers.Text, Default: "individual", Help: "whose limits count: individual, families, teams or business", Example: `"business"`},
		},
		Fresh: time.Hour,
		Reference: func(text string) (problem, remedy string) {
			_, problem, remedy = wire.ParseReference(text)
			return problem, remedy
		},
		Open: open,
	}
}

func open(setup providers.StoreSetup) (providers.Store, error) {
	vault := setup.Options.Text("vault")
	if vault == "" {
		return nil, &providers.OptionError{Option: "vault", Problem: `"vault" is empty`, Remedy: `vault = "Agents"`}
	}
	plan, ok := plans[setup.Options.Text("plan")]
	if !ok {
		return nil, &providers.OptionError{
			Option: "plan", Problem: fmt.Sprintf("there is no plan %q", setup.Options.Text("plan")),
			Remedy: `plan = "individual", "families", "teams" or "business"`,
		}
	}
	via, at, err := reached(setup.Options)
	if err != nil {
		return nil, err
	}
	s := newStore(vault, setup.Now, func(ctx context.Context) (secret.Value, error) { return setup.Own(ctx, setup.Options.Own("token")) })
	s.remedy = "secretctl set " + string(setup.Options.Own("token")) + " takes a new token"
	s.guard.plan, s.guard.kept = plan, setup.State
	s.reach(via, at)
	return s, nil
}

// reached reads how 1Password is reached, and where what reaches it is.
func reached(o providers.Options) (via, at string, err error) {
	via = o.Text("via")
	of := map[string]string{"url": wire.ViaConnect, "program": wire.ViaOp}
	for _, option := range []string{"url", "program"} {
		if o.IsSet(option) && via != of[option] {
			return "", "", &providers.OptionError{Option: option, Problem: fmt.Sprintf("%q is for via = %q", option, of[option]), Remedy: fmt.Sprintf("leave it out, or set via = %q", of[option])}
		}
	}
	switch via {
	case wire.ViaSDK:
	case wire.ViaConnect:
		at, err = o.Text("url"), checkURL(o.Text("url"))
	case wire.ViaOp:
		if at = o.Text("program"); at == "" {
			err = &providers.OptionError{Option: "via", Problem: `via = "op" does not say which program`, Remedy: `program = "/usr/local/bin/op"`}
		}
	default:
		err = &providers.OptionError{Option: "via", Problem: fmt.Sprintf("there is no way %q", via), Remedy: `via = "sdk", "connect" or "op"`}
	}
	return via, at, err
}

// checkURL says what is wrong with the address of a Connect server, which is given
// the token.
func checkURL(text string) error {
	at, err := url.Parse(text)
	problem := ""
	switch {
	case text == "":
		return &providers.OptionError{Option: "via", Problem: `via = "connect" does not say where`, Remedy: `url = "https://connect.internal:8443"`}
	case err != nil || at.Hostname() == "":
		problem = `"url" is not the address of a server`
	case at.User != nil || at.RawQuery != "" || at.ForceQuery || at.Fragment != "" || strings.Trim(at.Path, "/") != "":
		problem = `"url" has a password, a path, a query or a fragment in it; it is an address alone`
	case at.Scheme == "http" && !loopback(at.Hostname()):
		problem = `"url" would send secrets in the clear: http is for this machine alone`
	case at.Scheme != "https" && at.Scheme != "http":
		problem = `"url" must begin with https://`
	default:
		return nil
	}
	return &providers.OptionError{Option: "url", Problem: problem, Remedy: `url = "https://connect.internal:8443"`}
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Store is a vault of 1Password.
type Store struct {
	vault  string
	via    string
	at     string // of what it is reached by
	token  func(context.Context) (secret.Value, error)
	remedy string // for a token that is refused
	link   link
	guard  guard
}

var (
	_ providers.Noter    = (*Store)(nil)
	_ providers.Referrer = (*Store)(nil)
)

func newStore(vault string, now func() time.Time, token func(context.Context) (secret.Value, error)) *Store {
	s := &Store{vault: vault, token: token, guard: guard{now: now, worksFor: worksFor, vain: make(map[key]vain)}}
	s.link = link{times: helperTimes, writes: maxWrites, spawn: startHelper, hello: s.hello, told: s.guard.told}
	s.reach(wire.ViaSDK, "")
	return s
}

// reach has 1Password be reached that way.
func (s *Store) reach(via, at string) {
	if s.via, s.at = via, at; via == wire.ViaOp {
		s.link.writes = opWrites
	}
	s.guard.limitless = via == wire.ViaConnect
}

func (s *Store) hello(ctx context.Context) (wire.Hello, secret.Value, error) {
	token, err := s.ownToken(ctx)
	if err != nil {
		return wire.Hello{}, secret.Value{}, err
	}
	return wire.Hello{Vault: s.vault, Via: s.via, At: s.at}, token, nil
}

func (s *Store) ownToken(ctx context.Context) (secret.Value, error) {
	token, err := s.token(ctx)
	if err != nil {
		return token, &providers.StoreError{Kind: providers.ErrUnavailable, Problem: fmt.Sprintf("opening the token for 1Password: %v", err), Remedy: s.remedy, Err: err}
	}
	return token, nil
}

// do asks the helper, unless it is known that it should not be asked.
func (s *Store) do(ctx context.Context, c wire.Call, body secret.Value) (wire.Answer, secret.Value, error) {
	if err := s.guard.allows(ctx, s.ownToken); err != nil {
		return wire.Answer{}, secret.Value{}, s.outcome(err)
	}
	if c.GivesValue() || c.Op == wire.Sum {
		if err := s.guard.inVain(keyOf(c)); err != nil {
			return wire.Answer{}, secret.Value{}, s.outcome(err)
		}
	}
	a, v, err := s.link.ask(ctx, c, body)
	s.guard.asked(c, err)
	return a, v, s.outcome(err)
}

// outcome is an error in the words of the contract.
func (s *Store) outcome(err error) error {
	var e *wire.Error
	if !errors.As(err, &e) {
		return err
	}
	out := &providers.StoreError{Kind: providers.ErrUnavailable, Problem: e.Problem, Remedy: e.Remedy}
	switch e.Kind {
	case wire.Absent:
		return providers.ErrAbsent
	case wire.Exists:
		return providers.ErrExists
	case wire.Refused:
		out.Kind = providers.ErrRefused
		if e.Auth {
			out.Remedy = s.remedy
		}
	case wire.RateLimited:
		out.Kind = providers.ErrRateLimited
	}
	out.RetryAfter = s.guard.wait()
	return out
}

func sumOf(b []byte) (sum providers.Sum, err error) {
	if len(b) != len(sum) {
		return sum, unavailable("the 1Password helper gave no sum", "")
	}
	return providers.Sum(b), nil
}

// Put implements [providers.Store].
func (s *Store) Put(ctx context.Context, name secret.Name, version uint64, v secret.Value) (providers.Sum, error) {
	a, _, err := s.do(ctx, wire.Call{Op: wire.Put, Name: name, Version: version}, v)
	if err != nil {
		return providers.Sum{}, err
	}
	return sumOf(a.Sum)
}

// Get implements [providers.Store].
func (s *Store) Get(ctx context.Context, name secret.Name, version uint64, want providers.Sum) (secret.Value, error) {
	a, v, err := s.do(ctx, wire.Call{Op: wire.Get, Name: name, Version: version}, secret.Value{})
	if err != nil {
		return secret.Value{}, err
	}
	sum, err := sumOf(a.Sum)
	if err == nil && !want.IsZero() && sum != want {
		err = providers.ErrChanged
	}
	if err != nil {
		v.Clear()
		return secret.Value{}, err
	}
	return v, nil
}

// Refer implements [providers.Referrer]: ref is op://vault/item/field.
func (s *Store) Refer(ctx context.Context, ref string) (secret.Value, error) {
	_, v, err := s.do(ctx, wire.Call{Op: wire.Refer, Ref: ref}, secret.Value{})
	return v, err
}

// Sum implements [providers.Store].
func (s *Store) Sum(ctx context.Context, name secret.Name, version uint64) (providers.Sum, error) {
	a, _, err := s.do(ctx, wire.Call{Op: wire.Sum, Name: name, Version: version}, secret.Value{})
	if err != nil {
		return providers.Sum{}, err
	}
	return sumOf(a.Sum)
}

// Delete implements [providers.Store].
func (s *Store) Delete(ctx context.Context, name secret.Name, version uint64) error {
	_, _, err := s.do(ctx, wire.Call{Op: wire.Delete, Name: name, Version: version}, secret.Value{})
	return err
}

// listed is how many secrets are asked for at once: other calls come between.
const listed = 50

// List implements [providers.Store].
func (s *Store) List(ctx context.Context, fn func(secret.Name, uint64, providers.Sum) error) error {
	index, _, err := s.do(ctx, wire.Call{Op: wire.Index}, secret.Value{})
	if err != nil {
		return err
	}
	for names := index.Names; len(names) > 0; {
		n := min(len(names), listed)
		a, _, err := s.do(ctx, wire.Call{Op: wire.Versions, Names: names[:n]}, secret.Value{})
		if err != nil {
			return err
		}
		for _, v := range a.Versions {
			sum, err := sumOf(v.Sum)
			if err == nil {
				err = fn(v.Name, v.Version, sum)
			}
			if err != nil {
				return err
			}
		}
		names = names[n:]
	}
	return nil
}

// Health implements [providers.Store]. A store that was seen to work is believed
// to for a while: asking costs a request and, maybe, the start of the helper. While
// the helper is only starting, it is what was seen last that is said.
func (s *Store) Health(ctx context.Context) error {
	if s.guard.worksStill() {
		return nil
	}
	_, _, err := s.do(ctx, wire.Call{Op: wire.Health}, secret.Value{})
	if errors.Is(err, context.DeadlineExceeded) && s.link.starting.Load() {
		if last := s.guard.lastFailure(); last != nil {
			return s.outcome(last)
		}
		return nil
	}
	return err
}

// Note implements [providers.Noter].
func (s *Store) Note() string { return s.guard.note() }

// Close ends the helper.
func (s *Store) Close() error {
	s.link.close()
	return s.guard.close()
}

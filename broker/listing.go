package broker

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"secretctl/broker/grant"
	"secretctl/broker/ledger"
	"secretctl/broker/secret"
)

// Available is a secret an agent may have.
type Available struct {
	Name          string       `json:"name"`
	Doors         []grant.Door `json:"doors"`
	MaxTTLSeconds int64        `json:"max_ttl_seconds"`
	Env           string       `json:"env,omitempty"` // the name it is offered under in an environment
}

// Available returns what the caller may have when its grants' conditions hold.
func (b *Broker) Available(c *Caller) ([]Available, error) {
	settings := b.settings.Load()
	policy := settings.Policy
	out := []Available{}
	add := func(e *ledger.Entry) {
		if doors, ttl, ok := policy.Granted(c.Name(), e.Name); ok {
			out = append(out, Available{string(e.Name), doors, int64(ttl / time.Second), settings.env(e)})
		}
	}
	unopened, err := b.unopened()
	if err != nil {
		return nil, err
	}
	for _, name := range unopened {
		add(&ledger.Entry{Name: name})
	}
	for _, prefix := range prefixes(policy.Patterns(c.Name())) {
		err := b.ledger.Each(prefix, func(e *ledger.Entry) bool { add(e); return true })
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b Available) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(out, func(a, b Available) bool { return a.Name == b.Name }), nil
}

// env is the name a secret is offered under in an environment, "" for none.
func (s *settings) env(e *ledger.Entry) string { return cmp.Or(s.Secrets[e.Name].Env, e.Env) }

// prefixes returns what to look under for the names the rules cover.
func prefixes(rules []*grant.Rule) (out []string) {
	for _, r := range rules {
		for _, p := range r.Secrets {
			out = append(out, strings.TrimSuffix(string(p), "*"))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// SecretInfo is a secret as its owner sees it. Times that are not are null.
type SecretInfo struct {
	Name          string     `json:"name"`
	Store         string     `json:"store"`
	Ref           string     `json:"ref,omitempty"` // where it lies there; "": its versions were put there
	Env           string     `json:"env,omitempty"` // the name it is offered under in an environment
	Version       uint64     `json:"version"`       // 0: it lies at Ref, and nobody has opened it yet
	CreatedAt     *time.Time `json:"created_at"`
	RotatedAt     *time.Time `json:"rotated_at"`
	AgeSeconds    int64      `json:"age_seconds"`
	MaxAgeSeconds *int64     `json:"max_age_seconds"`
	Overdue       bool       `json:"overdue"`
	AtLeast       bool       `json:"at_least"`   // it is older than that: it was imported
	LeasedAt      *time.Time `json:"leased_at"`  // when it was last handed out
	ExpiresAt     *time.Time `json:"expires_at"` // by its service
	Ended         bool       `json:"ended"`      // at its service, with none in its place: no lease is on it
	Provider      *string    `json:"provider"`
	Schedule      *string    `json:"schedule"`
	NextRotation  *time.Time `json:"next_rotation"`
	Suspended     bool       `json:"suspended"` // the schedule, after too many failures
	LastRotation  *Rotated   `json:"last_rotation"`
}

// Rotated is how a secret's last rotation stands, or ended.
type Rotated struct {
	State string    `json:"state"`
	At    time.Time `json:"at"`
	Error *string   `json:"error"`
}

// List returns every secret whose name matches the pattern (empty: all).
func (b *Broker) List(pattern string) ([]SecretInfo, error) {
	prefix, open := strings.CutSuffix(pattern, "*")
	leased, err := b.lastLeased(prefix)
	if err != nil {
		return nil, err
	}
	out := []SecretInfo{}
	now := b.Clock.Now().Wall
	err = b.ledger.Each(prefix, func(e *ledger.Entry) bool {
		if pattern == "" || open || string(e.Name) == pattern {
			info := b.info(e, now)
			if at, ok := leased[e.Name]; ok {
				info.LeasedAt = &at
			}
			out = append(out, info)
		}
		return true
	})
	if err != nil {
		return out, err
	}
	unopened, err := b.unopened()
	for _, name := range unopened {
		if where := b.referred(name); pattern == "" || string(name) == pattern || open && strings.HasPrefix(string(name), prefix) {
			out = append(out, SecretInfo{Name: string(name), Store: where.Store, Ref: where.Ref, Env: where.Env})
		}
	}
	if len(unopened) > 0 {
		slices.SortFunc(out, func(a, b SecretInfo) int { return strings.Compare(a.Name, b.Name) })
	}
	for i := range out {
		b.rotationInfo(&out[i])
	}
	return out, err
}

func (b *Broker) info(e *ledger.Entry, now time.Time) SecretInfo {
	info := SecretInfo{
		Name: string(e.Name), Store: e.Store, Ref: e.Ref, Env: b.settings.Load().env(e), Version: e.Current, CreatedAt: &e.Created,
		AgeSeconds: max(int64(now.Sub(e.AgeFrom())/time.Second), 0),
	}
	if !e.Rotated.IsZero() {
		info.RotatedAt = &e.Rotated
	}
	if limit := b.settings.Load().Secrets[e.Name].MaxAge; limit > 0 {
		seconds := int64(limit / time.Second)
		info.MaxAgeSeconds = &seconds
		info.Overdue = info.AgeSeconds > seconds
	}
	current := e.Versions[e.Current]
	info.Overdue = info.Overdue || e.Rotate || expired(current.Expires, now)
	info.AtLeast, info.Ended = current.AtLeast, current.Ended
	if !current.Expires.IsZero() {
		info.ExpiresAt = &current.Expires
	}
	return info
}

// expired reports whether something has expired; what is zero never does.
func expired(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// rotationInfo adds what is known of the secret's rotation.
func (b *Broker) rotationInfo(info *SecretInfo) {
	if b.rotations == nil {
		return
	}
	name := secret.Name(info.Name)
	if due, ok := b.rotations.Due(name); ok {
		info.Provider, info.Suspended = &due.Provider, due.Suspended
		if due.Schedule != "" {
			info.Schedule = &due.Schedule
		}
		if !due.At.IsZero() {
			info.NextRotation = &due.At
		}
	}
	if last, ok := b.rotations.Last(name); ok {
		info.LastRotation = &Rotated{last.State, last.Updated, last.Error}
	}
}

// overdue names the secrets past their max_age, those that have expired and those
// marked for replacement. It looks only at secrets that have one of these.
func (b *Broker) overdue() ([]string, error) {
	names, err := b.ledger.MustRotate()
	if err != nil {
		return nil, err
	}
	expires, err := b.ledger.Expires()
	if err != nil {
		return nil, err
	}
	now := b.Clock.Now().Wall
	for name, at := range expires {
		if expired(at, now) {
			names = append(names, name)
		}
	}
	for name, s := range b.settings.Load().Secrets {
		if s.MaxAge <= 0 {
			continue
		}
		if e, err := b.ledger.Get(name); err == nil && b.info(&e, now).Overdue {
			names = append(names, name)
		}
	}
	out := []string{}
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		out = append(out, string(n))
	}
	return out, nil
}

package broker

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"secretctl/broker/grant"
	"secretctl/broker/ledger"
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

// SecretInfo is a secret as its owner sees it. What rotation will fill is
// there and empty.
type SecretInfo struct {
	Name          string     `json:"name"`
	Store         string     `json:"store"`
	Env           string     `json:"env,omitempty"` // the name it is offered under in an environment
	Version       uint64     `json:"version"`
	CreatedAt     time.Time  `json:"created_at"`
	RotatedAt     *time.Time `json:"rotated_at"`
	AgeSeconds    int64      `json:"age_seconds"`
	MaxAgeSeconds *int64     `json:"max_age_seconds"`
	Overdue       bool       `json:"overdue"`
	Provider      *string    `json:"provider"`
	Schedule      *string    `json:"schedule"`
	NextRotation  *time.Time `json:"next_rotation"`
	LastRotation  *struct{}  `json:"last_rotation"`
}

// List returns every secret whose name matches the pattern (empty: all).
func (b *Broker) List(pattern string) ([]SecretInfo, error) {
	prefix, open := strings.CutSuffix(pattern, "*")
	out := []SecretInfo{}
	now := b.Clock.Now().Wall
	err := b.ledger.Each(prefix, func(e *ledger.Entry) bool {
		if pattern == "" || open || string(e.Name) == pattern {
			out = append(out, b.info(e, now))
		}
		return true
	})
	return out, err
}

func (b *Broker) info(e *ledger.Entry, now time.Time) SecretInfo {
	info := SecretInfo{
		Name: string(e.Name), Store: e.Store, Env: b.settings.Load().env(e), Version: e.Current, CreatedAt: e.Created,
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
	info.Overdue = info.Overdue || e.Rotate
	return info
}

// overdue names the secrets past their max_age and those marked for
// replacement. It looks only at secrets that have one or the other.
func (b *Broker) overdue() ([]string, error) {
	names, err := b.ledger.MustRotate()
	if err != nil {
		return nil, err
	}
	now := b.Clock.Now().Wall
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

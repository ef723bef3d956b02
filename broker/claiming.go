package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// claimTime is how long a rotation stays its host's while nothing is heard of it.
// It is many times what one call to a service may take, and before each of them
// the host says that it is there.
const claimTime = 10 * time.Minute

// claimBeat is how often a host says so while it waits.
const claimBeat = claimTime / 4

// Shared reports whether other hosts keep a secret too.
func (v *Vault) Shared(name secret.Name) bool {
	store, err := v.b.sharedStore(name, "")
	return err != nil || store != nil
}

// Claim makes this host the one that rotates a secret, as c says, and returns the
// rotation that another one has left, which is this one's then. over reports of a
// rotation that this host began whether it has ended here. It fails with a
// [providers.ClaimedError] while another host has it.
func (v *Vault) Claim(ctx context.Context, name secret.Name, c providers.Claim, over func(id string) bool) (left *providers.Claim, err error) {
	defer v.b.writing.lock(name)()
	store, err := v.b.sharedStore(name, "")
	if store == nil || err != nil {
		return nil, err
	}
	host, err := v.b.host()
	if err != nil {
		return nil, err
	}
	for {
		m, err := v.b.catchUp(ctx, store, name)
		if err != nil {
			return nil, err
		}
		if m.shared.Entering != "" {
			if err := v.b.claimed(&m); err != nil {
				return nil, err
			}
		}
		mine := c
		left = nil
		if was := m.shared.Rotation; was != nil {
			if was.Host != host && m.age < claimTime {
				return nil, v.b.claimed(&m)
			}
			if was.State != nil && (was.Host != host || !over(was.ID)) {
				taken := *was
				left, mine = &taken, *was
			}
		}
		mine.Host = host
		m.shared.Rotation, m.mine = &mine, left == nil // what was left is not gone on with yet
		if _, err = v.b.changeRecord(ctx, store, name, m); !errors.Is(err, providers.ErrChanged) {
			return left, err
		}
	}
}

// Keep tells other hosts how far a rotation of this one is, and keeps the new
// value, which open opens, where they find it. It fails with a
// [providers.ClaimedError] when it is not this host's any more.
func (v *Vault) Keep(ctx context.Context, name secret.Name, c providers.Claim, open func() (secret.Value, error)) error {
	return v.changeClaim(ctx, name, c.ID, func(m *met, store *placed) error {
		if was := m.shared.Rotation; c.Version != 0 && (was.Version != c.Version || was.Mark != c.Mark) {
			value, err := open()
			if err != nil {
				return err
			}
			defer value.Clear()
			if err := v.b.stage(ctx, store, held{name, c.Version}, value); err != nil {
				return err
			}
		}
		c.Host = m.shared.Rotation.Host
		m.shared.Rotation = &c
		return nil
	})
}

// Hold has other hosts hear, from now on, that this one is there while a rotation
// of it waits.
func (v *Vault) Hold(ctx context.Context, name secret.Name, id string) error {
	return v.changeClaim(ctx, name, id, func(*met, *placed) error { return nil })
}

// Unclaim tells other hosts that a rotation of this one is over.
func (v *Vault) Unclaim(ctx context.Context, name secret.Name, id string) error {
	return v.changeClaim(ctx, name, id, func(m *met, _ *placed) error {
		m.shared.Rotation, m.mine = nil, false
		return nil
	})
}

// changeClaim changes what is said of a rotation of this host's.
func (v *Vault) changeClaim(ctx context.Context, name secret.Name, id string, how func(*met, *placed) error) error {
	defer v.b.writing.lock(name)()
	store, err := v.b.sharedStore(name, "")
	if store == nil || err != nil {
		return err
	}
	host, err := v.b.host()
	if err != nil {
		return err
	}
	for {
		m, err := v.b.catchUp(ctx, store, name)
		if err != nil {
			return err
		}
		if c := m.shared.Rotation; c == nil {
			return &providers.ClaimedError{Claim: providers.Claim{ID: id, Host: m.shared.Host, Phase: providers.ClaimEnded}}
		} else if c.ID != id || c.Host != host {
			return m.claimedBy(*c)
		}
		m.mine = true
		if err := how(&m, store); err != nil {
			return err
		}
		if _, err = v.b.changeRecord(ctx, store, name, m); !errors.Is(err, providers.ErrChanged) {
			return err
		}
	}
}

// stage puts a value that is not in force yet into its store, if it is not there.
func (b *Broker) stage(ctx context.Context, store *placed, h held, value secret.Value) error {
	there, err := b.getWithRoom(ctx, store, h, providers.Sum{})
	if err == nil {
		defer there.Clear()
		if there.Equal(value) {
			return nil
		}
		// It may be in force by now, at the word of a host that was faster: what is there
		// is never replaced.
		return fmt.Errorf("keeping the new value of %q: version %d is another already: %w", h.name, h.version, providers.ErrExists)
	} else if !errors.Is(err, providers.ErrAbsent) {
		return err
	}
	_, err = store.Put(ctx, h.name, h.version, value)
	return err
}

// Staged opens the value that another host's rotation has left. The caller clears
// it.
func (v *Vault) Staged(ctx context.Context, name secret.Name, version uint64) (secret.Value, error) {
	store, err := v.b.sharedStore(name, "")
	if err != nil {
		return secret.Value{}, err
	}
	if store == nil {
		return secret.Value{}, fmt.Errorf("opening the new version of %q: it is not in a store that hosts share", name)
	}
	return v.b.getWithRoom(ctx, store, held{name, version}, providers.Sum{})
}

// elsewhereBusy refuses what cannot be done while another host rotates the
// secret, and catches up with what others did to it. Its lock is held.
func (b *Broker) elsewhereBusy(ctx context.Context, doing string, name secret.Name, asked string) error {
	err := b.catchUpOwn(ctx, name, asked)
	var claimed *providers.ClaimedError
	switch {
	case errors.As(err, &claimed):
		return &Error{CodeConflict, fmt.Sprintf("%s %q: %v", doing, name, claimed), ClaimedHint(name, claimed)}
	case errors.As(err, new(*unshared)):
		return err
	case err != nil:
		return unavailable(doing, name, err)
	}
	return nil
}

// ClaimedHint is what an owner can do about a [providers.ClaimedError]; "": nothing,
// or it is none.
func ClaimedHint(name secret.Name, err error) string {
	var e *providers.ClaimedError
	if !errors.As(err, &e) {
		return ""
	}
	if e.ID == "" {
		return fmt.Sprintf("again; if that host is gone for good, in %s", e.Left.Round(time.Second))
	}
	return fmt.Sprintf("secretctl versions %s there shows it; if that host is gone for good, in %s: secretctl rotate %s", name, e.Left.Round(time.Second), name)
}

// catchUpOwn catches up with a secret that this host is about to change, and
// fails with a [providers.ClaimedError] while another one rotates it.
func (b *Broker) catchUpOwn(ctx context.Context, name secret.Name, asked string) error {
	store, err := b.sharedStore(name, asked)
	if store == nil || err != nil {
		return err
	}
	m, err := b.catchUp(ctx, store, name)
	if err != nil {
		return err
	}
	return b.claimed(&m)
}

// claimed returns the [providers.ClaimedError] of a secret that another host is
// rotating, or moving into the store.
func (b *Broker) claimed(m *met) error {
	c := m.shared.Rotation
	host, err := b.host()
	if entering := m.shared.Entering; err == nil && entering != "" && entering != host && m.age < claimTime {
		return m.claimedBy(providers.Claim{Host: entering, Phase: "moving it into the store"})
	}
	if err != nil || c == nil || c.Host == host {
		return err
	}
	return m.claimedBy(*c)
}

// claimedBy is the error of what another host has, until it may be taken over.
func (m *met) claimedBy(c providers.Claim) error {
	return &providers.ClaimedError{Claim: c, Left: max(claimTime-m.age, 0)}
}

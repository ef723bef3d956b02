package rotation

import (
	"context"

	"secretctl/broker/secret"
	"secretctl/providers"
)

// Vault is where the secrets are and who holds them, as a rotation needs it.
// Everything may be repeated: what is done already is no error.
type Vault interface {
	// Current returns the version a lease gets now; its Number is 0 when there is no
	// such secret.
	Current(secret.Name) (providers.Version, error)
	// Version returns one version; its Number is 0 when there is no such version.
	Version(name secret.Name, number uint64) (providers.Version, error)
	// Previous returns the version that goes when the next one is published; its
	// Number is 0 when there is none.
	Previous(secret.Name) (providers.Version, error)
	// Value opens a version. The caller clears it.
	Value(ctx context.Context, name secret.Name, version uint64) (secret.Value, error)
	// Own opens the current version of one of the broker's own secrets. The caller
	// clears it.
	Own(context.Context, secret.Name) (secret.Value, error)
	// Reserve returns the number that the next version is to have, and shows it as
	// pending.
	Reserve(secret.Name) (uint64, error)
	// Publish makes a reserved version current, recorded and durable.
	Publish(ctx context.Context, name secret.Name, v providers.Version, value secret.Value) error
	// Restore makes version to, which was current before from, current again.
	Restore(ctx context.Context, name secret.Name, from, to uint64) error
	// Withdraw forgets a reserved version that is not current, and ends the leases
	// on it.
	Withdraw(ctx context.Context, name secret.Name, version uint64) error
	// Forget removes a version that is not current, and ends the leases on it.
	Forget(ctx context.Context, name secret.Name, version uint64) error
	// Mark keeps whether a version was ended at its service, and what it is called
	// there. One that was is handed out no more.
	Mark(name secret.Name, v providers.Version) error
	// Holders returns who has a version: leases that move with a renewal, consumers
	// that kept it when such a lease was over, and leases that do not move.
	Holders(name secret.Name, version uint64) (moving, copied, pinned int)
	// Sharing returns the other versions, of any secret, that have the same value.
	Sharing(ctx context.Context, name secret.Name, version uint64) (map[secret.Name][]uint64, error)
	// EndLeases ends the leases on a version.
	EndLeases(name secret.Name, version uint64) error
	// Announce runs the owner's commands for a new version.
	Announce(ctx context.Context, name secret.Name, version uint64) error
	// Confirm runs the owner's command that says whether the new version is used.
	Confirm(ctx context.Context, name secret.Name, version uint64) error
	// Record puts a state in the audit log. by is "schedule" or "owner".
	Record(name secret.Name, version uint64, state, reason string) error
}

// Sealer seals values for the journal.
type Sealer interface {
	Seal(secret.Value) ([]byte, error)
	Open([]byte) (secret.Value, error)
}
